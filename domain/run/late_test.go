package run_test

import (
	"testing"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
)

var call = domain.Usage{Provider: "p", Model: "m", Tokens: domain.Tokens{Input: 100, Output: 20}, Amount: 4200}

// Rule 8: only the open attempt's result counts.

func TestAResultOfAnOlderAttemptDoesNotCount(t *testing.T) {
	t.Parallel()
	s := started(t, noop("a")).After(lapse("a", 1))
	s.When(complete("a", 1, `"late"`)).ThenNothing()
	s.When(fail("a", 1)).ThenNothing()
	s.When(complete("a", 2, `"in time"`)).Then(completed("a", 2, `"in time"`), events.RunCompleted{})
}

func TestAResultThatArrivesBetweenTwoAttemptsDoesNotCount(t *testing.T) {
	t.Parallel()
	started(t, noop("a")).After(fail("a", 1)).When(complete("a", 1, `"late"`)).ThenNothing()
}

func TestAResultIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	started(t, noop("a"), noop("b")).After(complete("a", 1, `1`)).When(complete("a", 1, `2`)).ThenNothing()
}

func TestAnAttemptThatWasNeverDueIsRefused(t *testing.T) {
	t.Parallel()
	s := started(t, noop("a"), noop("b", "a"))
	for _, c := range []commands.Run{complete("a", 2, `1`), complete("b", 1, `1`), fail("nobody", 1), lapse("a", 0)} {
		s.When(c).ThenError(run.ErrUnknownAttempt)
	}
}

func TestAnOutputThatIsNotJSONIsRefused(t *testing.T) {
	t.Parallel()
	if err := started(t, noop("a")).When(complete("a", 1, `{`)).ThenError(domain.InvalidField("", "", "")); err.Field != "output" {
		t.Errorf("got %+v", err)
	}
}

// Rule 9: money is never lost and counted once.

func TestMoneyComesBeforeTheResultOneEventPerCall(t *testing.T) {
	t.Parallel()
	c := complete("a", 1, `1`)
	c.Spent = []domain.Usage{call, call}
	started(t, noop("a")).When(c).Then(
		spent("a", 1, 1, call), spent("a", 1, 2, call), completed("a", 1, `1`), events.RunCompleted{})
}

func TestALateReportStillRecordsItsMoneyOnce(t *testing.T) {
	t.Parallel()
	late := complete("a", 1, `1`)
	late.Spent = []domain.Usage{call}
	failed := fail("a", 1)
	failed.Spent = []domain.Usage{call}
	for name, s := range map[string]scenario{
		"after a lapse":    started(t, noop("a")).After(lapse("a", 1)),
		"after a result":   started(t, noop("a")).After(lapse("a", 1), complete("a", 2, `1`)),
		"after a cancel":   started(t, noop("a")).After(cancel()),
		"after a time-out": started(t, noop("a")).At(t0.Add(domain.DefaultStepTimeout)).After(fire("timeout:a#1")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.When(late).Then(spent("a", 1, 1, call))
			s.When(failed).Then(spent("a", 1, 1, call))
			s.After(late).When(late).ThenNothing()
			s.After(late).When(failed).ThenNothing()
		})
	}
}

func TestALaterReportRecordsOnlyTheCallsThatAreNew(t *testing.T) {
	t.Parallel()
	first, second := fail("a", 1), fail("a", 1)
	first.Spent, second.Spent = []domain.Usage{call}, []domain.Usage{call, call}
	started(t, noop("a")).After(first).When(second).Then(spent("a", 1, 2, call))
}

// Rule 10: timers are judged.

func TestATimerThatIsEarlyLateOrUnknownChangesNothing(t *testing.T) {
	t.Parallel()
	c := start(noop("a"))
	s := started(t, c.Definition.Steps...)
	for _, id := range []string{"deadline", "timeout:a#1", "timeout:a#2", "retry:a#1", "timeout:b#1", "timeout:a", "nonsense", "retry:a#1x"} {
		s.When(fire(id)).ThenNothing()
	}
	much := s.At(t0.Add(24 * time.Hour))
	for _, id := range []string{"deadline", "timeout:a#2", "retry:a#1", "soon:a#1"} {
		much.When(fire(id)).ThenNothing()
	}
	much.After(complete("a", 1, `1`)).When(fire("timeout:a#1")).ThenNothing()
}

