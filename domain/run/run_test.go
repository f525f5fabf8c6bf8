package run_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
)

// Rule 1: a run starts once, from a valid definition, with fitting inputs.

func TestARunStartsWithEverythingItWillFollow(t *testing.T) {
	t.Parallel()
	c := start(noop("a"), noop("b", "a"))
	c.Definition.Deadline = domain.Duration(time.Hour)
	c.Priority = 7
	deadline := t0.Add(time.Hour)
	domaintest.For(t, run.Decider).When(c).Then(
		events.RunStarted{
			Workflow:   domain.Ref{ID: "test", Version: 1, Hash: c.Definition.Hash()},
			Definition: c.Definition, Engine: run.Engine, Inputs: c.Inputs, Priority: 7, Deadline: &deadline,
		},
		scheduled("a", 1, `{}`, t0),
	)
}

func TestARunStartsOnlyOnce(t *testing.T) {
	t.Parallel()
	started(t, noop("a")).When(start(noop("a"))).ThenError(run.ErrAlreadyStarted)
}

func TestARunDoesNotStartFromAnInvalidDefinition(t *testing.T) {
	t.Parallel()
	unknownStep := noop("b", "a")
	unknownStep.When = `steps.nobody.state == "completed"`
	for field, c := range map[string]commands.StartRun{
		"steps[0].needs": start(noop("a", "b"), noop("b", "a")),
		"steps[1].when":  start(noop("a"), unknownStep),
	} {
		if err := domaintest.For(t, run.Decider).When(c).ThenError(domain.ErrInvalidDefinition); err.Field != field {
			t.Errorf("error names %s, want %s", err.Field, field)
		}
	}
}

func TestARunDoesNotStartWithUnfittingInputs(t *testing.T) {
	t.Parallel()
	c := start(noop("a"))
	c.Inputs = nil
	err := domaintest.For(t, run.Decider).When(c).ThenError(domain.InvalidField("", "", ""))
	if err.Field != "inputs.n" || err.Fix == "" {
		t.Errorf("got %+v", err)
	}
}

func TestARunDoesNotStartWithAnAgentOrTemplateNobodyKnows(t *testing.T) {
	t.Parallel()
	c := start(domain.Step{ID: "a", Kind: domain.AgentStep, Agent: "writer", Template: "draft"})
	domaintest.For(t, run.Decider).When(c).ThenError(run.ErrUnknownAgent)
	c.Agents = map[string]domain.Ref{"writer": {ID: "writer", Version: 3}}
	domaintest.For(t, run.Decider).When(c).ThenError(run.ErrUnknownTemplate)
}

func TestAnAgentStepCarriesThePinnedVersions(t *testing.T) {
	t.Parallel()
	c := start(domain.Step{ID: "a", Kind: domain.AgentStep, Agent: "writer", Template: "draft"})
	agent, template := domain.Ref{ID: "writer", Version: 3, Hash: "sha256:a"}, domain.Ref{ID: "draft", Version: 5}
	c.Agents, c.Templates = map[string]domain.Ref{"writer": agent}, map[string]domain.Ref{"draft": template}
	s := domaintest.For(t, run.Decider).After(c)
	w, ok := run.Work(stream, s.State(), "a")
	if !ok || w.Agent != agent || w.Template != template {
		t.Errorf("work is %+v", w)
	}
}

func TestNothingCanBeAskedOfARunThatNeverStarted(t *testing.T) {
	t.Parallel()
	for _, c := range []commands.Run{complete("a", 1, "1"), fail("a", 1), lapse("a", 1), fire("deadline"), cancel()} {
		domaintest.For(t, run.Decider).When(c).ThenError(run.ErrNotFound)
	}
}

func TestARunOfNewerRulesIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := events.RunStarted{Engine: run.Engine + 1, Definition: start(noop("a")).Definition}
	domaintest.For(t, run.Decider).Given(e).When(cancel()).ThenError(run.ErrNewerEngine)
}

// Rule 2: a result, what it makes due and the end are one append.

func TestAResultAndTheStepItMakesDueAreOneAppend(t *testing.T) {
	t.Parallel()
	b := noop("b", "a")
	b.With = map[string]any{"from_a": "${steps.a.output.text}", "n": "${inputs.n}", "list": []any{"${inputs.n + 1}", true}}
	started(t, noop("a"), b).At(t0.Add(time.Second)).When(complete("a", 1, `{"text": "<hello>"}`)).Then(
		completed("a", 1, `{"text":"\u003chello\u003e"}`),
		scheduled("b", 1, `{"from_a":"\u003chello\u003e","list":[4,true],"n":3}`, t0.Add(time.Second)),
	)
}

