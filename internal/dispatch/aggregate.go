package dispatch

import (
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Aggregate is a decider whose types were erased by For.
type Aggregate interface {
	kind() string
	accepts(commands.Command) bool
	initial() any
	evolve(state any, e events.Event) any
	decide(state any, c commands.Command, now time.Time) ([]events.Event, error)
}

// For erases the types of a decider.
func For[S any, C commands.Command, E events.Event](d domain.Decider[S, C, E]) Aggregate {
	return erased[S, C, E]{d}
}

type erased[S any, C commands.Command, E events.Event] struct{ d domain.Decider[S, C, E] }

func (a erased[S, C, E]) kind() string                    { return a.d.Kind }
func (a erased[S, C, E]) accepts(c commands.Command) bool { _, ok := c.(C); return ok }
func (a erased[S, C, E]) initial() any                    { return a.d.Initial() }

// evolve ignores events of foreign unions: a stream holds one kind only, so
// there are none unless the store was tampered with, which verify reports.
func (a erased[S, C, E]) evolve(state any, e events.Event) any {
	if own, ok := e.(E); ok {
		return a.d.Evolve(state.(S), own)
	}
	return state
}

func (a erased[S, C, E]) decide(state any, c commands.Command, now time.Time) ([]events.Event, error) {
	decided, err := a.d.Decide(state.(S), c.(C), now)
	if err != nil {
		return nil, err
	}
	out := make([]events.Event, len(decided))
	for i, e := range decided {
		out[i] = e
	}
	return out, nil
}