func TestAnAttemptThatPassesItsDeadlineFailsAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	a := noop("a")
	a.Timeout, a.Retry.MaxAttempts = domain.Duration(time.Minute), 2
	s := started(t, a).At(t0.Add(time.Minute))
	f := s.When(fire("timeout:a#1")).Events()[0].(events.StepFailed)
	if f.Fault.Code != run.CodeTimeout || f.RetryAt == nil {
		t.Errorf("got %+v", f)
	}
	s.At(t0.Add(time.Minute - time.Microsecond)).When(fire("timeout:a#1")).ThenNothing()
	s = s.After(fire("timeout:a#1")).At(t0.Add(time.Hour)).After(fire("retry:a#1"))
	s.When(fire("timeout:a#1")).ThenNothing()
	es := s.At(t0.Add(2 * time.Hour)).When(fire("timeout:a#2")).Events()
	if got := types(es); got != "step_failed a, failed" {
		t.Errorf("after the last attempt: %s", got)
	}
}

func TestARetryThatIsEarlyChangesNothing(t *testing.T) {
	t.Parallel()
	s := started(t, noop("a")).After(fail("a", 1))
	due := run.Intents(stream, s.State()).Timers[0].Due
	s.At(due.Add(-time.Microsecond)).When(fire("retry:a#1")).ThenNothing()
	s.At(due).When(fire("retry:a#1")).Then(scheduled("a", 2, `{}`, due))
}

func TestARunThatPassesItsDeadlineFails(t *testing.T) {
	t.Parallel()
	c := start(noop("a"))
	c.Definition.Deadline = domain.Duration(time.Hour)
	s := scenarioAfter(t, c)
	s.At(t0.Add(time.Hour - time.Microsecond)).When(fire("deadline")).ThenNothing()
	es := s.At(t0.Add(time.Hour)).When(fire("deadline")).Events()
	if f, ok := es[0].(events.RunFailed); !ok || len(es) != 1 || f.Fault.Code != run.CodeDeadline || f.Path != "" {
		t.Errorf("got %+v", es)
	}
}

// Rule 11: nothing but money after the end.

func TestACancelledRunHasNothingOutstanding(t *testing.T) {
	t.Parallel()
	c := start(noop("a"), noop("b", "a"))
	c.Definition.Deadline = domain.Duration(time.Hour)
	s := scenarioAfter(t, c)
	s.When(cancel()).Then(events.RunCancelled{Reason: "no longer needed"})
	after := s.After(cancel()).State()
	if in := run.Intents(stream, after); len(in.Work)+len(in.Timers) != 0 {
		t.Errorf("still waits for %+v", in)
	}
	if after.Phase() != run.Cancelled || after.Status("a") != run.StepCancelled || after.Status("b") != run.StepCancelled {
		t.Errorf("phase %s, a %s, b %s", after.Phase(), after.Status("a"), after.Status("b"))
	}
}

func TestAnEndedRunCannotBeCancelledAndIgnoresTheRest(t *testing.T) {
	t.Parallel()
	s := started(t, noop("a")).After(complete("a", 1, `1`))
	s.When(cancel()).ThenError(run.ErrAlreadyEnded)
	for _, c := range []commands.Run{complete("a", 1, `1`), fail("a", 1), lapse("a", 1), fire("timeout:a#1"), fire("deadline")} {
		s.When(c).ThenNothing()
	}
}

// Rule 12: an unknown outcome of an at-most-once step.

func TestAnAtMostOnceStepThatWasBegunAndHasNoOutcomeIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	a := noop("a")
	a.Effect = domain.AtMostOnce
	s := started(t, a).After(begin("a", 1)).At(t0.Add(time.Hour))
	for name, c := range map[string]commands.Run{"lapse": lapse("a", 1), "time-out": fire("timeout:a#1")} {
		es := s.When(c).Events()
		f, ok := es[len(es)-1].(events.RunFailed)
		if !ok || f.Fault.Code != run.CodeOutcomeUnknown {
			t.Errorf("%s: got %+v", name, es)
		}
	}
	if f := s.When(fail("a", 1)).Events()[0].(events.StepFailed); f.RetryAt == nil {
		t.Error("a failure the worker is sure of is tried again")
	}
}