func TestTheLastResultAndTheEndOfTheRunAreOneAppend(t *testing.T) {
	t.Parallel()
	c := start(noop("a"))
	c.Definition.Outputs = map[string]string{"text": "${steps.a.output}", "double": "${inputs.n * 2}"}
	domaintest.For(t, run.Decider).After(c).When(complete("a", 1, `9007199254740993`)).Then(
		completed("a", 1, `9007199254740993`),
		events.RunCompleted{Outputs: map[string]json.RawMessage{"text": json.RawMessage(`9007199254740993`), "double": json.RawMessage(`6`)}},
	)
}

// Rule 3: a step becomes due when all it needs have ended, in declared order.

func TestAJoinWaitsForAllItNeeds(t *testing.T) {
	t.Parallel()
	s := started(t, noop("join", "b", "a"), noop("a"), noop("b"))
	s.When(complete("b", 1, `1`)).Then(completed("b", 1, `1`))
	s.After(complete("b", 1, `1`)).When(complete("a", 1, `2`)).Then(
		completed("a", 1, `2`), scheduled("join", 1, `{}`, t0))
}

func TestStepsBecomeDueInDeclaredOrder(t *testing.T) {
	t.Parallel()
	s := domaintest.For(t, run.Decider)
	c := start(noop("z"), noop("c", "z"), noop("a", "z"), noop("m"), noop("b", "z"))
	if got := types(s.When(c).Events()); got != "started, step_scheduled z, step_scheduled m" {
		t.Errorf("at the start: %s", got)
	}
	got := types(s.After(c).When(complete("z", 1, `1`)).Events())
	if got != "step_completed z, step_scheduled c, step_scheduled a, step_scheduled b" {
		t.Errorf("after z: %s", got)
	}
}

func TestIndependentStepsAreOpenAtTheSameTime(t *testing.T) {
	t.Parallel()
	if in := run.Intents(stream, started(t, noop("a"), noop("b"), noop("c", "a")).State()); len(in.Work) != 2 {
		t.Errorf("open: %+v", in.Work)
	}
}

// Rule 4: skipping.

func TestTheUntakenBranchIsSkippedAndTheJoinGoesOn(t *testing.T) {
	t.Parallel()
	yes, no := noop("yes", "a"), noop("no", "a")
	yes.When, no.When = "steps.a.output.good", "!steps.a.output.good"
	s := started(t, noop("a"), yes, no, noop("after_no", "no"), noop("join", "yes", "after_no"))
	s.When(complete("a", 1, `{"good":true}`)).Then(
		completed("a", 1, `{"good":true}`),
		scheduled("yes", 1, `{}`, t0),
		events.StepSkipped{Path: "no", Reason: run.ReasonCondition},
		events.StepSkipped{Path: "after_no", Reason: run.ReasonNeeds},
	)
	got := types(s.After(complete("a", 1, `{"good":true}`)).When(complete("yes", 1, `1`)).Events())
	if got != "step_completed yes, step_scheduled join" {
		t.Errorf("after yes: %s", got)
	}
}

func TestAStepWithItsOwnConditionDecidesAboutSkippedNeedsItself(t *testing.T) {
	t.Parallel()
	a, b := noop("a"), noop("b", "a")
	a.When, b.When = "false", `steps.a.state == "skipped"`
	got := types(domaintest.For(t, run.Decider).When(start(a, b)).Events())
	if got != "started, step_skipped a, step_scheduled b" {
		t.Errorf("got %s", got)
	}
}

func TestARunWhoseStepsWereAllSkippedIsComplete(t *testing.T) {
	t.Parallel()
	a := noop("a")
	a.When = "inputs.n > 3"
	c := start(a, noop("b", "a"))
	c.Definition.Outputs = map[string]string{"a": "${steps.a.output}"}
	es := domaintest.For(t, run.Decider).When(c).Events()
	if got := types(es); got != "started, step_skipped a, step_skipped b, completed" {
		t.Errorf("got %s", got)
	}
	if diff := cmp.Diff(map[string]json.RawMessage{"a": json.RawMessage("null")}, es[3].(events.RunCompleted).Outputs); diff != "" {
		t.Error(diff)
	}
}

