package main

import (
	"context"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/erasure"
	"github.com/hishamos/hishamos/domain/file"
	"github.com/hishamos/hishamos/domain/identity"
	"github.com/hishamos/hishamos/domain/logbook"
	deployed "github.com/hishamos/hishamos/domain/reaction"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/domain/workflow"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/telemetry/tracing"
	"github.com/hishamos/hishamos/internal/timer"
)

// aggregates lists every decider.
func aggregates() []dispatch.Aggregate {
	return []dispatch.Aggregate{
		dispatch.For(erasure.Decider),
		dispatch.For(file.Decider),
		dispatch.For(identity.TokenDecider),
		dispatch.For(logbook.Decider),
		dispatch.For(deployed.Decider),
		dispatch.For(runDecider()),
		dispatch.For(workflow.Decider),
	}
}

// ports are what the reactions of this node reach the outside through.
func (n *node) ports() handlers.Ports {
	p := portsOf(n.store, n.dispatcher, n.ring, n.board, n.timers)
	p.Logger, p.Takeover = n.logger, takeoverWidth
	p.SettleUpload, p.RemoveFile, p.RemoveErased = n.uploads.Forget, n.removeFile, n.removeErased
	p.Dispatcher, p.RunIntents = n.commands, tracing.Intents(n.tracer, p.RunIntents)
	return p
}

// takeoverWidth is how many runs are taken over side by side: half of the
// commands that are carried out at once, so that others find room.
const takeoverWidth = workingLimit / 2

func portsOf(store eventstore.Reader, d *dispatch.Dispatcher, ring *keys.Ring, board *lease.Board, timers *timer.Wheel) handlers.Ports {
	return handlers.Ports{
		Dispatcher: d,
		Board:      board,
		Timers:     timers,
		RunIntents: func(ctx context.Context, stream domain.StreamID, atLeast domain.Sequence) (domain.Intents, error) {
			intents, _, err := dispatch.Observe(ctx, d, stream, atLeast, func(s run.State) domain.Intents { return run.Intents(stream, s) })
			return intents, err
		},
		Doubt: d.Doubt,
		OpenRuns: func(ctx context.Context, after domain.StreamID, limit int) ([]domain.StreamID, error) {
			return store.OpenStreams(ctx, run.Decider.Kind, after, limit)
		},
		OpenErasures: func(ctx context.Context, after domain.StreamID, limit int) ([]domain.StreamID, error) {
			return store.OpenStreams(ctx, erasure.Decider.Kind, after, limit)
		},
		ErasureKeys: func(ctx context.Context, order domain.StreamID) ([]string, error) {
			ids, _, err := dispatch.Observe(ctx, d, order, 0, func(s erasure.State) []string { ids, _ := s.Ordered(); return ids })
			return ids, err
		},
		Destroy: func(ctx context.Context, order domain.StreamID, ids []string) error {
			return ring.Destroy(ctx, order, ids...)
		},
	}
}

// deployedFrom returns where a reaction begins. The first call, at the first
// start ever, records that it is the head of the log.
func (n *node) deployedFrom(ctx context.Context, name string) (domain.Position, bool, error) {
	return deployedFrom(ctx, n.store, n.dispatcher, name)
}

func deployedFrom(ctx context.Context, store eventstore.Reader, d *dispatch.Dispatcher, name string) (domain.Position, bool, error) {
	head, err := store.Head(ctx)
	if err != nil {
		return 0, false, err
	}
	c := commands.DeployReaction{Name: name, From: head.Position}
	receipt, err := d.Do(ctx, commands.Request{
		ID: domain.DerivedCommandID("deploy", domain.EventID(name)), Principal: system("deploy"), Command: c,
	})
	if err != nil {
		return 0, false, err
	}
	from, _, err := dispatch.Observe(ctx, d, c.Target(), 0, func(s deployed.State) domain.Position { at, _ := s.From(); return at })
	return from, receipt.Last > 0 && !receipt.Replayed, err
}
