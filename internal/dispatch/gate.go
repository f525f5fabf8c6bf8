package dispatch

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// Limits bound the new work that is let in. Work that ends what has begun, and
// what the program itself does, passes beside them.
type Limits struct {
	// Working is how many commands are carried out at the same time; 0: 128. More
	// make batches larger than they need be, and everybody wait for them.
	Working int
	// TenantWorking is how many of them may be one tenant's, so that another's
	// first command finds a place; 0: half of Working.
	TenantWorking int
	// Waiting is how many commands may wait for that; 0: 4096.
	Waiting int
	// TenantWaiting is how many of them may be one tenant's; 0: half of Waiting.
	TenantWaiting int
	// TenantRate and StreamRate are commands a second, for one tenant and for one
	// stream; 0: no limit. A second's worth may come at once.
	TenantRate, StreamRate int
}

func (l Limits) orDefault() Limits {
	if l.Working <= 0 {
		l.Working = 128
	}
	if l.TenantWorking <= 0 {
		l.TenantWorking = (l.Working + 1) / 2
	}
	if l.Waiting <= 0 {
		l.Waiting = 4096
	}
	if l.TenantWaiting <= 0 {
		l.TenantWaiting = max(1, l.Waiting/2)
	}
	return l
}

// The ways in which new work of one tenant or stream is refused. When it is
// everybody's, the error is eventstore.ErrBusy.
var (
	// ErrTenantWaiting says that the tenant has its share of what may wait.
	ErrTenantWaiting = &domain.Error{
		Kind: domain.Exhausted, Code: "tenant.queue_full",
		Message: "too many commands of this tenant wait already", Fix: "try again after the time given in Retry-After, with fewer at once",
	}
	// ErrTenantRate says that the tenant sends more than it may.
	ErrTenantRate = &domain.Error{
		Kind: domain.Exhausted, Code: "tenant.rate",
		Message: "this tenant sends more commands a second than it may", Fix: "try again after the time given in Retry-After",
	}
	// ErrStreamRate says that one stream is changed more often than it may be.
	ErrStreamRate = &domain.Error{
		Kind: domain.Exhausted, Code: "stream.rate",
		Message: "this is changed more often a second than it may be", Fix: "try again after the time given in Retry-After",
	}
)

// bucket is how much of a rate is left. The zero bucket is full.
type bucket struct {
	left float64
	at   time.Time
}

// take uses one of rate a second, and reports whether there was one left.
func (b *bucket) take(rate int, now time.Time) bool {
	if b.at.IsZero() {
		b.left = float64(rate)
	} else {
		b.left = min(float64(rate), b.left+max(0, now.Sub(b.at).Seconds())*float64(rate))
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// full says that a bucket is as good as none.
func (b *bucket) full(now time.Time) bool { return now.Sub(b.at) >= time.Second }

// gate lets new work in: at most so much at a time, tenants in turn. Before it a
// command has cost nothing: no query, no place in the store's queue.
type gate struct {
	limits Limits

	mu      sync.Mutex // guards what follows
	working int
	holds   map[domain.Tenant]int // of working, by tenant
	waiting int
	lines   map[domain.Tenant]*list.List // of *entrant
	turn    list.List                    // of domain.Tenant with a line
	rates   map[domain.Tenant]*bucket
	sweepAt int // the number of rates at which those that are full are dropped
}

// entrant is a command that waits.
type entrant struct{ in chan struct{} }

const leastSweep = 1024

func newGate(l Limits) *gate {
	return &gate{
		limits: l.orDefault(), holds: make(map[domain.Tenant]int), lines: make(map[domain.Tenant]*list.List), rates: make(map[domain.Tenant]*bucket), sweepAt: leastSweep,
	}
}

// enter waits for the tenant's turn. Leave must follow if it returns no error.
func (g *gate) enter(ctx context.Context, t domain.Tenant, now time.Time) error {
	g.mu.Lock()
	if err := g.admits(t, now); err != nil {
		g.mu.Unlock()
		return err
	}
	if g.free(t) {
		g.take(t)
		g.mu.Unlock()
		return nil
	}
	e := &entrant{in: make(chan struct{})}
	line := g.lines[t]
	if line == nil {
		line = list.New()
		g.lines[t] = line
		g.turn.PushBack(t)
	}
	place := line.PushBack(e)
	g.waiting++
	g.mu.Unlock()
	select {
	case <-e.in:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-e.in: // let in meanwhile: the place goes to the next
		g.release(t)
	default:
		line.Remove(place) // an empty line goes when its turn comes
		g.waiting--
	}
	return context.Cause(ctx)
}

// admits checks the limits. The caller holds mu.
func (g *gate) admits(t domain.Tenant, now time.Time) error {
	if g.limits.TenantRate > 0 && !g.rate(t, now) {
		return ErrTenantRate
	}
	if g.free(t) {
		return nil
	}
	line := g.lines[t]
	switch {
	case line != nil && line.Len() >= g.limits.TenantWaiting:
		return ErrTenantWaiting
	case g.waiting >= g.limits.Waiting:
		return eventstore.ErrBusy
	}
	return nil
}

func (g *gate) rate(t domain.Tenant, now time.Time) bool {
	b := g.rates[t]
	if b == nil {
		if len(g.rates) >= g.sweepAt {
			for other, b := range g.rates {
				if b.full(now) {
					delete(g.rates, other)
				}
			}
			g.sweepAt = max(leastSweep, 2*len(g.rates))
		}
		b = &bucket{}
		g.rates[t] = b
	}
	return b.take(g.limits.TenantRate, now)
}

// free says that a command of a tenant can be let in at once. The caller holds mu.
func (g *gate) free(t domain.Tenant) bool {
	return g.working < g.limits.Working && g.holds[t] < g.limits.TenantWorking
}

// take gives a place to a tenant. The caller holds mu.
func (g *gate) take(t domain.Tenant) {
	g.working++
	g.holds[t]++
}

// leave gives a tenant's place back, which lets the next one in.
func (g *gate) leave(t domain.Tenant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(t)
}

// release is leave for a caller that holds mu.
func (g *gate) release(t domain.Tenant) {
	g.working--
	if g.holds[t]--; g.holds[t] == 0 {
		delete(g.holds, t)
	}
	g.next()
}

// next lets in the tenant whose turn it is, of those that hold less than they may.
// The caller holds mu.
func (g *gate) next() {
	for range g.turn.Len() {
		front := g.turn.Front()
		t := front.Value.(domain.Tenant)
		line := g.lines[t]
		first := line.Front()
		if first == nil {
			g.turn.Remove(front)
			delete(g.lines, t)
			continue
		}
		g.turn.MoveToBack(front)
		if !g.free(t) {
			continue
		}
		line.Remove(first)
		g.waiting--
		g.take(t)
		if line.Len() == 0 {
			g.turn.Remove(front)
			delete(g.lines, t)
		}
		close(first.Value.(*entrant).in)
		return
	}
}
