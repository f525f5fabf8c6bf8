package dispatch

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// queue is one stream: its state as of the last decided event, which may be
// ahead of what has committed. Whoever holds the lock decides next.
type queue struct {
	stream domain.StreamID
	turn   chan struct{} // holds one token; taking it is the lock

	// Guarded by turn.
	image
	loaded  bool
	chain   *eventstore.Chain // of the appends decided since the state was loaded
	links   int64             // how many they are
	trusted uint64            // calls of Dispatcher.Doubt before it was last compared with the store

	// Guarded by mu: what waiters need without taking a turn.
	mu        sync.Mutex
	inflight  int
	committed domain.Sequence
	era       int           // raised when state turned out wrong and must be loaded again
	changed   chan struct{} // closed and replaced when anything above changes
	rate      bucket

	refs    int           // guarded by cache.mu
	element *list.Element // guarded by cache.mu
}

// image is what the events of a stream have led to.
type image struct {
	state   any
	version domain.Sequence // of state
	content string          // the key of the stream's content; empty: it has none yet
	closed  bool            // the stream waits for nothing
}

// ticket is one submitted append.
type ticket struct {
	era     int
	version domain.Sequence
}

func newQueue(stream domain.StreamID) *queue {
	q := &queue{stream: stream, turn: make(chan struct{}, 1), changed: make(chan struct{})}
	q.turn <- struct{}{}
	return q
}

