// Package erasure is an order to destroy keys: what a run, a person or a tenant
// left behind can then be read by nobody, while every hash stays right.
//
// It must not know where keys are, nor destroy any. It imports domain, events and
// commands. Start reading at Decide. The states: new → ordered → completed. The
// rules:
//
//  1. A thing is ordered to be erased once; an order is never taken back.
//  2. An erasure is completed once, after it was ordered.
//  3. The system itself cannot be erased.
package erasure

import (
	"slices"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Decider is the order to erase as a value.
var Decider = domain.Decider[State, commands.Erasure, events.Erasure]{
	Kind:    "erasure",
	Initial: func() State { return State{} },
	Evolve:  Evolve,
	Decide:  Decide,
}

// State says how far an order is.
type State struct {
	ordered, completed bool
	keys               []string
}

// Ordered returns the keys that are to be destroyed, if any were ordered to be.
func (s State) Ordered() (keys []string, ok bool) { return s.keys, s.ordered }

// Completed reports whether they were destroyed.
func (s State) Completed() bool { return s.completed }

// The sentinels.
var (
	ErrNotOrdered = &domain.Error{Kind: domain.NotFound, Code: "erasure.not_found", Message: "there is no such order"}

	ErrSystem = &domain.Error{
		Kind: domain.Invalid, Code: "erasure.system", Field: "id",
		Message: "the system itself cannot be erased", Fix: "name another tenant",
	}
)

// Decide answers a command with the events it leads to.
func Decide(s State, c commands.Erasure, _ time.Time) ([]events.Erasure, error) {
	switch c := c.(type) {
	case commands.OrderErasure:
		return order(s, c)
	case commands.CompleteErasure:
		switch {
		case !s.ordered:
			return nil, ErrNotOrdered
		case s.completed:
			return nil, nil
		}
		return []events.Erasure{events.ErasureCompleted{}}, nil
	}
	return nil, nil
}

func order(s State, c commands.OrderErasure) ([]events.Erasure, error) {
	switch {
	case c.Subject == commands.EraseTenant && c.ID == string(domain.SystemTenant):
		return nil, ErrSystem
	case s.ordered:
		return nil, nil
	}
	keys := slices.Clone(c.Keys)
	slices.Sort(keys)
	return []events.Erasure{events.ErasureOrdered{Subject: c.Subject, ID: c.ID, Keys: slices.Compact(keys), Reason: c.Reason}}, nil
}

// Evolve folds one event into the state.
func Evolve(s State, e events.Erasure) State {
	switch e := e.(type) {
	case events.ErasureOrdered:
		if !s.ordered {
			s.ordered, s.keys = true, e.Keys
		}
	case events.ErasureCompleted:
		s.completed = s.completed || s.ordered
	}
	return s
}