// Rule 5: an expression without a value fails the run.

func TestAnExpressionWithoutAValueFailsTheRunAndStartsNothing(t *testing.T) {
	t.Parallel()
	early, when, with := noop("early", "a"), noop("b", "a"), noop("b", "a")
	when.When = "steps.a.output.missing == 1"
	with.With = map[string]any{"deep": map[string]any{"x": "${steps.a.output.missing}"}}
	for field, step := range map[string]domain.Step{"steps[2].when": when, "steps[2].with.deep.x": with} {
		es := started(t, noop("a"), early, step).When(complete("a", 1, `{}`)).Events()
		if got := types(es); got != "step_completed a, failed" {
			t.Fatalf("got %s", got)
		}
		failed := es[1].(events.RunFailed)
		if failed.Fault.Code != run.CodeExpressionFailed || failed.Path != "b" || !strings.HasPrefix(failed.Fault.Message, field+": ") {
			t.Errorf("%s: got %+v", field, failed)
		}
	}
}

func TestAnOutputWithoutAValueFailsTheRun(t *testing.T) {
	t.Parallel()
	c := start(noop("a"))
	c.Definition.Outputs = map[string]string{"x": "${steps.a.output.missing}"}
	es := domaintest.For(t, run.Decider).After(c).When(complete("a", 1, `{}`)).Events()
	failed, ok := es[len(es)-1].(events.RunFailed)
	if !ok || failed.Fault.Code != run.CodeExpressionFailed || !strings.HasPrefix(failed.Fault.Message, "outputs.x: ") {
		t.Errorf("got %+v", es)
	}
}

func TestAFaultDoesNotQuoteContent(t *testing.T) {
	t.Parallel()
	b := noop("b", "a")
	b.With = map[string]any{"x": "${int(steps.a.output)}"}
	es := started(t, noop("a"), b).When(complete("a", 1, `"my secret"`)).Events()
	if m := es[1].(events.RunFailed).Fault.Message; strings.Contains(m, "secret") {
		t.Errorf("message is %s", m)
	}
}

// Rule 6: retry.

func TestAFailedAttemptIsTriedAgainUntilTheAttemptsAreUsedUp(t *testing.T) {
	t.Parallel()
	a := noop("a")
	a.Retry = domain.Retry{MaxAttempts: 2, Delay: domain.Duration(10 * time.Second)}
	s := started(t, a)
	first, ok := s.When(fail("a", 1)).Events()[0].(events.StepFailed)
	if !ok || first.RetryAt == nil || first.RetryAt.Before(t0) || first.RetryAt.After(t0.Add(10*time.Second)) {
		t.Fatalf("got %+v", first)
	}
	s = s.After(fail("a", 1)).At(*first.RetryAt)
	s.When(fire("retry:a#1")).Then(scheduled("a", 2, `{}`, *first.RetryAt))
	s.After(fire("retry:a#1")).When(fail("a", 2)).Then(
		events.StepFailed{Path: "a", Attempt: 2, Fault: refused}, events.RunFailed{Path: "a", Fault: refused})
}

func TestAFinalFaultIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	c := fail("a", 1)
	c.Fault.Final = true
	started(t, noop("a"), noop("b")).When(c).Then(
		events.StepFailed{Path: "a", Attempt: 1, Fault: c.Fault}, events.RunFailed{Path: "a", Fault: c.Fault})
	s := started(t, noop("a"), noop("b"), noop("c", "b")).After(c).State()
	if s.Phase() != run.Failed || s.Status("b") != run.StepCancelled || s.Status("c") != run.StepCancelled || s.Fault().Code != refused.Code {
		t.Errorf("phase %s, b %s, c %s", s.Phase(), s.Status("b"), s.Status("c"))
	}
}

func TestWithOnErrorContinueTheRunGoesOnAndDependantsSeeTheError(t *testing.T) {
	t.Parallel()
	a, b := noop("a"), noop("b", "a")
	a.OnError, a.Retry.MaxAttempts = domain.ContinueRun, 1
	b.When = `steps.a.error.code == "provider.refused" && steps.a.state == "failed"`
	b.With = map[string]any{"why": "${steps.a.error.message}", "was": "${steps.a.output}"}
	started(t, a, b).When(fail("a", 1)).Then(
		events.StepFailed{Path: "a", Attempt: 1, Fault: refused},
		scheduled("b", 1, `{"was":null,"why":"the provider said no"}`, t0))
}

