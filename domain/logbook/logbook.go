// Package logbook is what the operator decides about the log itself.
//
// It must not know the log's parts. It imports domain, events and commands.
// Start reading at Decide. The rules:
//
//  1. The level only rises: events of a level, once written, may be anywhere.
//  2. It rises no higher than this build can write.
package logbook

import (
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Decider is the log's own settings as a value.
var Decider = domain.Decider[State, commands.Log, events.Log]{
	Kind:    "log",
	Initial: func() State { return State{} },
	Evolve:  Evolve,
	Decide:  Decide,
}

// State is what was decided about the log.
type State struct{ level int }

// Level returns the level that was set; 0 means never.
func (s State) Level() int { return s.level }

// The sentinels.
var (
	ErrLower = &domain.Error{
		Kind: domain.Conflict, Code: "log.level_lower", Field: "level",
		Message: "the level of a log only rises",
	}

	ErrBeyondBuild = &domain.Error{
		Kind: domain.Invalid, Code: "log.level_beyond_build", Field: "level",
		Message: "this build cannot write that level", Fix: "upgrade every process first",
	}
)

// Decide answers a command with the events it leads to.
func Decide(s State, c commands.Log, _ time.Time) ([]events.Log, error) {
	switch c := c.(type) {
	case commands.SetLogLevel:
		return setLogLevel(s, c)
	}
	return nil, nil
}

func setLogLevel(s State, c commands.SetLogLevel) ([]events.Log, error) {
	switch {
	case c.Level == s.level:
		return nil, nil
	case c.Level < s.level:
		return nil, ErrLower.With("the level of the log is %d and only rises", s.level)
	case c.Level > events.Level:
		return nil, ErrBeyondBuild.With("this build can write level %d, not %d", events.Level, c.Level)
	}
	return []events.Log{events.LogLevelSet{Level: c.Level}}, nil
}

// Evolve folds one event into the state.
func Evolve(s State, e events.Log) State {
	switch e := e.(type) {
	case events.LogLevelSet:
		s.level = max(s.level, e.Level)
	}
	return s
}
