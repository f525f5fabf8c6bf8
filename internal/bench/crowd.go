package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/domain"
)

// Crowd is tenants that start runs and count what becomes of that. Tenant 0 is
// the greedy one, all others are modest.
type Crowd struct {
	start      func(context.Context, domain.Tenant) error
	tenants    []domain.Tenant
	done, shed []atomic.Int64 // by tenant

	mu    sync.Mutex
	wrong error // the first answer that no overload explains
}

// NewCrowd returns a greedy tenant and some modest ones. Start starts one run of a
// tenant, and returns what the server answered.
func NewCrowd(modest int, start func(context.Context, domain.Tenant) error) *Crowd {
	c := &Crowd{start: start, done: make([]atomic.Int64, 1+modest), shed: make([]atomic.Int64, 1+modest)}
	for range cap(c.done) {
		c.tenants = append(c.tenants, domain.Tenant("t_"+uuid.Must(uuid.NewV7()).String()))
	}
	return c
}

// Tally is a number for each tenant.
type Tally []int64

// Greedy is the number of the greedy tenant.
func (t Tally) Greedy() int64 { return t[0] }

// Others is the sum of the modest ones.
func (t Tally) Others() int64 {
	sum := int64(0)
	for _, n := range t[1:] {
		sum += n
	}
	return sum
}

// Less is what has been added since an earlier tally.
func (t Tally) Less(earlier Tally) Tally {
	out := make(Tally, len(t))
	for i := range t {
		out[i] = t[i] - earlier[i]
	}
	return out
}

// Done is how many runs were started.
func (c *Crowd) Done() Tally { return read(c.done) }

// Shed is how many starts were refused with 429 or 503.
func (c *Crowd) Shed() Tally { return read(c.shed) }

func read(counts []atomic.Int64) Tally {
	t := make(Tally, len(counts))
	for i := range counts {
		t[i] = counts[i].Load()
	}
	return t
}

// Wrong is the first answer that no overload explains, if there was one.
func (c *Crowd) Wrong() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong
}

// sendPatience is how long one start may take, whatever else is sent.
const sendPatience = 20 * time.Second

// patient returns a context for starts that go on for a while, and ends those that
// are under way for too long after that. It is one for all of them: what a flood
// costs itself is missing to the server.
func patient(sending context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(sending))
	stop := context.AfterFunc(sending, func() { time.AfterFunc(sendPatience, cancel) })
	return ctx, func() { stop(); cancel() }
}

// Send has a tenant start one run.
func (c *Crowd) Send(ctx context.Context, i int) {
	began := time.Now()
	err := c.start(ctx, c.tenants[i])
	if took := time.Since(began); took > sendPatience {
		c.note(errors.Join(fmt.Errorf("a start took %s, and may take %s", took.Round(time.Second), sendPatience), err))
		return
	}
	switch kind := domain.KindOf(err); {
	case err == nil:
		c.done[i].Add(1)
	case kind == domain.Exhausted || kind == domain.Unavailable:
		c.shed[i].Add(1)
	default:
		c.note(fmt.Errorf("neither 429 nor 503: %w", err))
	}
}

// note keeps the first answer that no overload explains.
func (c *Crowd) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrong == nil {
		c.wrong = err
	}
}

// All has each tenant start one run, one after the other.
func (c *Crowd) All(ctx context.Context) {
	for i := range c.tenants {
		one, cancel := context.WithTimeout(ctx, sendPatience)
		c.Send(one, i)
		cancel()
	}
}

// Closed has callers of every tenant send one after another until the context
// ends.
func (c *Crowd) Closed(ctx context.Context, callers int) {
	sending, cancel := patient(ctx)
	defer cancel()
	var group sync.WaitGroup
	for i := range c.tenants {
		for range callers {
			group.Go(func() {
				for ctx.Err() == nil {
					c.Send(sending, i)
				}
			})
		}
	}
	group.Wait()
}

// pacedCallers is how many runs a modest tenant starts at once at most.
const pacedCallers = 8

// Paced has the modest tenants send at a rate each, in runs a second, the first at
// once, and later when one takes longer than that.
func (c *Crowd) Paced(ctx context.Context, each float64) {
	between := time.Duration(float64(time.Second) / each)
	sending, cancel := patient(ctx)
	defer cancel()
	var group sync.WaitGroup
	for i := 1; i < len(c.tenants); i++ {
		for k := range pacedCallers {
			group.Go(func() {
				next := time.NewTimer(time.Duration(k) * between)
				defer next.Stop()
				for {
					select {
					case <-next.C:
						next.Reset(pacedCallers * between)
						c.Send(sending, i)
					case <-ctx.Done():
						return
					}
				}
			})
		}
	}
	group.Wait()
}

// Flood has the greedy tenant send at a rate, in runs a second, whatever becomes
// of them.
func (c *Crowd) Flood(ctx context.Context, rate float64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	sending, cancel := patient(ctx)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	began, sent := time.Now(), 0.0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for due := time.Since(began).Seconds() * rate; sent < due; sent++ {
			group.Go(func() { c.Send(sending, 0) })
		}
	}
}

// For sends for a while and waits for what is still asked. What was done within
// that while is returned, with how long it was.
func (c *Crowd) For(parent context.Context, d time.Duration, send func(context.Context)) (Tally, time.Duration) {
	ctx, cancel := context.WithTimeout(parent, d)
	defer cancel()
	before, began := c.Done(), time.Now()
	ended := make(chan struct{})
	go func() { defer close(ended); send(ctx) }()
	<-ctx.Done()
	done, took := c.Done().Less(before), time.Since(began)
	<-ended
	return done, took
}
