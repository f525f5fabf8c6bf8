// Package simulated answers without a model, so that the whole product can be
// tried and tested without a key. An answer is made from the request alone: it
// fits the request's JSON Schema and its content is taken from the data blocks
// of the prompt. The same request always gets the same answer. Every answer
// says that it is simulated.
//
// It must not know any template of the library: what it understands are data
// blocks, JSON Schema and the names of common fields. It imports llm and domain.
//
// Start reading at Complete; source.go reads the prompt, generate.go walks the
// schema, fields.go words the values.
package simulated

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/llm"
)

// Name is the name of provider and model, wherever an answer is recorded.
const Name = "simulated"

// Options make a provider slow, faulty or observed; the zero value is none of
// these.
type Options struct {
	Latency time.Duration // before each answer
	// Fault decides, before a call is answered, whether it fails.
	Fault func(call Call) error
	// Answer replaces the text of an answer, if it returns true.
	Answer func(call Call) (string, bool)
	// Ledger notes every call; nil: none are kept.
	Ledger *Ledger
}

// Call is one call as faults and the ledger see it.
type Call struct {
	Attempt string
	Number  int // of the provider, from 1
	Request llm.Request
}

// Provider implements llm.Provider.
type Provider struct {
	options Options
	mu      sync.Mutex // guards calls
	calls   int
}

// New returns a provider.
func New(o Options) *Provider { return &Provider{options: o} }

// Name implements llm.Provider.
func (*Provider) Name() string { return Name }

// Complete implements llm.Provider.
func (p *Provider) Complete(ctx context.Context, r llm.Request) (llm.Response, error) {
	p.mu.Lock()
	p.calls++
	call := Call{Attempt: r.Attempt, Number: p.calls, Request: r}
	p.mu.Unlock()
	resp, err := p.answer(ctx, call)
	p.options.Ledger.note(call, resp, err)
	return resp, err
}

func (p *Provider) answer(ctx context.Context, call Call) (llm.Response, error) {
	if err := p.wait(ctx); err != nil {
		return llm.Response{}, err
	}
	if p.options.Fault != nil {
		if err := p.options.Fault(call); err != nil {
			return llm.Response{}, err
		}
	}
	r := call.Request
	text, err := compose(r)
	if err != nil {
		return llm.Response{}, &llm.Error{Provider: Name, Code: llm.Refused, Message: err.Error(), Final: true}
	}
	if p.options.Answer != nil {
		if replaced, ok := p.options.Answer(call); ok {
			text = replaced
		}
	}
	resp := llm.Response{Text: text, Model: Name, Simulated: true, Finish: llm.Stopped}
	resp.Usage = domain.Tokens{Input: count(r.System), Output: count(text)}
	for _, m := range r.Messages {
		resp.Usage.Input += count(m.Text)
	}
	if r.OnDelta != nil {
		for _, piece := range strings.SplitAfter(text, " ") {
			if err := llm.ContextError(ctx, Name); err != nil {
				return llm.Response{}, err
			}
			r.OnDelta(piece)
		}
	}
	return resp, nil
}

func (p *Provider) wait(ctx context.Context) error {
	if p.options.Latency > 0 {
		t := time.NewTimer(p.options.Latency)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return llm.ContextError(ctx, Name)
}

// compose makes the text of an answer.
func compose(r llm.Request) (string, error) {
	var prompt strings.Builder
	for _, m := range r.Messages {
		if m.Role == llm.User {
			prompt.WriteString(m.Text)
			prompt.WriteByte('\n')
		}
	}
	src := read(prompt.String())
	if r.Schema == nil {
		return "Simulated answer, no model was called. " + src.gist(), nil
	}
	var schema map[string]any
	if err := json.Unmarshal(r.Schema, &schema); err != nil {
		return "", fmt.Errorf("the schema is not a JSON object")
	}
	g := &generator{root: schema, source: src}
	b, err := json.Marshal(g.value(schema, spot{}, 0))
	if err != nil {
		return "", fmt.Errorf("the schema leads to a value that is not JSON")
	}
	return string(b), nil
}

// count is a plausible number of tokens: one per four letters of a word, one
// per sign, none for a space.
func count(text string) (n int64) {
	run := 0
	for _, c := range text {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			if run++; run%4 == 1 {
				n++
			}
			continue
		}
		run = 0
		if !unicode.IsSpace(c) {
			n++
		}
	}
	return n
}
