package worker

import (
	"context"
	"strconv"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/lease"
)

// Local is the office of the process that owns the runs.
type Local struct {
	Board      *lease.Board
	Dispatcher commands.Dispatcher
}

// Take implements Office. Leases of workers in this process have no term: they
// end with the process.
func (o Local) Take(ctx context.Context, holder string, max int) ([]lease.Lease, error) {
	for {
		offered := o.Board.Offered()
		if leases := o.Board.Claim(holder, max, 0); len(leases) > 0 {
			return leases, nil
		}
		select {
		case <-offered:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Report implements Office.
func (o Local) Report(ctx context.Context, result commands.Run) error {
	_, err := o.Dispatcher.Do(ctx, Request(result))
	return err
}

// Release implements Office: the board learns it from the events.
func (o Local) Release(lease.Lease) {}

// Lapse makes a lapsed lease an event, which raises the attempt.
func (o Local) Lapse(ctx context.Context, l lease.Lapsed) error {
	_, err := o.Dispatcher.Do(ctx, Request(commands.LapseStep{Run: l.Stream, Path: l.Path, Attempt: l.Attempt, Worker: l.Holder}))
	return err
}

// Request gives a result its command id, derived from what it reports on: an
// attempt has one result however often it is reported.
func Request(c commands.Run) commands.Request {
	handler, path, attempt := "worker.result", domain.StepPath(""), 0
	switch c := c.(type) {
	case commands.BeginStep: // each worker asks for itself
		handler, path, attempt = "worker.begin/"+c.Worker, c.Path, c.Attempt
	case commands.CompleteStep:
		path, attempt = c.Path, c.Attempt
	case commands.FailStep:
		path, attempt = c.Path, c.Attempt
	case commands.LapseStep:
		handler, path, attempt = "worker.lapse", c.Path, c.Attempt
	case commands.StartRun, commands.FireTimer, commands.CancelRun: // nobody reports these
	}
	of := domain.EventID(string(c.Target()) + "/" + string(path) + "#" + strconv.Itoa(attempt))
	return commands.Request{
		ID: domain.DerivedCommandID(handler, of), Command: c,
		Principal: domain.SystemPrincipal(c.Target().Tenant(), "worker"),
		Causation: string(of),
	}
}