func TestAnAtMostOnceStepThatWasNotBegunIsTriedAgain(t *testing.T) {
	t.Parallel()
	a := noop("a")
	a.Effect = domain.AtMostOnce
	es := started(t, a).When(lapse("a", 1)).Events()
	if again, ok := es[len(es)-1].(events.StepScheduled); !ok || again.Attempt != 2 {
		t.Errorf("got %+v, want attempt 2", es)
	}
}

func TestAGuardedEffectIsBegunByOneWorkerUnlessItsKeyProtectsIt(t *testing.T) {
	t.Parallel()
	other := begin("a", 1)
	other.Worker = "w2"
	for effect, want := range map[domain.EffectClass]*domain.Error{domain.AtMostOnce: run.ErrBegunByAnother, domain.Keyed: nil} {
		a := noop("a")
		a.Effect = effect
		s := started(t, a)
		es := s.When(begin("a", 1)).Events()
		if b, ok := es[0].(events.StepStarted); !ok || b.Key == "" || b.Worker != "w1" {
			t.Errorf("%s: got %+v", effect, es)
		}
		s = s.After(begin("a", 1))
		s.When(begin("a", 1)).ThenNothing()
		if want == nil {
			s.When(other).ThenNothing()
		} else {
			s.When(other).ThenError(want)
		}
		s.After(complete("a", 1, `1`)).When(begin("a", 1)).ThenError(run.ErrNotOpen)
	}
	started(t, noop("a")).When(begin("a", 1)).ThenNothing()
}

func TestTheKeyOfAnEffectIsTheSameForEveryAttempt(t *testing.T) {
	t.Parallel()
	a := noop("a")
	a.Effect = domain.Keyed
	s := started(t, a)
	first := s.When(begin("a", 1)).Events()[0].(events.StepStarted)
	second := s.After(begin("a", 1), lapse("a", 1)).When(begin("a", 2)).Events()[0].(events.StepStarted)
	if first.Key != second.Key {
		t.Errorf("keys %s and %s differ", first.Key, second.Key)
	}
}

// Intents.

func TestIntentsAreTheOpenAttemptsAndTheirTimers(t *testing.T) {
	t.Parallel()
	c := start(noop("a"), noop("b"), noop("c"), noop("d", "a"))
	c.Definition.Deadline, c.Priority = domain.Duration(time.Hour), 3
	c.Definition.Steps[1].With = map[string]any{"n": "${inputs.n}"}
	s := scenarioAfter(t, c).After(complete("c", 1, `1`), fail("a", 1)).State()
	in := run.Intents(stream, s)
	if len(in.Work) != 1 || in.Work[0].Path != "b" || string(in.Work[0].Input) != `{"n":3}` || in.Work[0].Priority != 3 || in.Work[0].Stream != stream {
		t.Errorf("work is %+v", in.Work)
	}
	var ids []string
	for _, timer := range in.Timers {
		ids = append(ids, timer.ID)
	}
	if len(ids) != 3 || ids[0] != "deadline" || ids[1] != "retry:a#1" || ids[2] != "timeout:b#1" {
		t.Errorf("timers are %v", ids)
	}
	if ended, total := s.Progress(); ended != 1 || total != 4 {
		t.Errorf("progress is %d of %d", ended, total)
	}
}

func TestErasedContentLeavesWorkWithoutInput(t *testing.T) {
	t.Parallel()
	a := noop("a")
	a.With = map[string]any{"n": "${inputs.n + 1}"}
	e := events.RunStarted{Engine: 1, Definition: start(a).Definition}
	s := run.Decider.Fold(e, scheduled("a", 1, `{"n":4}`, t0))
	if w, ok := run.Work(stream, s, "a"); !ok || w.Input != nil {
		t.Errorf("work is %+v", w)
	}
}
