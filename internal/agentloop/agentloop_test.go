package agentloop_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/agentloop"
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/llm/simulated"
	"github.com/hishamos/hishamos/library"
)

type clock struct{}

func (clock) Now() time.Time { return time.Now().UTC() }

const stream domain.StreamID = "default/run_0190f4d2-0000-7000-8000-000000000000"

// scripted answers in order and keeps what it was asked.
type scripted struct {
	answers []func(ctx context.Context) (llm.Response, error)
	asked   []llm.Request
}

func (*scripted) Name() string { return "openai" }

func (s *scripted) Complete(ctx context.Context, r llm.Request) (llm.Response, error) {
	s.asked = append(s.asked, r)
	if len(s.asked) > len(s.answers) {
		return llm.Response{}, errors.New("asked too often")
	}
	return s.answers[len(s.asked)-1](ctx)
}

func says(text string) func(context.Context) (llm.Response, error) {
	return func(context.Context) (llm.Response, error) {
		return llm.Response{Text: text, Model: "gpt-4.1", Finish: llm.Stopped, Usage: domain.Tokens{Input: 1000, Output: 100}}, nil
	}
}

func fails(err error) func(context.Context) (llm.Response, error) {
	return func(context.Context) (llm.Response, error) { return llm.Response{}, err }
}

func loop(t *testing.T, p llm.Provider) *agentloop.Loop {
	t.Helper()
	lib, err := library.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	prices, err := llm.BuiltinPrices()
	if err != nil {
		t.Fatal(err)
	}
	return &agentloop.Loop{Library: lib, Provider: p, Prices: prices, Random: rand.Reader, Clock: clock{}}
}

const good = `{"title":"Vans","goal":"","facts":["Six vans arrive."],"open_decisions":[],"next_steps":[],"summary":"Six vans arrive."}`

// work is a step that writes a brief.
func work(t *testing.T, l *agentloop.Loop) domain.Work {
	t.Helper()
	a, _ := l.Library.Agent("business-analyst")
	tmpl, ok := l.Library.Template("documentation.write-brief")
	if !ok {
		t.Fatal("no template")
	}
	return domain.Work{
		Stream: stream, Path: "draft", Attempt: 2, Kind: domain.AgentStep, Agent: a.Ref(), Template: tmpl.Ref(),
		Input: json.RawMessage(`{"notes":"Six vans arrive on Monday.","audience":null}`),
	}
}

func completed(t *testing.T, r commands.Run) commands.CompleteStep {
	t.Helper()
	c, ok := r.(commands.CompleteStep)
	if !ok {
		t.Fatalf("got %+v", r)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	return c
}

func failed(t *testing.T, r commands.Run, code string, final bool) commands.FailStep {
	t.Helper()
	f, ok := r.(commands.FailStep)
	if !ok {
		t.Fatalf("got %+v", r)
	}
	if f.Fault.Code != code || f.Fault.Final != final || f.Fault.Message == "" {
		t.Errorf("fault is %+v, want %s (final %v)", f.Fault, code, final)
	}
	if err := f.Validate(); err != nil {
		t.Error(err)
	}
	return f
}

func TestAnAnswerThatFitsCompletesTheStepWithWhatItCost(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"bare": good, "fenced": "Here it is:\n```json\n" + good + "\n```\nBye.", "in prose": "Sure. " + good + " Done.", "spaced": "\n " + strings.ReplaceAll(good, ",", ",\n "),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &scripted{answers: []func(context.Context) (llm.Response, error){says(text)}}
			l := loop(t, p)
			c := completed(t, l.Do(t.Context(), work(t, l)))
			if string(c.Output) != good || c.Provider != "openai" || c.Model != "gpt-4.1" || c.Attempt != 2 || c.Run != stream || c.Path != "draft" {
				t.Errorf("got %+v: %s", c, c.Output)
			}
			if len(c.Spent) != 1 || c.Spent[0].Amount.USD() != "$0.002800" || c.PriceTable != l.Prices.ID {
				t.Errorf("spent %+v by %s", c.Spent, c.PriceTable)
			}
			r := p.asked[0]
			if r.Attempt != string(stream)+"/draft/2/1" || r.Schema == nil || r.Temperature == nil || r.MaxTokens == 0 || !strings.Contains(r.Messages[0].Text, "Six vans arrive on Monday.") {
				t.Errorf("asked %+v", r)
			}
		})
	}
}

