package openai_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/llm/llmtest"
	"github.com/hishamos/hishamos/internal/llm/openai"
)

const key = "sk-test-0123456789abcdef"

const usage = `{"prompt_tokens":100,"completion_tokens":40,"total_tokens":140,
	"prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":30}}`

// body is what the wire carries of a request.
type body struct {
	Model               string                           `json:"model"`
	Stream              bool                             `json:"stream"`
	Messages            []struct{ Role, Content string } `json:"messages"`
	MaxTokens           int                              `json:"max_tokens"`
	MaxCompletionTokens int                              `json:"max_completion_tokens"`
	Temperature         *float64                         `json:"temperature"`
	ResponseFormat      *struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Name   string `json:"name"`
			Strict bool   `json:"strict"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

// answer writes a completion in the wire format, whole or streamed.
func answer(w http.ResponseWriter, b body) {
	text := "The van is washed."
	if b.ResponseFormat != nil || strings.Contains(b.Messages[0].Content, "JSON Schema") {
		text = `{"title": "Van", "points": ["wash it"]}`
	}
	quoted, _ := json.Marshal(text)
	if !b.Stream {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"c1","object":"chat.completion","model":"test-model-2026-01-01","choices":[{"index":0,
			"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":%s}`, quoted, usage)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, piece := range strings.SplitAfter(text, " ") {
		chunk(w, piece)
	}
	fmt.Fprint(w, `data: {"model":"test-model-2026-01-01","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n")
	fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":%s}\n\ndata: [DONE]\n\n", strings.Join(strings.Fields(usage), ""))
}

func chunk(w io.Writer, piece string) {
	quoted, _ := json.Marshal(piece)
	fmt.Fprintf(w, "data: {\"model\":\"test-model-2026-01-01\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%s}}]}\n\n", quoted)
}

func fail(w http.ResponseWriter, status int, message, kind, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"message":%q,"type":%q,"code":%q}}`, message, kind, code)
}

// situated answers as a server in a situation does.
func situated(s llmtest.Situation, done <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var b body
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || r.URL.Path != "/v1/chat/completions" {
			fail(w, http.StatusNotFound, "no such route", "", "")
			return
		}
		if s != llmtest.BadKey && r.Header.Get("Authorization") != "Bearer "+key {
			fail(w, http.StatusUnauthorized, "missing key", "", "")
			return
		}
		switch s {
		case llmtest.BadKey:
			fail(w, http.StatusUnauthorized, "Incorrect API key provided: "+key+". Find it on your page.", "invalid_request_error", "invalid_api_key")
		case llmtest.TooMany:
			w.Header().Set("Retry-After", "7")
			fail(w, http.StatusTooManyRequests, "Rate limit reached", "requests", "rate_limit_exceeded")
		case llmtest.NoQuota:
			fail(w, http.StatusTooManyRequests, "You exceeded your current quota", "insufficient_quota", "insufficient_quota")
		case llmtest.Down:
			fail(w, http.StatusServiceUnavailable, "overloaded, key "+key, "server_error", "")
		case llmtest.Hanging:
			select {
			case <-r.Context().Done():
			case <-done:
			}
		case llmtest.Garbage:
			fmt.Fprint(w, "<html>maintenance")
		case llmtest.Declining:
			fmt.Fprintf(w, `{"model":"m","choices":[{"message":{"role":"assistant","content":"","refusal":"I cannot help."},"finish_reason":"stop"}],"usage":%s}`, usage)
		case llmtest.TooLong:
			fail(w, http.StatusBadRequest, "This model's maximum context length is 8 tokens", "invalid_request_error", "context_length_exceeded")
		case llmtest.CutStream:
			w.Header().Set("Content-Type", "text/event-stream")
			chunk(w, `{"title": "Va`)
		case llmtest.ErrorInStream:
			w.Header().Set("Content-Type", "text/event-stream")
			chunk(w, `{"title": "Va`)
			fmt.Fprint(w, "data: {\"error\": {\"message\": \"overloaded\"}\n\n")
		default:
			answer(w, b)
		}
	}
}

func serve(t *testing.T, h http.HandlerFunc) *openai.Provider {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return openai.New(openai.Config{BaseURL: s.URL + "/v1/", Key: key})
}

func TestTheProviderKeepsTheContract(t *testing.T) {
	t.Parallel()
	llmtest.Exercise(t, func(t *testing.T) llm.Provider { return serve(t, situated(llmtest.Healthy, nil)) })
}

func TestFailuresHaveTheSharedCodes(t *testing.T) {
	t.Parallel()
	llmtest.ExerciseFailures(t, func(t *testing.T, s llmtest.Situation) llm.Provider {
		if s == llmtest.NoConnection {
			server := httptest.NewServer(http.NotFoundHandler())
			server.Close()
			return openai.New(openai.Config{BaseURL: server.URL, Key: key})
		}
		done := make(chan struct{})
		p := serve(t, situated(s, done))
		t.Cleanup(func() { close(done) }) // runs before the server waits for its handlers
		return p
	})
}