func TestAStepThatSucceededAtLastHasNoError(t *testing.T) {
	t.Parallel()
	b := noop("b", "a")
	b.With = map[string]any{"error": "${steps.a.error}"}
	b.Needs = []string{"a", "x"}
	s := started(t, noop("a"), noop("x"), b).After(fail("a", 1)).At(t0.Add(time.Hour)).After(fire("retry:a#1"), complete("a", 2, `1`))
	s.When(complete("x", 1, `1`)).Then(completed("x", 1, `1`), scheduled("b", 1, `{"error":null}`, t0.Add(time.Hour)))
}

func TestInstantsAreWholeMicrosecondsInUTC(t *testing.T) {
	t.Parallel()
	cairo := time.FixedZone("", 2*60*60)
	es := domaintest.For(t, run.Decider).At(t0.Add(1999 * time.Nanosecond).In(cairo)).When(start(noop("a"))).Events()
	want := t0.Add(time.Microsecond + domain.DefaultStepTimeout)
	if got := es[1].(events.StepScheduled).Deadline; got != want {
		t.Errorf("deadline is %v, want %v", got, want)
	}
	es = started(t, noop("a")).At(t0.Add(1999 * time.Nanosecond)).When(fail("a", 1)).Events()
	if at := es[0].(events.StepFailed).RetryAt; at.Nanosecond()%1000 != 0 {
		t.Errorf("retry is at %v", at)
	}
}

func TestDelaysGrowUpToTheirBoundAndAreDifferentPerAttempt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		delay, limit time.Duration
		bounds       []time.Duration
	}{
		{time.Second, 8 * time.Second, []time.Duration{1, 2, 4, 8, 8, 8, 8}},
		{time.Minute, 10 * time.Second, []time.Duration{10, 10, 10, 10, 10, 10, 10}},
		{2 * time.Minute, 0, []time.Duration{60, 60, 60, 60, 60, 60}},
	} {
		a := noop("a")
		a.Retry = domain.Retry{MaxAttempts: 20, Delay: domain.Duration(c.delay), MaxDelay: domain.Duration(c.limit)}
		s, seen := started(t, a), map[time.Duration]bool{}
		for i, bound := range c.bounds {
			now := t0.Add(time.Duration(i) * time.Hour)
			s = s.At(now)
			at := *s.When(fail("a", i+1)).Events()[0].(events.StepFailed).RetryAt
			delay := at.Sub(now)
			if delay < 0 || delay > bound*time.Second || seen[delay] {
				t.Errorf("delay %d is %s, want a fresh one up to %s", i+1, delay, bound*time.Second)
			}
			seen[delay] = true
			s = s.After(fail("a", i+1)).At(at).After(fire(fmt.Sprintf("retry:a#%d", i+1)))
		}
	}
}

// Rule 7: lapses.

func TestALapsedAttemptIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	s := started(t, noop("a")).At(t0.Add(time.Minute))
	s.When(lapse("a", 1)).Then(events.StepLapsed{Path: "a", Attempt: 1, Worker: "w1"}, scheduled("a", 2, `{}`, t0.Add(time.Minute)))
	s.After(lapse("a", 1)).When(lapse("a", 1)).ThenNothing()
}

func TestLapsesDoNotUseUpTheRetries(t *testing.T) {
	t.Parallel()
	a := noop("a")
	a.Retry.MaxAttempts = 2
	es := started(t, a).After(lapse("a", 1), lapse("a", 2)).When(fail("a", 3)).Events()
	if f := es[0].(events.StepFailed); f.RetryAt == nil {
		t.Errorf("the first failure is final: %+v", es)
	}
}

func TestAStepThatLosesTooManyWorkersIsAbandoned(t *testing.T) {
	t.Parallel()
	s := started(t, noop("a"))
	for attempt := 1; attempt < run.MaxLapses; attempt++ {
		s = s.After(lapse("a", attempt))
	}
	es := s.When(lapse("a", run.MaxLapses)).Events()
	if got := types(es); got != "step_lapsed, step_failed a, failed" {
		t.Fatalf("got %s", got)
	}
	if f := es[2].(events.RunFailed); f.Fault.Code != run.CodeAbandoned || f.Path != "a" {
		t.Errorf("got %+v", f)
	}
}
