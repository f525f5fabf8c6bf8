// Package agentloop does one step: it makes the prompt from agent and template,
// asks the model, checks the answer, asks once more if the answer does not fit,
// and says what came of it and what it cost.
//
// It must not know what a result leads to, nor who offered the work. It imports
// commands, domain, library, internal/llm and internal/schema.
//
// Start reading at Do; answer.go checks answers.
package agentloop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/schema"
	"github.com/hishamos/hishamos/library"
)

// The codes of faults that arise here; those of providers are in package llm.
const (
	CodeVersionMissing = "library.version_missing" // this build does not hold the pinned version
	CodeInvalidInput   = "step.invalid_input"      // the step's input is not what the template takes
	CodeInvalidOutput  = "step.invalid_output"     // the answer does not fit, even after a repair
	CodeInterrupted    = "step.interrupted"        // the context ended before there was a result
)

// Loop does steps; it is safe for concurrent use. All fields but Model, Logger
// and OnDelta are required.
type Loop struct {
	Library  *library.Library
	Provider llm.Provider
	Model    string // empty: the provider's default
	Prices   llm.PriceTable
	Random   io.Reader // for fences; safe for concurrent use, as crypto/rand.Reader is
	Clock    domain.Clock
	Logger   *slog.Logger
	// OnDelta receives answers as they are written; nil: nobody listens.
	OnDelta func(w domain.Work, text string)

	schemas sync.Map // template hash → *schema.Schema
}

// task is one attempt at a step.
type task struct {
	*Loop
	work     domain.Work
	agent    *library.Agent
	template *library.Template
	prompt   library.Prompt
	schema   *schema.Schema
	input    map[string]json.RawMessage
	spent    []domain.Usage
	warnings []string
}

// Do does one step and returns a CompleteStep or a FailStep. Every model call
// is in its Spent, whatever came of the call. It returns when the context ends.
func (l *Loop) Do(ctx context.Context, w domain.Work) commands.Run {
	started := l.Clock.Now()
	result := commands.StepResult{Run: w.Stream, Path: w.Path, Attempt: w.Attempt}
	if w.Kind == domain.NoopStep {
		output := w.Input
		if len(output) == 0 {
			output = json.RawMessage("null")
		}
		return commands.CompleteStep{StepResult: result, Output: output, Started: started}
	}
	if !w.Deadline.IsZero() {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, w.Deadline.Sub(started))
		defer stop()
	}
	t := &task{Loop: l, work: w}
	output, err := t.run(ctx)
	if len(t.spent) > 0 {
		result.Spent, result.PriceTable = t.spent, l.Prices.ID
	}
	if err != nil {
		fault := faultOf(err)
		l.log().Info("step failed", "stream", w.Stream, "step", w.Path, "attempt", w.Attempt, "code", fault.Code, "final", fault.Final)
		return commands.FailStep{StepResult: result, Fault: fault}
	}
	last := t.spent[len(t.spent)-1]
	for _, warning := range t.warnings {
		l.log().Warn("answer", "stream", w.Stream, "step", w.Path, "attempt", w.Attempt, "template", t.template.ID, "rule", warning)
	}
	return commands.CompleteStep{
		StepResult: result, Output: output, Started: started,
		Provider: last.Provider, Model: last.Model, Simulated: last.Simulated,
	}
}

func (l *Loop) log() *slog.Logger {
	if l.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.Logger
}

// fault is an error that knows how a run records it.
type fault struct{ domain.Fault }

func (f *fault) Error() string { return f.Code + ": " + f.Message }

func faultOf(err error) domain.Fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f.Fault
	}
	if e, ok := errors.AsType[*llm.Error](err); ok {
		return e.Fault()
	}
	return domain.Fault{Code: CodeInterrupted, Message: err.Error()}
}

func final(code, format string, args ...any) error {
	return &fault{domain.Fault{Code: code, Message: fmt.Sprintf(format, args...), Final: true}}
}