func ask(t *testing.T, p llm.Provider, r llm.Request) (llm.Response, error) {
	t.Helper()
	if r.Messages == nil {
		r.Messages = []llm.Message{{Role: llm.User, Text: "hello"}}
	}
	return p.Complete(t.Context(), r)
}

func TestNoErrorHoldsTheKey(t *testing.T) {
	t.Parallel()
	for _, s := range []llmtest.Situation{llmtest.BadKey, llmtest.Down} {
		_, err := ask(t, serve(t, situated(s, nil)), llm.Request{Model: "m"})
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || strings.Contains(fmt.Sprintf("%v %+v %#v", err, e, *e), key) {
			t.Errorf("%s: %#v", s, e)
		}
	}
	p := openai.New(openai.Config{BaseURL: "http://user:" + key + "@127.0.0.1:1/v1", Key: key})
	if _, err := ask(t, p, llm.Request{Model: "m"}); err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("got %v", err)
	}
}

func TestCachedAndReasoningTokensAreCountedApartAndOnce(t *testing.T) {
	t.Parallel()
	p := serve(t, situated(llmtest.Healthy, nil))
	for _, onDelta := range []func(string){nil, func(string) {}} {
		resp, err := ask(t, p, llm.Request{Model: "m", OnDelta: onDelta})
		if err != nil {
			t.Fatal(err)
		}
		want := domain.Tokens{Input: 40, CachedInput: 60, Output: 10, Reasoning: 30}
		if diff := cmp.Diff(want, resp.Usage); diff != "" || resp.Estimated {
			t.Errorf("estimated %v, usage (-want +got):\n%s", resp.Estimated, diff)
		}
	}
}

func TestAnAnswerWithoutUsageIsEstimatedAndSaysSo(t *testing.T) {
	t.Parallel()
	p := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"model":"m","choices":[{"message":{"content":"eight characters and more"},"finish_reason":"stop"}]}`)
	})
	resp, err := ask(t, p, llm.Request{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if !resp.Estimated || resp.Usage.Output != 7 || resp.Usage.Input != 2 {
		t.Errorf("estimated %v: %+v", resp.Estimated, resp.Usage)
	}
}

func TestAServerThatRefusesTheSchemaIsAskedInWordsFromThenOn(t *testing.T) {
	t.Parallel()
	var formats, words atomic.Int32
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var b body
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			t.Error(err)
		}
		if b.ResponseFormat != nil {
			formats.Add(1)
			fail(w, http.StatusBadRequest, "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model", "invalid_request_error", "")
			return
		}
		if strings.Contains(b.Messages[0].Content, `"additionalProperties"`) {
			words.Add(1)
		}
		answer(w, b)
	})
	for range 2 {
		if _, err := ask(t, p, llm.Request{Model: "m", Schema: json.RawMessage(`{"type":"object","additionalProperties":false}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if formats.Load() != 1 || words.Load() != 2 {
		t.Errorf("asked %d times by format and %d times in words", formats.Load(), words.Load())
	}
}

func TestARequestCarriesWhatWasAsked(t *testing.T) {
	t.Parallel()
	var got body
	var header http.Header
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		answer(w, got)
	})
	temperature := 0.5
	r := llm.Request{
		Attempt: "run/step/1/1", Model: "gpt-4.1", System: "sys", Temperature: &temperature, MaxTokens: 77, SchemaName: "a.b-c",
		Schema: json.RawMessage(`{"type":"object","additionalProperties":false,"required":["a"],"properties":{"a":{"type":"string"}}}`),
	}
	if _, err := ask(t, p, r); err != nil {
		t.Fatal(err)
	}
	if got.Model != "gpt-4.1" || got.MaxTokens != 77 || got.Temperature == nil || *got.Temperature != 0.5 || header.Get("Idempotency-Key") != "run/step/1/1" {
		t.Errorf("sent %+v with %v", got, header)
	}
	if f := got.ResponseFormat; f == nil || f.JSONSchema.Name != "a_b-c" || !f.JSONSchema.Strict {
		t.Errorf("format is %+v", f)
	}
	r.Model, r.Schema = "gpt-5-mini", json.RawMessage(`{"type":"object","properties":{"a":{"type":"string"}}}`)
	got = body{}
	if _, err := ask(t, p, r); err != nil {
		t.Fatal(err)
	}
	if got.MaxCompletionTokens != 77 || got.MaxTokens != 0 || got.Temperature != nil || got.ResponseFormat.JSONSchema.Strict {
		t.Errorf("a reasoning model with an open schema was sent %+v", got)
	}
}

func TestAnAnswerThatReachedItsLimitIsCutOff(t *testing.T) {
	t.Parallel()
	p := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"model":"m","choices":[{"message":{"content":"{\"a\":"},"finish_reason":"length"}],"usage":%s}`, usage)
	})
	resp, err := ask(t, p, llm.Request{Model: "m"})
	if err != nil || resp.Finish != llm.CutOff {
		t.Errorf("got %+v, %v", resp, err)
	}
}
