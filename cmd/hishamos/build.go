//go:build !next

package main

import (
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/projections"
)

// runDecider and readModels are what build_next.go has otherwise.
func runDecider() domain.Decider[run.State, commands.Run, events.Run] { return run.Decider }

// definitions are those of all read models.
func definitions() []*projection.Definition { return projections.All() }
