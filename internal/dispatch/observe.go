package dispatch

import (
	"context"
	"errors"
	"fmt"

	"github.com/hishamos/hishamos/domain"
)

// Observe computes something from a stream's committed state, at or after a
// version the caller has seen on the log; 0, or after Doubt: as the store has it
// now. S is the state of the stream's decider; compute must not keep or change it.
func Observe[S, T any](ctx context.Context, d *Dispatcher, stream domain.StreamID, atLeast domain.Sequence, compute func(S) T) (T, domain.Sequence, error) {
	var none T
	a, ok := d.aggregates[stream.Kind()]
	if !ok {
		return none, 0, fmt.Errorf("observe %s: no decider", stream)
	}
	q := d.cache.acquire(stream)
	defer d.cache.release(q)
	for {
		if err := q.lock(ctx); err != nil {
			return none, 0, err
		}
		if q.version < atLeast { // another process went on, or it was never loaded
			q.mu.Lock()
			q.invalidate()
			q.mu.Unlock()
		}
		if err := q.load(ctx, d, a); err != nil {
			q.unlock()
			return none, 0, err
		}
		if doubts := d.doubts.Load(); atLeast == 0 || q.trusted < doubts {
			if current, err := q.current(ctx, d.store); err != nil || !current && ctx.Err() != nil {
				q.unlock()
				return none, 0, errors.Join(err, context.Cause(ctx))
			} else if !current {
				q.unlock()
				continue
			}
			q.trusted = doubts
		}
		state, ok := q.state.(S)
		if !ok {
			q.unlock()
			return none, 0, fmt.Errorf("observe %s: state is %T", stream, q.state)
		}
		out, version := compute(state), q.version
		q.mu.Lock()
		era := q.era
		q.mu.Unlock()
		q.unlock()
		if held, err := q.reached(ctx, era, version); held || err != nil {
			return out, version, err
		}
	}
}

// reached waits until a version has committed, and reports whether the state it
// belongs to still holds.
func (q *queue) reached(ctx context.Context, era int, version domain.Sequence) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.era == era && q.committed < version {
		if !q.wait(ctx) {
			return false, context.Cause(ctx)
		}
	}
	return q.era == era, nil
}
