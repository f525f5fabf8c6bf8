package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hishamos/hishamos/internal/lease"
)

// leased is a context that ends with its parent, with the time of a lease, or when
// the work is withdrawn. What that takes (a timer and a goroutine) is made when
// somebody asks: most of a step that does nothing was spent on it.
type leased struct {
	context.Context // the parent
	lease           lease.Lease

	once sync.Once
	made atomic.Pointer[ending]
}

type ending struct {
	context.Context
	end context.CancelFunc
}

func (c *leased) make() *ending {
	c.once.Do(func() {
		ctx, withdraw := context.WithCancelCause(c.Context)
		end := func() { withdraw(nil) }
		if !c.lease.Deadline.IsZero() {
			var stop context.CancelFunc
			ctx, stop = context.WithDeadline(ctx, c.lease.Deadline)
			end = func() { stop(); withdraw(nil) }
		}
		select {
		case <-c.lease.Withdrawn: // whoever asks now must not hear of it later
			withdraw(ErrWithdrawn)
		default:
			go func() {
				select {
				case <-c.lease.Withdrawn:
					withdraw(ErrWithdrawn)
				case <-ctx.Done():
				}
			}()
		}
		c.made.Store(&ending{ctx, end})
	})
	return c.made.Load()
}

// Deadline implements context.Context.
func (c *leased) Deadline() (time.Time, bool) { return c.make().Deadline() }

// Done implements context.Context.
func (c *leased) Done() <-chan struct{} { return c.make().Done() }

// Err implements context.Context.
func (c *leased) Err() error { return c.make().Err() }

// Value implements context.Context. The package context finds the cause by it.
func (c *leased) Value(key any) any {
	if m := c.made.Load(); m != nil {
		return m.Value(key)
	}
	return c.Context.Value(key)
}

// end lets go of what was made. Called when nobody asks any more.
func (c *leased) end() {
	if m := c.made.Load(); m != nil {
		m.end()
	}
}
