// Package domaintest is how aggregates are tested: scenarios in the form given,
// when, then, and the laws that every decider keeps.
//
// It must not know any aggregate. It imports domain, events, commands, go-cmp
// and rapid, and is imported by tests only.
//
// Start reading at For; laws.go holds the laws.
package domaintest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Epoch is the instant of a scenario that names none.
var Epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Scenario is what has happened so far.
type Scenario[S any, C commands.Command, E events.Event] struct {
	t       testing.TB
	decider domain.Decider[S, C, E]
	now     time.Time
	history []E
}

// For begins a scenario on an empty stream, at Epoch.
func For[S any, C commands.Command, E events.Event](t testing.TB, d domain.Decider[S, C, E]) Scenario[S, C, E] {
	return Scenario[S, C, E]{t: t, decider: d, now: Epoch}
}

// Given adds events that have happened.
func (s Scenario[S, C, E]) Given(es ...E) Scenario[S, C, E] {
	s.history = append(s.history[:len(s.history):len(s.history)], es...)
	return s
}

// After adds the events that commands lead to; none may be refused.
func (s Scenario[S, C, E]) After(cs ...C) Scenario[S, C, E] {
	s.t.Helper()
	for _, c := range cs {
		es, err := s.decider.Decide(s.State(), c, s.now)
		if err != nil {
			s.t.Fatalf("%s was refused: %v", c.CommandName(), err)
		}
		s = s.Given(es...)
	}
	return s
}

// At sets the instant of the commands that follow.
func (s Scenario[S, C, E]) At(now time.Time) Scenario[S, C, E] {
	s.now = now
	return s
}

// State is the fold of what has happened.
func (s Scenario[S, C, E]) State() S { return s.decider.Fold(s.history...) }

// When decides a command.
func (s Scenario[S, C, E]) When(c C) Outcome[E] {
	es, err := s.decider.Decide(s.State(), c, s.now)
	return Outcome[E]{s.t, es, err}
}

// Outcome is what a command led to.
type Outcome[E events.Event] struct {
	t   testing.TB
	got []E
	err error
}

// Then requires exactly these events.
func (o Outcome[E]) Then(want ...E) {
	o.t.Helper()
	if o.err != nil {
		o.t.Fatalf("refused: %v", o.err)
	}
	if diff := cmp.Diff(want, o.got, cmpopts.EquateEmpty()); diff != "" {
		o.t.Fatalf("events (-want +got):\n%s", diff)
	}
}

// ThenNothing requires that the command was already satisfied.
func (o Outcome[E]) ThenNothing() {
	o.t.Helper()
	o.Then()
}

// ThenError requires a refusal that is the sentinel, and returns it.
func (o Outcome[E]) ThenError(want *domain.Error) *domain.Error {
	o.t.Helper()
	if !errors.Is(o.err, want) {
		o.t.Fatalf("want error %s, got %v and events %v", want.Code, o.err, o.got)
	}
	got, _ := errors.AsType[*domain.Error](o.err)
	return got
}

// Events returns the events; a refusal ends the test.
func (o Outcome[E]) Events() []E {
	o.t.Helper()
	if o.err != nil {
		o.t.Fatalf("refused: %v", o.err)
	}
	return o.got
}