func TestAnAnswerThatDoesNotFitIsRepairedOnceWithTheProblemsNamed(t *testing.T) {
	t.Parallel()
	p := &scripted{answers: []func(context.Context) (llm.Response, error){says(`{"title":""}`), says(good)}}
	l := loop(t, p)
	c := completed(t, l.Do(t.Context(), work(t, l)))
	if len(c.Spent) != 2 || len(p.asked) != 2 {
		t.Fatalf("%d calls, %d charged", len(p.asked), len(c.Spent))
	}
	again := p.asked[1].Messages
	if len(again) != 3 || again[1].Role != llm.Assistant || !strings.Contains(again[2].Text, "/title") || !strings.Contains(again[2].Text, "summary") {
		t.Errorf("the repair says %+v", again)
	}
	if p.asked[0].Attempt == p.asked[1].Attempt {
		t.Error("two calls have the same name")
	}
}

func TestThereIsNoSecondRepair(t *testing.T) {
	t.Parallel()
	bad := says(`I would rather not.`)
	p := &scripted{answers: []func(context.Context) (llm.Response, error){bad, bad, says(good)}}
	l := loop(t, p)
	f := failed(t, l.Do(t.Context(), work(t, l)), agentloop.CodeInvalidOutput, false)
	if len(p.asked) != 2 || len(f.Spent) != 2 || f.PriceTable == "" {
		t.Errorf("%d calls, spent %+v", len(p.asked), f.Spent)
	}
}

func TestABrokenRuleBeyondTheSchemaIsRepairedToo(t *testing.T) {
	t.Parallel()
	twice := strings.Replace(good, `["Six vans arrive."]`, `["Six vans arrive.","Six vans arrive."]`, 1)
	p := &scripted{answers: []func(context.Context) (llm.Response, error){says(twice), says(good)}}
	l := loop(t, p)
	completed(t, l.Do(t.Context(), work(t, l)))
	if got := p.asked[1].Messages[2].Text; !strings.Contains(got, "facts-differ") {
		t.Errorf("the repair says %s", got)
	}
}

func TestAnAnswerThatWasCutOffIsAskedToBeShorter(t *testing.T) {
	t.Parallel()
	cut := func(context.Context) (llm.Response, error) {
		return llm.Response{Text: good, Model: "gpt-4.1", Finish: llm.CutOff, Usage: domain.Tokens{Output: 1}}, nil
	}
	p := &scripted{answers: []func(context.Context) (llm.Response, error){cut, says(good)}}
	l := loop(t, p)
	completed(t, l.Do(t.Context(), work(t, l)))
	if got := p.asked[1].Messages[2].Text; !strings.Contains(got, "cut off") {
		t.Errorf("the repair says %s", got)
	}
}

func TestAVersionThisBuildDoesNotHoldIsAFinalFault(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*domain.Work){
		"agent":            func(w *domain.Work) { w.Agent.ID = "nobody" },
		"agent hash":       func(w *domain.Work) { w.Agent.Hash = "sha256:00" },
		"template":         func(w *domain.Work) { w.Template.ID = "no.thing" },
		"template version": func(w *domain.Work) { w.Template.Version++ },
		"template hash":    func(w *domain.Work) { w.Template.Hash = "sha256:00" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &scripted{}
			l := loop(t, p)
			w := work(t, l)
			change(&w)
			f := failed(t, l.Do(t.Context(), w), agentloop.CodeVersionMissing, true)
			if len(p.asked) != 0 || f.Spent != nil || f.PriceTable != "" {
				t.Errorf("a model was asked: %+v", f)
			}
		})
	}
}