func (t *task) run(ctx context.Context) (json.RawMessage, error) {
	if err := t.prepare(); err != nil {
		return nil, err
	}
	messages := []llm.Message{{Role: llm.User, Text: t.prompt.User}}
	resp, err := t.ask(ctx, messages)
	if err != nil {
		return nil, err
	}
	output, wrong := t.check(resp)
	if len(wrong) == 0 {
		return output, nil
	}
	messages = append(messages, llm.Message{Role: llm.Assistant, Text: resp.Text}, llm.Message{Role: llm.User, Text: repair(wrong)})
	if resp, err = t.ask(ctx, messages); err != nil {
		return nil, err
	}
	if output, wrong = t.check(resp); len(wrong) == 0 {
		return output, nil
	}
	return nil, &fault{domain.Fault{
		Code:    CodeInvalidOutput,
		Message: fmt.Sprintf("the answer does not fit, even after a repair: %s", strings.Join(wrong[:min(len(wrong), 3)], "; ")),
	}}
}

// prepare finds the pinned versions and makes the prompt.
func (t *task) prepare() error {
	var ok bool
	if t.agent, ok = t.Library.Agent(t.work.Agent.ID); !ok || !holds(t.agent.Ref(), t.work.Agent) {
		return final(CodeVersionMissing, "this build does not hold agent %s", name(t.work.Agent))
	}
	if t.template, ok = t.Library.Template(t.work.Template.ID); !ok || !holds(t.template.Ref(), t.work.Template) {
		return final(CodeVersionMissing, "this build does not hold template %s", name(t.work.Template))
	}
	if err := json.Unmarshal(t.work.Input, &t.input); err != nil {
		return final(CodeInvalidInput, "the input is not a JSON object")
	}
	var err error
	if t.prompt, err = library.Render(t.agent, t.template, t.input, t.Random); err != nil {
		return final(CodeInvalidInput, "template %s: %v", t.template.ID, err)
	}
	if t.schema, err = t.compiled(); err != nil {
		return final(CodeInvalidInput, "template %s: %v", t.template.ID, err)
	}
	return nil
}

// holds reports whether what we have is what a run pinned.
func holds(have, want domain.Ref) bool {
	return have.Version == want.Version && (want.Hash == "" || have.Hash == want.Hash)
}

func name(r domain.Ref) string { return fmt.Sprintf("%s version %d (%.19s)", r.ID, r.Version, r.Hash) }

func (t *task) compiled() (*schema.Schema, error) {
	key := t.template.Ref().Hash
	if s, ok := t.schemas.Load(key); ok {
		if s, ok := s.(*schema.Schema); ok {
			return s, nil
		}
	}
	s, err := schema.Compile(t.template.AnswerSchema())
	if err == nil {
		t.schemas.Store(key, s)
	}
	return s, err
}

// ask makes one call and keeps what it cost.
func (t *task) ask(ctx context.Context, messages []llm.Message) (llm.Response, error) {
	r := llm.Request{
		Attempt: fmt.Sprintf("%s/%s/%d/%d", t.work.Stream, t.work.Path, t.work.Attempt, len(t.spent)+1),
		Model:   t.Model, System: t.prompt.System, Messages: messages,
		Schema: t.template.AnswerSchema(), SchemaName: t.template.ID,
		Temperature: t.agent.Model.Temperature, MaxTokens: t.agent.Model.MaxTokens,
	}
	if m := t.template.Model; m.Temperature != nil {
		r.Temperature = m.Temperature
	}
	if m := t.template.Model; m.MaxTokens > 0 {
		r.MaxTokens = m.MaxTokens
	}
	if t.OnDelta != nil {
		r.OnDelta = func(text string) { t.OnDelta(t.work, text) }
	}
	before := time.Now()
	resp, err := t.Provider.Complete(ctx, r)
	t.log().Debug("model call", "stream", t.work.Stream, "step", t.work.Path, "attempt", t.work.Attempt,
		"provider", t.Provider.Name(), "took", time.Since(before), "error", err)
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Spent != nil {
		model := r.Model
		if model == "" {
			model = "default"
		}
		resp = llm.Response{Model: model, Usage: *e.Spent, Estimated: e.Estimated}
	}
	if err == nil || resp.Usage.Total() > 0 {
		t.spent = append(t.spent, t.Prices.Charge(t.Provider.Name(), resp))
	}
	if err != nil && ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return resp, &fault{domain.Fault{Code: CodeInterrupted, Message: "the work was called off"}}
	}
	return resp, err
}

func repair(wrong []string) string {
	var b strings.Builder
	b.WriteString("Your answer does not fit. These are the problems:\n")
	for _, line := range wrong[:min(len(wrong), 20)] {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	b.WriteString("Send the whole answer again with these problems mended. Keep everything that was right. Send one JSON value and nothing else.")
	return b.String()
}
