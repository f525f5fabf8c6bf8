package relay

import (
	"context"
	"errors"
	"time"

	"github.com/hishamos/hishamos/internal/eventstore"
)

// Run publishes until the context ends or an error needs an operator (Fatal).
// All other errors it outlasts: it waits, resumes and goes on.
func (r *Relay) Run(ctx context.Context) error {
	var wake <-chan struct{}
	if w, ok := r.store.(interface{ Wake() <-chan struct{} }); ok {
		wake = w.Wake()
	}
	defer r.finish()
	failures := 0
	for {
		idle, err := true, r.linger(ctx, wake)
		if err == nil {
			_, idle, err = r.step(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case Fatal(err), errors.Is(err, eventstore.ErrClosed):
			return err
		case err != nil:
			failures++
			delay := min(r.opts.Poll, 20*time.Millisecond<<min(failures, 10))
			r.opts.Logger.Warn("relay is interrupted", "error", err, "retry_in", delay)
			if err := r.wait(ctx, nil, nil, delay); err != nil {
				return err
			}
			continue
		}
		failures = 0
		switch room := len(r.inFlight) < r.opts.InFlight; {
		case !idle && room:
			continue
		case !idle: // full: only an acknowledgement helps
			err = r.wait(ctx, nil, nil, time.Hour)
		default:
			err = r.wait(ctx, wake, r.feed.wake, r.opts.Poll)
		}
		if err != nil {
			return err
		}
	}
}

// When fewer events than this have come within the first part of a linger, the rest
// of it is spared: a log so quiet (up to 6,600 events a second at the default) has
// the time for a batch more, and its consumers hear of them sooner. How many others
// have appended is not known; those wait for all of it.
const (
	fewEvents = 20
	firstPart = 0.3
)

// linger lets more events arrive when a batch has gone just now. What is
// acknowledged meanwhile is told.
func (r *Relay) linger(ctx context.Context, wake <-chan struct{}) error {
	if r.opts.Linger == nil {
		return nil
	}
	whole := r.opts.Linger()
	err := r.until(ctx, wake, r.sent.Add(time.Duration(firstPart*float64(whole))))
	if err == nil && (r.look || r.feed.holds(r.next, fewEvents)) {
		err = r.until(ctx, wake, r.sent.Add(whole))
	}
	return err
}

// until takes what is acknowledged until a time, and notes that others append.
func (r *Relay) until(ctx context.Context, wake <-chan struct{}, end time.Time) error {
	left := time.Until(end)
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	for {
		var answered <-chan struct{}
		if len(r.inFlight) > 0 {
			answered = r.inFlight[0].ack.Done()
		}
		select {
		case <-answered:
			if _, err := r.settle(); err != nil {
				return err
			}
		case <-wake:
			r.look = true
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wait returns when a batch is acknowledged, when there may be more to send, or
// after a time. With nothing on its way and nothing to send for that long, it
// stores the hint.
func (r *Relay) wait(ctx context.Context, wake, fed <-chan struct{}, limit time.Duration) error {
	var answered <-chan struct{}
	if len(r.inFlight) > 0 {
		answered = r.inFlight[0].ack.Done()
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-answered:
	case <-wake:
		r.look = true
	case <-fed:
	case <-timer.C:
		r.look = true
		if r.resumed && len(r.inFlight) == 0 {
			if err := r.storeHint(ctx); err != nil {
				r.opts.Logger.Warn("relay hint is not stored", "error", err)
			}
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// finish stores the hint, within a second: it only saves time at the next start.
func (r *Relay) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		r.opts.Logger.Warn("relay ends", "error", err)
	}
}
