package domain

import "time"

// Decider is the whole of an aggregate: how its state follows from its events,
// and which events a command leads to. All three functions are pure; S, C and E
// are the state, the sealed union of commands and the sealed union of events.
type Decider[S, C, E any] struct {
	// Kind is the stream kind, the part of a stream id before the underscore.
	Kind string
	// Initial is the state of a stream without events.
	Initial func() S
	// Evolve folds one event into the state. It is total: it never fails and
	// never branches on an erasable field. It owns the state it is given and may
	// reuse its memory.
	Evolve func(S, E) S
	// Decide answers a command with the events it leads to (none: the command is
	// already satisfied), or with an *Error. It must not change the state. The
	// instant is the only thing it knows of the outside world.
	Decide func(S, C, time.Time) ([]E, error)
}

// Fold applies events in order to the state of an empty stream.
func (d Decider[S, C, E]) Fold(events ...E) S {
	s := d.Initial()
	for _, e := range events {
		s = d.Evolve(s, e)
	}
	return s
}
