// Package llmtest is what every provider must pass: one suite for answers, one
// for failures.
//
// It must not know any provider; each provider's test hands one over. It
// imports llm, internal/schema and testing.
//
// Start reading at Exercise.
package llmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/schema"
)

// Situation is something that goes wrong at the provider.
type Situation string

// The situations a provider must be put into for ExerciseFailures.
const (
	Healthy       Situation = "healthy"
	BadKey        Situation = "bad key"
	TooMany       Situation = "too many requests" // for 7 seconds
	NoQuota       Situation = "quota used up"
	Down          Situation = "down"
	Hanging       Situation = "hanging"
	Garbage       Situation = "garbage"
	Declining     Situation = "declining"
	TooLong       Situation = "request too long"
	NoConnection  Situation = "no connection"
	CutStream     Situation = "cut stream"
	ErrorInStream Situation = "error in stream"
)

const answerSchema = `{"type":"object","additionalProperties":false,"required":["title","points"],"properties":{
	"title":{"type":"string","description":"A title."},
	"points":{"type":"array","description":"Points.","items":{"type":"string","description":"A point."}}}}`

func request(attempt string) llm.Request {
	zero := 0.0
	return llm.Request{
		Attempt: attempt, Model: "test-model", System: "You summarise.", Temperature: &zero, MaxTokens: 500,
		Messages: []llm.Message{{Role: llm.User, Text: "Summarise: the van must be washed on Monday. The key hangs in the office."}},
	}
}

func structured(attempt string) llm.Request {
	r := request(attempt)
	r.Schema, r.SchemaName = json.RawMessage(answerSchema), "summary.write-one"
	return r
}

// Exercise holds a healthy provider to its contract.
func Exercise(t *testing.T, open func(t *testing.T) llm.Provider) {
	t.Helper()
	t.Run("names itself and answers with text, model and usage", func(t *testing.T) {
		t.Parallel()
		p := open(t)
		resp, err := p.Complete(t.Context(), request("a/1"))
		if err != nil {
			t.Fatal(err)
		}
		if p.Name() == "" || resp.Text == "" || resp.Model == "" || resp.Finish != llm.Stopped {
			t.Errorf("provider %q answered %+v", p.Name(), resp)
		}
		if resp.Usage.Input <= 0 || resp.Usage.Output <= 0 {
			t.Errorf("usage is %+v", resp.Usage)
		}
	})
	t.Run("answers with JSON that fits the schema", func(t *testing.T) {
		t.Parallel()
		s, err := schema.Compile(json.RawMessage(answerSchema))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := open(t).Complete(t.Context(), structured("b/1"))
		if err != nil {
			t.Fatal(err)
		}
		if wrong := s.Check(json.RawMessage(resp.Text)); len(wrong) > 0 {
			t.Errorf("%s: %v", resp.Text, wrong)
		}
	})
	t.Run("streams pieces that add up to the answer, with usage", func(t *testing.T) {
		t.Parallel()
		var b strings.Builder
		r := structured("c/1")
		r.OnDelta = func(text string) { b.WriteString(text) }
		resp, err := open(t).Complete(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != resp.Text || resp.Usage.Output <= 0 {
			t.Errorf("pieces %q, answer %q, usage %+v", b.String(), resp.Text, resp.Usage)
		}
	})
	t.Run("does not answer a caller who has left", func(t *testing.T) {
		t.Parallel()
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if _, err := open(t).Complete(ctx, request("d/1")); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("calls a deadline that has passed a timeout", func(t *testing.T) {
		t.Parallel()
		ctx, stop := context.WithDeadline(t.Context(), time.Unix(1, 0))
		defer stop()
		_, err := open(t).Complete(ctx, request("e/1"))
		expect(t, err, llm.Timeout, false)
	})
	t.Run("serves many callers at once", func(t *testing.T) {
		t.Parallel()
		p := open(t)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := p.Complete(t.Context(), structured(fmt.Sprintf("f/%d", i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// ExerciseFailures puts a provider into each situation and checks the error.
// A provider that cannot be in all of them names those that it can be in.
func ExerciseFailures(t *testing.T, open func(t *testing.T, s Situation) llm.Provider, only ...Situation) {
	t.Helper()
	for _, tt := range []struct {
		situation Situation
		code      llm.Code
		final     bool
		spent     bool
	}{
		{BadKey, llm.Auth, true, false},
		{TooMany, llm.RateLimited, false, false},
		{NoQuota, llm.RateLimited, true, false},
		{Down, llm.Unreachable, false, false},
		{Hanging, llm.Timeout, false, false},
		{Garbage, llm.BadResponse, false, true},
		{Declining, llm.Refused, true, true},
		{TooLong, llm.ContextLength, true, false},
		{NoConnection, llm.Unreachable, false, false},
		{CutStream, llm.BadResponse, false, true},
		{ErrorInStream, llm.BadResponse, false, true},
	} {
		if len(only) > 0 && !slices.Contains(only, tt.situation) {
			continue
		}
		t.Run(string(tt.situation), func(t *testing.T) {
			t.Parallel()
			p := open(t, tt.situation)
			r := structured("x/1")
			if tt.situation == CutStream || tt.situation == ErrorInStream {
				r.OnDelta = func(string) {}
			}
			ctx := t.Context()
			if tt.situation == Hanging {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, 50*time.Millisecond)
				defer stop()
			}
			_, err := p.Complete(ctx, r)
			e := expect(t, err, tt.code, tt.final)
			if e == nil {
				return
			}
			if tt.situation == TooMany && e.RetryAfter != 7*time.Second {
				t.Errorf("retry after %s, not 7s", e.RetryAfter)
			}
			if (e.Spent != nil) != tt.spent {
				t.Errorf("spent is %+v", e.Spent)
			}
			if tt.situation == CutStream && (!e.Estimated || e.Spent == nil || e.Spent.Input == 0) {
				t.Errorf("a cut stream must be accounted as an estimate: %+v", e)
			}
			if f := e.Fault(); f.Code != string(tt.code) || f.Final != tt.final || f.Message == "" {
				t.Errorf("fault is %+v", f)
			}
		})
	}
}

func expect(t *testing.T, err error, code llm.Code, final bool) *llm.Error {
	t.Helper()
	e, ok := errors.AsType[*llm.Error](err)
	if !ok || e.Code != code || e.Final != final {
		t.Errorf("got %v (final %v), want %s (final %v)", err, ok && e.Final, code, final)
		return nil
	}
	if e.Provider == "" || e.Message == "" {
		t.Errorf("the error lacks provider or message: %+v", e)
	}
	return e
}
