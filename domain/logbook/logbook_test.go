package logbook_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/logbook"
	"github.com/hishamos/hishamos/events"
)

// Rule 1: the level only rises.

func TestTheLevelOfALogOnlyRises(t *testing.T) {
	t.Parallel()
	s := domaintest.For(t, logbook.Decider)
	s.When(commands.SetLogLevel{Level: 1}).Then(events.LogLevelSet{Level: 1})
	s.Given(events.LogLevelSet{Level: 1}).When(commands.SetLogLevel{Level: 1}).ThenNothing()
	s.Given(events.LogLevelSet{Level: 5}).When(commands.SetLogLevel{Level: 1}).ThenError(logbook.ErrLower)
	if got := s.Given(events.LogLevelSet{Level: 5}, events.LogLevelSet{Level: 1}).State().Level(); got != 5 {
		t.Errorf("level is %d", got)
	}
}

// Rule 2: no higher than this build can write.

func TestTheLevelOfALogStaysWithinTheBuild(t *testing.T) {
	t.Parallel()
	domaintest.For(t, logbook.Decider).When(commands.SetLogLevel{Level: events.Level + 1}).ThenError(logbook.ErrBeyondBuild)
}

func TestLogbookKeepsTheLawsOfDeciders(t *testing.T) {
	t.Parallel()
	domaintest.Laws(t, domaintest.Model[logbook.State, commands.Log, events.Log]{
		Decider: logbook.Decider,
		Next: func(t *rapid.T, _ logbook.State) commands.Log {
			return commands.SetLogLevel{Level: rapid.IntRange(1, events.Level+1).Draw(t, "level")}
		},
		Control: func(s logbook.State) any { return s.Level() },
		Ended:   func(logbook.State) bool { return false },
	})
}
