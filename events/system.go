package events

import "github.com/hishamos/hishamos/domain"

// Reaction is what can happen to a deployed reaction.
//
//sumtype:decl
type Reaction interface {
	Event
	isReaction()
}

// ReactionDeployed records where a reaction begins: events up to and including
// From never reach it, so a new reaction does not fire on all of history.
type ReactionDeployed struct {
	Name string          `json:"name"`
	From domain.Position `json:"from,string"`
}

// Log is what the operator decides about the log itself.
//
//sumtype:decl
type Log interface {
	Event
	isLog()
}

// LogLevelSet allows event types up to a level to be written.
type LogLevelSet struct {
	Level int `json:"level"`
}

func (ReactionDeployed) EventType() string { return "reaction.deployed" }
func (ReactionDeployed) isReaction()       {}
func (LogLevelSet) EventType() string      { return "log.level_set" }
func (LogLevelSet) isLog()                 {}

var systemTypes = []Type{of[ReactionDeployed](), of[LogLevelSet]()}
