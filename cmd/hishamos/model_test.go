package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/llm/simulated"
)

// TestTheMainJobUsesTheModelWhenThereIsAKey runs the program against a server
// that speaks the OpenAI protocol. Its answers are made by the simulated
// provider, but the program cannot know that: tokens and prices are the server's
// and nothing may be marked as simulated. 6 × (1,000 × 0.40 + 100 × 1.60) / 10⁶ USD.
func TestTheMainJobUsesTheModelWhenThereIsAKey(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sk-test" {
			http.Error(w, `{"error":{"message":"no key"}}`, http.StatusUnauthorized)
			return
		}
		calls.Add(1)
		answerAsModel(t, w, r)
	}))
	t.Cleanup(server.Close)
	data, err := dataFolder(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(programs(t), "hishamos"), "up", "--demo")
	cmd.Env = append(os.Environ(), "HISHAMOS_DATA="+data, "HISHAMOS_LISTEN="+freeAddress(t), "XDG_CONFIG_HOME="+t.TempDir(),
		"OPENAI_API_KEY=sk-test", "OPENAI_BASE_URL="+server.URL)
	for _, name := range []string{"HISHAMOS_TEST_DATABASE_URL", "HISHAMOS_TEST_KAFKA"} { // no settings of the program
		cmd.Env = without(cmd.Env, name)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if calls.Load() < 6 {
		t.Errorf("the model was called %d times, want at least once per step", calls.Load())
	}
	if text := string(out); strings.Contains(text, "SIMULATED") || !strings.Contains(text, "completed: 6 of 6 steps, 6,600 tokens, $0.003360") {
		t.Errorf("got\n%s", text)
	}
}

// answerAsModel answers a chat completion with 1,000 tokens in and 100 out.
func answerAsModel(t *testing.T, w http.ResponseWriter, r *http.Request) {
	var in struct {
		Model    string
		Messages []struct{ Role, Content string }
		Format   struct {
			Schema struct{ Schema json.RawMessage } `json:"json_schema"`
		} `json:"response_format"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		t.Errorf("request: %v", err)
	}
	ask := llm.Request{Attempt: "x", Model: in.Model, Schema: in.Format.Schema.Schema}
	for _, m := range in.Messages {
		if m.Role == "system" {
			ask.System = m.Content
			continue
		}
		ask.Messages = append(ask.Messages, llm.Message{Role: llm.Role(m.Role), Text: m.Content})
	}
	answer, err := simulated.New(simulated.Options{}).Complete(r.Context(), ask)
	if err != nil {
		t.Errorf("answer: %v", err)
	}
	w.Header().Set("Content-Type", "application/json")
	err = json.NewEncoder(w).Encode(map[string]any{
		"id": "c", "object": "chat.completion", "model": in.Model,
		"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": answer.Text}}},
		"usage":   map[string]any{"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
	})
	if err != nil {
		t.Errorf("answer: %v", err)
	}
}

// without drops a variable from an environment.
func without(environ []string, name string) []string {
	var out []string
	for _, e := range environ {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return out
}
