// Package lease decides who should work on what: a board of due work, from
// which workers take leases.
//
// A lease is a hint, not a right: the stream decides whose result counts. So
// the board lives in the memory of the process that owns the streams, and a new
// owner fills its own from the events. It must not know what work means. It
// imports domain only.
//
// Start reading at Board.
package lease

import (
	"container/heap"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Lease is work given to a holder until Expires, unless it is extended.
type Lease struct {
	domain.Work
	Holder  string
	Expires time.Time // zero: until the holder is dropped
	// Withdrawn is closed when the work no longer counts: stop.
	Withdrawn <-chan struct{}
}

// Lapsed is a lease that ended without a result.
type Lapsed struct {
	Stream  domain.StreamID
	Path    domain.StepPath
	Attempt int
	Holder  string
}

type place struct {
	stream domain.StreamID
	path   domain.StepPath
}

type item struct {
	work      domain.Work
	seq       uint64 // order of arrival
	index     int    // in its tenant's heap; -1 while leased
	holder    string
	expires   time.Time
	withdrawn chan struct{}
}

// Board holds due work of the streams this process owns. It is safe for
// concurrent use.
type Board struct {
	mu      sync.Mutex
	clock   domain.Clock
	seq     uint64
	byPlace map[place]*item
	streams map[domain.StreamID]map[domain.StepPath]*item
	tenants map[domain.Tenant]*offers
	order   []domain.Tenant // round robin among tenants with the same best priority
	next    int
	offered chan struct{} // closed and replaced when work is offered
}

// NewBoard returns an empty board.
func NewBoard(clock domain.Clock) *Board {
	return &Board{
		clock: clock, byPlace: make(map[place]*item), streams: make(map[domain.StreamID]map[domain.StepPath]*item),
		tenants: make(map[domain.Tenant]*offers), offered: make(chan struct{}),
	}
}

// Reconcile makes the board agree with a stream's open work: what is missing is
// offered, what is no longer open is withdrawn from whoever holds it.
func (b *Board) Reconcile(stream domain.StreamID, open []domain.Work) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := make(map[domain.StepPath]int, len(open))
	for _, w := range open {
		keep[w.Path] = w.Attempt
	}
	for path, it := range b.streams[stream] {
		if attempt, ok := keep[path]; !ok || attempt > it.work.Attempt {
			b.remove(it)
		}
	}
	offered := false
	for _, w := range open {
		if _, ok := b.byPlace[place{w.Stream, w.Path}]; ok {
			continue
		}
		if w.Begun && w.Effect == domain.AtMostOnce { // whoever began it is not known here
			continue
		}
		b.seq++
		b.add(&item{work: w, seq: b.seq, withdrawn: make(chan struct{})})
		offered = true
	}
	if offered {
		b.announce()
	}
}

// Forget removes all work of the streams that match, as when a partition is
// lost. Their holders are told to stop.
func (b *Board) Forget(match func(domain.StreamID) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.byPlace {
		if match(it.work.Stream) {
			b.remove(it)
		}
	}
}

// Claim gives the holder up to max pieces of work: greater priority first, then
// tenants in turn, then the oldest. A zero term lasts until the holder is
// dropped.
func (b *Board) Claim(holder string, max int, term time.Duration) []Lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Lease
	for len(out) < max {
		it := b.best()
		if it == nil {
			break
		}
		it.holder = holder
		if term > 0 {
			it.expires = b.clock.Now().Add(term)
		}
		out = append(out, Lease{Work: it.work, Holder: holder, Expires: it.expires, Withdrawn: it.withdrawn})
	}
	return out
}

// Offered returns a channel that is closed when work is offered after the call.
func (b *Board) Offered() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.offered
}

// Extend prolongs every lease of a holder.
func (b *Board) Extend(holder string, term time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	until := b.clock.Now().Add(term)
	for _, it := range b.byPlace {
		if it.holder == holder && !it.expires.IsZero() {
			it.expires = until
		}
	}
}

// Drop ends every lease of a holder that is gone.
func (b *Board) Drop(holder string) []Lapsed {
	return b.lapse(func(it *item) bool { return it.holder == holder })
}

// Expire ends every lease whose term has passed.
func (b *Board) Expire() []Lapsed {
	now := b.clock.Now()
	return b.lapse(func(it *item) bool { return it.holder != "" && !it.expires.IsZero() && now.After(it.expires) })
}

// Counts returns how much work is offered and how much is leased.
func (b *Board) Counts() (offered, leased int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.byPlace {
		if it.index >= 0 {
			offered++
		} else {
			leased++
		}
	}
	return offered, leased
}

// lapse takes the matching leases off the board. The work comes back with a
// higher attempt once the lapse is an event.
func (b *Board) lapse(match func(*item) bool) []Lapsed {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Lapsed
	for _, it := range b.byPlace {
		if it.index < 0 && match(it) {
			out = append(out, Lapsed{it.work.Stream, it.work.Path, it.work.Attempt, it.holder})
			it.holder, it.expires = "", time.Time{} // stays, unoffered, until the attempt is raised
		}
	}
	return out
}

func (b *Board) add(it *item) {
	b.byPlace[place{it.work.Stream, it.work.Path}] = it
	paths := b.streams[it.work.Stream]
	if paths == nil {
		paths = make(map[domain.StepPath]*item, 1)
		b.streams[it.work.Stream] = paths
	}
	paths[it.work.Path] = it
	t := it.work.Stream.Tenant()
	o := b.tenants[t]
	if o == nil {
		o = &offers{}
		b.tenants[t] = o
		b.order = append(b.order, t)
	}
	heap.Push(o, it)
}

func (b *Board) remove(it *item) {
	delete(b.byPlace, place{it.work.Stream, it.work.Path})
	paths := b.streams[it.work.Stream]
	delete(paths, it.work.Path)
	if len(paths) == 0 {
		delete(b.streams, it.work.Stream)
	}
	if it.index >= 0 {
		heap.Remove(b.tenants[it.work.Stream.Tenant()], it.index)
	}
	close(it.withdrawn)
}

// best takes the offer of the greatest priority; among tenants with equal
// priority, of the next in turn.
func (b *Board) best() *item {
	chosen, turn := domain.Tenant(""), -1
	for i := range b.order {
		k := (b.next + i) % len(b.order)
		o := b.tenants[b.order[k]]
		if o.Len() == 0 {
			continue
		}
		if turn < 0 || (*o)[0].work.Priority > (*b.tenants[chosen])[0].work.Priority {
			chosen, turn = b.order[k], k
		}
	}
	if turn < 0 {
		return nil
	}
	b.next = turn + 1
	return heap.Pop(b.tenants[chosen]).(*item)
}

func (b *Board) announce() {
	close(b.offered)
	b.offered = make(chan struct{})
}

// offers is a heap of one tenant's offered work.
type offers []*item

func (o offers) Len() int { return len(o) }
func (o offers) Less(i, j int) bool {
	if o[i].work.Priority != o[j].work.Priority {
		return o[i].work.Priority > o[j].work.Priority
	}
	return o[i].seq < o[j].seq
}
func (o offers) Swap(i, j int) { o[i], o[j] = o[j], o[i]; o[i].index, o[j].index = i, j }
func (o *offers) Push(x any)   { it := x.(*item); it.index = len(*o); *o = append(*o, it) }
func (o *offers) Pop() any {
	old := *o
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*o = old[:len(old)-1]
	it.index = -1
	return it
}
