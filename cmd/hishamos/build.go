//go:build !next

package main

import (
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
)

// runDecider is what build_next.go has otherwise.
func runDecider() domain.Decider[run.State, commands.Run, events.Run] { return run.Decider }
