package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/timer"
)

// Ports are what reactions reach the outside through.
type Ports struct {
	Dispatcher commands.Dispatcher
	Board      *lease.Board
	Timers     *timer.Wheel
	// RunIntents returns what a run waits for, at or after a version.
	RunIntents func(ctx context.Context, run domain.StreamID, atLeast domain.Sequence) (domain.Intents, error)
	// Doubt has RunIntents compare with the log what this process knows of each run.
	Doubt func()
	// OpenRuns lists runs that have not ended, in order, after one.
	OpenRuns func(ctx context.Context, after domain.StreamID, limit int) ([]domain.StreamID, error)
	// OpenErasures lists orders to erase that were not carried out, likewise.
	OpenErasures func(ctx context.Context, after domain.StreamID, limit int) ([]domain.StreamID, error)
	// ErasureKeys returns the keys that an order is about.
	ErasureKeys func(ctx context.Context, order domain.StreamID) ([]string, error)
	// Destroy destroys keys for ever, because of an order; again changes nothing.
	Destroy func(ctx context.Context, order domain.StreamID, keys []string) error
	// SettleUpload drops what is kept of an upload beside a file that is complete.
	SettleUpload func(ctx context.Context, file domain.StreamID) error
	// RemoveFile takes away all that is kept of a file that was removed.
	RemoveFile func(ctx context.Context, file domain.StreamID) error
	// RemoveErased takes away the blobs of what an order erases.
	RemoveErased func(ctx context.Context, t domain.Tenant, subject, id string) error
	Logger       *slog.Logger // nil: the default
	// Takeover is how many runs' attempts are lapsed at a time when partitions are
	// taken over, so that their appends share batches. 0: 1.
	Takeover int
}

func (p Ports) logger() *slog.Logger {
	if p.Logger == nil {
		return slog.Default()
	}
	return p.Logger
}

// advanceRun is the reactive half of a workflow run's saga: it offers due work
// and sets timers. It compares what the run waits for with what is offered, so
// it does not matter how often or how late it is called.
func advanceRun(p Ports) reaction.Reaction {
	return reaction.Reaction{
		Name: "advance_run",
		Types: []string{
			events.RunStarted{}.EventType(), events.StepScheduled{}.EventType(), events.StepStarted{}.EventType(), events.StepCompleted{}.EventType(),
			events.StepFailed{}.EventType(), events.StepLapsed{}.EventType(), events.StepSkipped{}.EventType(),
			events.RunCompleted{}.EventType(), events.RunFailed{}.EventType(), events.RunCancelled{}.EventType(),
		},
		Last:     true, // the run is where the append left it
		Bare:     true,
		Together: 8, // it waits only where its run has gone on meanwhile
		Handle: func(ctx context.Context, e events.Recorded[events.Event]) error {
			return p.syncRun(ctx, e.Stream, e.Sequence)
		},
		Recover: p.recoverRuns,
		Forget: func(owned func(domain.StreamID) bool) {
			p.Board.Forget(owned)
			p.Timers.Forget(owned)
		},
	}
}

func (p Ports) syncRun(ctx context.Context, run domain.StreamID, atLeast domain.Sequence) error {
	intents, err := p.RunIntents(ctx, run, atLeast)
	if err != nil {
		return fmt.Errorf("advance %s: %w", run, err)
	}
	p.Board.Reconcile(run, intents.Work)
	p.Timers.Reconcile(run, intents.Timers)
	return nil
}

// recoverPage is how many open runs are looked up at once.
const recoverPage = 500

// recoverRuns finds again what the runs of new partitions wait for. Runs that this
// process knows from when it had them before may have gone on: what is handled
// again would offer work that others have done.
func (p Ports) recoverRuns(ctx context.Context, owned func(domain.StreamID) bool) error {
	p.Doubt()
	for after := domain.StreamID(""); ; {
		page, err := p.OpenRuns(ctx, after, recoverPage)
		if err != nil {
			return fmt.Errorf("recover runs: %w", err)
		}
		ours := slices.DeleteFunc(slices.Clone(page), func(run domain.StreamID) bool { return !owned(run) })
		replaced := p.replaceAll(ctx, ours)
		for i, run := range ours {
			err := replaced[i]
			if err == nil {
				err = p.syncRun(ctx, run, 0)
			}
			// A run that a newer build wrote to waits for one. Failing here would
			// begin the recovery anew, again and again, and each lapses attempts.
			if errors.Is(err, events.ErrUnknownType) {
				p.logger().Error("the run is left to a newer build", "run", run, "error", err)
				continue
			}
			if err != nil {
				return err
			}
		}
		if len(page) < recoverPage {
			return nil
		}
		after = page[len(page)-1]
	}
}

// replaceAll replaces the attempts of runs, some side by side, and returns what
// came of each. After a failure it begins with no further run: who recovers again
// replaces attempts again.
func (p Ports) replaceAll(ctx context.Context, runs []domain.StreamID) []error {
	out := make([]error, len(runs))
	var failed atomic.Pointer[error]
	replace := func(i int) {
		if err := failed.Load(); err != nil {
			out[i] = *err
			return
		}
		out[i] = p.replaceAttempts(ctx, runs[i])
		if err := out[i]; err != nil && !errors.Is(err, events.ErrUnknownType) {
			failed.CompareAndSwap(nil, &err)
		}
	}
	if p.Takeover <= 1 {
		for i := range runs {
			replace(i)
		}
		return out
	}
	var all sync.WaitGroup
	places := make(chan struct{}, p.Takeover)
	for i := range runs {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			replace(i)
		})
	}
	all.Wait()
	return out
}

// replaceAttempts lapses the attempts of a run that somebody may be at work on:
// the leases were known to the owner before us alone. Offering the same attempt
// to a second worker would pay for it twice and record it once. A step that does
// nothing is offered again as it is.
func (p Ports) replaceAttempts(ctx context.Context, run domain.StreamID) error {
	intents, err := p.RunIntents(ctx, run, 0)
	if err != nil {
		return fmt.Errorf("recover %s: %w", run, err)
	}
	for _, w := range intents.Work {
		if w.Kind == domain.NoopStep && w.Effect == domain.Repeatable {
			continue
		}
		of := domain.EventID(string(run) + "/" + string(w.Path) + "#" + strconv.Itoa(w.Attempt))
		_, err := p.Dispatcher.Do(ctx, commands.Request{
			ID: domain.DerivedCommandID("lapse_at_takeover", of), Principal: domain.SystemPrincipal(run.Tenant(), "advance_run"),
			Causation: string(of), Command: commands.LapseStep{Run: run, Path: w.Path, Attempt: w.Attempt},
		})
		if err != nil {
			return fmt.Errorf("recover %s: %w", run, err)
		}
	}
	return nil
}

// FireTimer delivers a due time to its run.
func (p Ports) FireTimer(ctx context.Context, t domain.Timer) error {
	_, err := p.Dispatcher.Do(ctx, commands.Request{
		ID:        domain.DerivedCommandID("fire_timer", domain.EventID(string(t.Stream)+"/"+t.ID)),
		Principal: domain.SystemPrincipal(t.Stream.Tenant(), "timer"),
		Command:   commands.FireTimer{Run: t.Stream, Timer: t.ID},
	})
	return err
}
