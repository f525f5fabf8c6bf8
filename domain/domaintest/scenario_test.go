package domaintest_test

import (
	"testing"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/events"
)

func TestAScenarioThatDoesNotHoldFails(t *testing.T) {
	t.Parallel()
	why := events.RunCancelled{Reason: "why"}
	cancel := commands.CancelRun{Reason: "why"}
	for name, scenario := range map[string]func(t testing.TB){
		"other events":        func(t testing.TB) { domaintest.For(t, sound()).When(cancel).Then(events.RunCancelled{Reason: "no"}) },
		"events, not nothing": func(t testing.TB) { domaintest.For(t, sound()).When(cancel).ThenNothing() },
		"nothing, not events": func(t testing.TB) { domaintest.For(t, sound()).Given(why).When(cancel).Then(why) },
		"events, no refusal":  func(t testing.TB) { domaintest.For(t, sound()).When(cancel).ThenError(&domain.Error{Code: "x"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &catcher{TB: t}
			c.run(func() { scenario(c) })
			if c.said.Len() == 0 {
				t.Error("it passed")
			}
		})
	}
	domaintest.For(t, sound()).When(cancel).Then(why)
	domaintest.For(t, sound()).After(cancel).When(cancel).ThenNothing()
}

func TestErasingTakesWhatHasAClassAndNothingElse(t *testing.T) {
	t.Parallel()
	e := domaintest.Erase[events.Run](events.StepCompleted{Path: "a", Attempt: 2, Output: []byte(`"text"`), Model: "m"})
	if got := e.(events.StepCompleted); got.Output != nil || got.Path != "a" || got.Attempt != 2 || got.Model != "m" {
		t.Errorf("got %+v", got)
	}
}
