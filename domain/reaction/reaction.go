// Package reaction is a deployed reaction: where in the log it begins.
//
// It must not know what a reaction does. It imports domain, events and commands.
// Start reading at Decide. The one rule: a reaction is deployed once; deploying
// it again, from anywhere, changes nothing.
package reaction

import (
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Decider is the deployed reaction as a value.
var Decider = domain.Decider[State, commands.Reaction, events.Reaction]{
	Kind:    "reaction",
	Initial: func() State { return State{} },
	Evolve:  Evolve,
	Decide:  Decide,
}

// State says whether and from where a reaction was deployed.
type State struct {
	deployed bool
	from     domain.Position
}

// From returns where the reaction begins, if it was deployed.
func (s State) From() (domain.Position, bool) { return s.from, s.deployed }

// Decide answers a command with the events it leads to.
func Decide(s State, c commands.Reaction, _ time.Time) ([]events.Reaction, error) {
	switch c := c.(type) {
	case commands.DeployReaction:
		if s.deployed {
			return nil, nil
		}
		return []events.Reaction{events.ReactionDeployed{Name: c.Name, From: c.From}}, nil
	}
	return nil, nil
}

// Evolve folds one event into the state.
func Evolve(s State, e events.Reaction) State {
	switch e := e.(type) {
	case events.ReactionDeployed:
		if !s.deployed {
			s.deployed, s.from = true, e.From
		}
	}
	return s
}