// mayChange uses one of the changes a second that a stream may have; 0: any
// number.
func (q *queue) mayChange(rate int, now time.Time) bool {
	if rate <= 0 {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rate.take(rate, now)
}

func (q *queue) lock(ctx context.Context) error {
	select {
	case <-q.turn:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (q *queue) unlock() { q.turn <- struct{}{} }

// load brings the state up to the stream, if it is not. The caller has the turn.
func (q *queue) load(ctx context.Context, d *Dispatcher, a Aggregate) error {
	q.mu.Lock()
	stale := !q.loaded
	q.mu.Unlock()
	if !stale {
		return nil
	}
	if !q.settle(ctx) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	q.mu.Lock()
	era := q.era
	q.mu.Unlock()
	q.trusted = d.doubts.Load()
	stored, err := d.fold(ctx, a, q.stream)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.image, q.committed = stored, stored.version
	q.chain, q.links = new(eventstore.Chain), 0
	q.loaded = q.era == era // else it was told to forget meanwhile
	return nil
}

// begin takes a stream that nobody has used here for one that does not exist.
func (q *queue) begin(a Aggregate, doubts uint64) {
	select {
	case <-q.turn:
		defer q.unlock()
	default: // somebody has
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.loaded && q.era == 0 && q.inflight == 0 {
		q.image, q.committed, q.loaded = image{state: a.initial()}, 0, true
		q.chain, q.links = new(eventstore.Chain), 0
		q.trusted = doubts
	}
}

// foldPage is how many events of a stream are read at once.
const foldPage = 1000

func (d *Dispatcher) fold(ctx context.Context, a Aggregate, stream domain.StreamID) (image, error) {
	i := image{state: a.initial()}
	for {
		page, err := d.store.ReadStream(ctx, stream, i.version, foldPage)
		if err != nil {
			return image{}, fmt.Errorf("load %s: %w", stream, err)
		}
		for _, r := range page {
			e, err := events.Decode(r.Type, r.Version, r.Data)
			if err != nil {
				return image{}, fmt.Errorf("load %s: %w", r.ID(), err)
			}
			opened, key, err := d.opts.Sealer.Open(ctx, r.Envelope, e)
			if err != nil {
				return image{}, fmt.Errorf("load %s: %w", r.ID(), err)
			}
			i.state, i.version, i.content = a.evolve(i.state, opened), r.Sequence, cmp.Or(key, i.content)
			t, _ := events.Lookup(r.Type)
			i.closed = i.closed || t.Closes
		}
		if len(page) < foldPage {
			return i, nil
		}
	}
}

// advance folds the events of a decision into the state before they have committed. The
// caller has the turn.
func (q *queue) advance(a Aggregate, written []events.Written) ticket {
	for _, w := range written {
		q.state = a.evolve(q.state, w.Event)
		q.closed = q.closed || w.Type.Closes
	}
	q.version += domain.Sequence(len(written))
	q.links++
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inflight++
	return ticket{era: q.era, version: q.version}
}

// done records an append's outcome. If it did not commit as decided, the state
// is wrong from it on, and is loaded again before the next decision.
func (q *queue) done(t ticket, asDecided bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inflight--
	switch {
	case asDecided && t.era == q.era:
		q.committed = max(q.committed, t.version)
	case !asDecided && t.era == q.era:
		q.invalidate()
	}
	q.broadcast()
}

// invalidate makes the next turn load the stream. The caller holds mu.
func (q *queue) invalidate() {
	q.era++
	q.loaded = false
}

func (q *queue) broadcast() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// settle waits until nothing submitted is undecided, and reports whether the
// state still holds. The caller has the turn.
func (q *queue) settle(ctx context.Context) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	era := q.era
	for q.inflight > 0 {
		if !q.wait(ctx) {
			return false
		}
	}
	return q.era == era && q.loaded
}

// current reports whether the state is what the store holds; if not, it is
// loaded again before the next decision. The caller has the turn.
func (q *queue) current(ctx context.Context, store eventstore.Reader) (bool, error) {
	if !q.settle(ctx) { // it was made of events that did not commit
		return false, nil
	}
	newer, err := store.ReadStream(ctx, q.stream, q.version, 1)
	if err != nil {
		return false, fmt.Errorf("look for news of %s: %w", q.stream, err)
	}
	if len(newer) > 0 { // another process went on
		q.mu.Lock()
		q.invalidate()
		q.mu.Unlock()
	}
	return len(newer) == 0, nil
}

// wait releases mu until something changes.
func (q *queue) wait(ctx context.Context) bool {
	changed := q.changed
	q.mu.Unlock()
	defer q.mu.Lock()
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}

// cache keeps the queues of the streams used last: a whole limit of those that go
// on, and a few of those that are closed. Those are asked for by what reacts to
// their end, and then hardly ever.
type cache struct {
	mu     sync.Mutex
	limit  int
	byID   map[domain.StreamID]*queue
	idle   *list.List // queues nobody holds, the most recently used in front
	closed *list.List // those of them whose streams are closed
}

// closedShare of the limit is how many closed streams are kept.
const closedShare = 16

func newCache(limit int) *cache {
	return &cache{limit: limit, byID: make(map[domain.StreamID]*queue), idle: list.New(), closed: list.New()}
}

func (c *cache) acquire(stream domain.StreamID) *queue {
	c.mu.Lock()
	defer c.mu.Unlock()
	q, ok := c.byID[stream]
	if !ok {
		q = newQueue(stream)
		c.byID[stream] = q
	}
	c.take(q)
	q.refs++
	return q
}

// take takes a queue that somebody holds from now on, or nobody shall, out of
// those that nobody does. The caller holds mu.
func (c *cache) take(q *queue) {
	if q.element != nil {
		c.idle.Remove(q.element) // does nothing in the list that it is not in
		c.closed.Remove(q.element)
		q.element = nil
	}
}

func (c *cache) release(q *queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.refs--; q.refs > 0 {
		return
	}
	q.mu.Lock()
	loaded := q.loaded
	q.mu.Unlock()
	if !loaded { // of no use, and it may hold what was erased
		delete(c.byID, q.stream)
		return
	}
	kept, limit := c.idle, c.limit
	if q.closed { // nobody has the turn
		kept, limit = c.closed, max(1, c.limit/closedShare)
	}
	q.element = kept.PushFront(q)
	for kept.Len() > limit {
		oldest := kept.Remove(kept.Back()).(*queue)
		delete(c.byID, oldest.stream)
	}
}
