// Package worker performs due steps: it takes leases, does the work and
// reports results. A worker holds nothing that matters: if it dies, the lapse
// raises the attempt and somebody else goes on.
//
// It must not know how a step is done (Perform does) nor what a result leads to
// (the run's decider does). It imports domain, commands, lease
// and telemetry.
//
// Start reading at Pool; local.go serves workers in the process that owns the
// runs, remote.go those elsewhere.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/lease"
)

// Office is where leases come from and results go to.
type Office interface {
	// Take waits until there is work and gives the holder up to max pieces.
	Take(ctx context.Context, holder string, max int) ([]lease.Lease, error)
	// Report carries out the result of an attempt. It returns nil once the
	// outcome is settled, also when the attempt no longer counts.
	Report(ctx context.Context, result commands.Run) error
	// Release says that a piece of work is over, reported or called off.
	Release(l lease.Lease)
}

// Perform does one piece of work and says what came of it. It must return when
// the context ends.
type Perform func(ctx context.Context, w domain.Work) commands.Run

// Pool works on up to Slots steps at once.
type Pool struct {
	Office  Office
	Perform Perform
	Holder  string // names this pool in leases; unique among all processes
	Slots   int
	Logger  *slog.Logger
	// Watch, if not nil, is called when a lease was taken. Its context is the one
	// the step is performed and reported with; the function it returns is called
	// at the end, with the result if there is one.
	Watch func(context.Context, lease.Lease) (context.Context, func(result commands.Run))
}

// ErrWithdrawn is the cause of a cancelled context when the work no longer
// counts.
var ErrWithdrawn = errors.New("the work was withdrawn")

// retryPause is how long a pool waits after its office could not be reached.
const retryPause = 250 * time.Millisecond

// Run works until the context ends, then waits for what it began to stop.
func (p *Pool) Run(ctx context.Context) {
	var busy sync.WaitGroup
	defer busy.Wait()
	free := slots{freed: make(chan struct{}, 1)}
	free.put(p.Slots)
	// A hand that has done one piece of work does the next: its stack has grown.
	work := make(chan lease.Lease)
	defer close(work)
	hands := 0
	for {
		n := free.all(ctx)
		if n == 0 {
			return
		}
		leases, err := p.Office.Take(ctx, p.Holder, n)
		free.put(n - len(leases))
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			p.Logger.Warn("take work", "worker", p.Holder, "error", err)
			pause(ctx)
			continue
		}
		for _, l := range leases {
			select {
			case work <- l:
				continue
			default:
			}
			if hands == p.Slots { // one is about to come back: there was a free slot
				work <- l
				continue
			}
			hands++
			busy.Go(func() {
				for more := true; more; l, more = <-work {
					p.work(ctx, l)
					free.put(1)
				}
			})
		}
	}
}

// slots counts what is free. One goroutine takes, others give back.
type slots struct {
	free  atomic.Int64
	freed chan struct{} // receives when there may be some
}

// all takes every free slot, waiting for the first; 0: the context ended.
func (s *slots) all(ctx context.Context) int {
	for {
		if n := s.free.Swap(0); n > 0 {
			return int(n)
		}
		select {
		case <-ctx.Done():
			return 0
		case <-s.freed:
		}
	}
}

func (s *slots) put(n int) {
	if n == 0 {
		return
	}
	s.free.Add(int64(n))
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

func (p *Pool) work(parent context.Context, l lease.Lease) {
	var result commands.Run
	if p.Watch != nil {
		var done func(commands.Run)
		parent, done = p.Watch(parent, l)
		defer func() { done(result) }()
	}
	ctx := &leased{Context: parent, lease: l}
	defer ctx.end()
	defer p.Office.Release(l)
	failpoint.Hit("worker.after_take")
	if guarded := l.Effect == domain.Keyed || l.Effect == domain.AtMostOnce; guarded && !p.begin(ctx, l) {
		return
	}
	result = p.perform(ctx, l.Work)
	if parent.Err() != nil {
		return // shutting down: the lease lapses and somebody else goes on
	}
	if failed, ok := result.(commands.FailStep); ok && len(failed.Spent) == 0 && errors.Is(context.Cause(ctx), ErrWithdrawn) {
		return // it was called off, which is no failure of the step
	}
	failpoint.Hit("worker.before_report")
	p.report(parent, l, result) // if it is refused, the timer of the attempt ends it
	failpoint.Hit("worker.after_report")
}

// begin records that a guarded effect is about to happen. It reports whether
// the effect may be performed.
func (p *Pool) begin(ctx context.Context, l lease.Lease) bool {
	return p.report(ctx, l, commands.BeginStep{Run: l.Stream, Path: l.Path, Attempt: l.Attempt, Worker: p.Holder}) == nil
}

// report asks until the outcome is settled.
func (p *Pool) report(ctx context.Context, l lease.Lease, c commands.Run) error {
	for {
		err := p.Office.Report(ctx, c)
		if err == nil || ctx.Err() != nil {
			return err
		}
		p.Logger.Warn("report", "command", c.CommandName(), "worker", p.Holder, "stream", l.Stream, "step", l.Path, "attempt", l.Attempt, "error", err)
		if !passing(err) {
			return err
		}
		pause(ctx)
	}
}

// perform turns a panic into a failed attempt.
func (p *Pool) perform(ctx context.Context, w domain.Work) (result commands.Run) {
	defer func() {
		if r := recover(); r != nil {
			p.Logger.Error("worker panicked", "stream", w.Stream, "step", w.Path, "attempt", w.Attempt, "panic", r)
			result = commands.FailStep{
				StepResult: commands.StepResult{Run: w.Stream, Path: w.Path, Attempt: w.Attempt},
				Fault:      domain.Fault{Code: "worker.panic", Message: fmt.Sprint(r)},
			}
		}
	}()
	return p.Perform(ctx, w)
}

func passing(err error) bool {
	switch domain.KindOf(err) {
	case domain.Unavailable, domain.Unknown, domain.Exhausted, domain.Internal:
		return true
	}
	return false
}

func pause(ctx context.Context) {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