func TestAnInputTheTemplateDoesNotTakeIsAFinalFault(t *testing.T) {
	t.Parallel()
	l := loop(t, &scripted{})
	for _, input := range []string{`{}`, `{"notes":1}`, `{"notes":"x","more":1}`, `[]`, `null`, ``} {
		w := work(t, l)
		w.Input = json.RawMessage(input)
		failed(t, l.Do(t.Context(), w), agentloop.CodeInvalidInput, true)
	}
}

func TestAFailureOfTheProviderIsTheFaultOfTheStep(t *testing.T) {
	t.Parallel()
	spent := domain.Tokens{Input: 400}
	for _, e := range []*llm.Error{
		{Provider: "openai", Code: llm.RateLimited, Message: "slow down"},
		{Provider: "openai", Code: llm.Auth, Message: "no", Final: true},
		{Provider: "openai", Code: llm.BadResponse, Message: "cut", Spent: &spent, Estimated: true},
	} {
		t.Run(string(e.Code), func(t *testing.T) {
			t.Parallel()
			l := loop(t, &scripted{answers: []func(context.Context) (llm.Response, error){fails(e)}})
			l.Model = "gpt-4.1"
			f := failed(t, l.Do(t.Context(), work(t, l)), string(e.Code), e.Final)
			if e.Spent == nil && f.Spent != nil {
				t.Errorf("charged %+v", f.Spent)
			}
			if e.Spent != nil && (len(f.Spent) != 1 || !f.Spent[0].Estimated || f.Spent[0].Tokens != spent || f.Spent[0].Amount == 0) {
				t.Errorf("charged %+v", f.Spent)
			}
		})
	}
}

func TestWhatAFailedRepairCostIsChargedWithTheFirstCall(t *testing.T) {
	t.Parallel()
	p := &scripted{answers: []func(context.Context) (llm.Response, error){says("no"), fails(&llm.Error{Provider: "openai", Code: llm.Unreachable, Message: "down"})}}
	l := loop(t, p)
	if f := failed(t, l.Do(t.Context(), work(t, l)), string(llm.Unreachable), false); len(f.Spent) != 1 {
		t.Errorf("charged %+v", f.Spent)
	}
}

func TestANoopStepGivesBackItsInput(t *testing.T) {
	t.Parallel()
	l := loop(t, &scripted{})
	for input, want := range map[string]string{`{"a":1}`: `{"a":1}`, ``: `null`} {
		c := completed(t, l.Do(t.Context(), domain.Work{Stream: stream, Path: "n", Attempt: 1, Kind: domain.NoopStep, Input: json.RawMessage(input)}))
		if string(c.Output) != want || c.Spent != nil || c.Provider != "" {
			t.Errorf("got %+v", c)
		}
	}
}

func TestTheDeadlineOfTheAttemptEndsTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := loop(t, simulated.New(simulated.Options{Latency: time.Hour}))
		w := work(t, l)
		began := time.Now()
		w.Deadline = began.Add(time.Minute)
		failed(t, l.Do(t.Context(), w), string(llm.Timeout), false)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("took %s", took)
		}
	})
}

func TestWorkThatIsCalledOffEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := loop(t, simulated.New(simulated.Options{Latency: time.Hour}))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		failed(t, l.Do(ctx, work(t, l)), agentloop.CodeInterrupted, false)
	})
}

func TestWhatIsChargedAgreesWithTheProvidersOwnLedger(t *testing.T) {
	t.Parallel()
	ledger := &simulated.Ledger{}
	l := loop(t, simulated.New(simulated.Options{Ledger: ledger, Answer: func(c simulated.Call) (string, bool) { return "{}", c.Number == 1 }}))
	c := completed(t, l.Do(t.Context(), work(t, l)))
	var charged, kept []domain.Tokens
	for _, u := range c.Spent {
		charged = append(charged, u.Tokens)
	}
	for _, e := range ledger.Entries() {
		kept = append(kept, e.Tokens)
	}
	if diff := cmp.Diff(kept, charged); diff != "" || len(kept) != 2 || !c.Simulated {
		t.Errorf("(-ledger +charged):\n%s", diff)
	}
}
