//go:build next

package main

import (
	"slices"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
)

// runDecider notes who starts a run, by an event type that only this build knows.
// It comes second: the last event of an append is what reactions go by.
func runDecider() domain.Decider[run.State, commands.Run, events.Run] {
	d := run.Decider
	d.Decide = func(s run.State, c commands.Run, now time.Time) ([]events.Run, error) {
		decided, err := run.Decide(s, c, now)
		if _, ok := c.(commands.StartRun); ok && err == nil {
			decided = slices.Insert(decided, 1, events.Run(events.RunNoted{Build: "next"}))
		}
		return decided, err
	}
	return d
}
