package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/lease"
)

func TestALeaseEndsForWhoeverAsks(t *testing.T) {
	t.Parallel()
	type key struct{}
	for name, ask := range map[string]func(context.Context) context.Context{
		"the context itself": func(ctx context.Context) context.Context { return ctx },
		"one made of it":     func(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, 1) },
		"one that ends, too": func(ctx context.Context) context.Context {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			t.Cleanup(cancel)
			return ctx
		},
	} {
		for _, c := range []struct {
			why   string
			end   func(parent context.CancelCauseFunc, withdraw func())
			cause error
		}{
			{"withdrawn", func(_ context.CancelCauseFunc, withdraw func()) { withdraw() }, ErrWithdrawn},
			{"out of time", func(context.CancelCauseFunc, func()) {}, context.DeadlineExceeded},
			{"shutting down", func(parent context.CancelCauseFunc, _ func()) { parent(errors.ErrUnsupported) }, errors.ErrUnsupported},
		} {
			t.Run(name+" is "+c.why, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, stop := context.WithCancelCause(context.WithValue(t.Context(), key{}, 2))
					defer stop(nil)
					withdrawn := make(chan struct{})
					l := &leased{Context: parent, lease: lease.Lease{Withdrawn: withdrawn, Work: domain.Work{Deadline: time.Now().Add(time.Minute)}}}
					defer l.end()
					ctx := ask(l)
					if at, ok := ctx.Deadline(); !ok || !at.Equal(time.Now().Add(time.Minute)) || ctx.Value(key{}) == nil || ctx.Err() != nil {
						t.Fatalf("ends %v, holds %v, has ended: %v", at, ctx.Value(key{}), ctx.Err())
					}
					c.end(stop, func() { close(withdrawn) })
					<-ctx.Done()
					if got := context.Cause(ctx); !errors.Is(got, c.cause) {
						t.Errorf("ended because %v, expected %v", got, c.cause)
					}
				})
			})
		}
	}
}

func TestALeaseThatWasWithdrawnUnaskedIsSaidToBe(t *testing.T) {
	t.Parallel()
	withdrawn := make(chan struct{})
	l := &leased{Context: t.Context(), lease: lease.Lease{Withdrawn: withdrawn}}
	defer l.end()
	close(withdrawn)
	if err := l.Err(); err == nil || !errors.Is(context.Cause(l), ErrWithdrawn) {
		t.Errorf("ended: %v, because %v", err, context.Cause(l))
	}
}
