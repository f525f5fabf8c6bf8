package postgres

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// The states of an item. Only a waiting one can be abandoned by its caller.
const (
	waiting   int32 = iota // nothing was sent for it
	sent                   // it may be carried out at any moment
	abandoned              // the caller's context ended while it waited
)

// item is an append in the queue or in the appender's hands. It is the Pending
// its caller holds.
type item struct {
	ctx    context.Context
	append eventstore.Append
	size   int
	queue  *queue
	place  *list.Element // guarded by queue.mu; nil when not queued
	line   *line

	state atomic.Int32
	// maybe is the receipt of an attempt whose outcome is unknown.
	maybe *eventstore.Receipt

	receipt eventstore.Receipt
	err     error
	done    chan struct{} // closed after receipt and err are set
}

// Wait implements eventstore.Pending.
func (it *item) Wait() (eventstore.Receipt, error) {
	select {
	case <-it.done:
		return it.receipt, it.err
	case <-it.ctx.Done():
	}
	if it.state.CompareAndSwap(waiting, abandoned) {
		it.queue.remove(it)
	}
	select {
	case <-it.done:
		return it.receipt, it.err
	default:
	}
	if it.state.Load() == abandoned {
		return eventstore.Receipt{}, it.ctx.Err()
	}
	return eventstore.Receipt{}, eventstore.ErrUnknown
}

func (it *item) answer(r eventstore.Receipt, err error) {
	it.receipt, it.err = r, err
	close(it.done)
}

// line is the appends of one tenant and urgency, in order.
type line struct {
	key   lineKey
	items list.List
}

type lineKey struct {
	tenant domain.Tenant
	urgent bool
}

// queue holds what waits for the appender: a line per tenant and urgency, served
// one by one in turn.
type queue struct {
	opts Options
	some chan struct{} // receives when the queue may not be empty, or is closed

	mu     sync.Mutex // guards what follows
	lines  map[lineKey]*line
	turn   list.List // of *line with items
	count  [2]int    // items: not urgent, urgent
	bytes  [2]int
	closed bool
}

func newQueue(o Options) *queue {
	return &queue{opts: o, some: make(chan struct{}, 1), lines: make(map[lineKey]*line)}
}

func class(urgent bool) int {
	if urgent {
		return 1
	}
	return 0
}

// put adds an item at the end of its line, or refuses it.
func (q *queue) put(it *item) error {
	key := lineKey{it.append.Tenant, it.append.Urgent}
	c := class(key.urgent)
	limit := q.opts.QueueLimit
	if key.urgent {
		limit = q.opts.UrgentLimit
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lines[key]
	switch {
	case q.closed:
		return eventstore.ErrClosed
	case q.count[c] >= limit, q.count[c] > 0 && q.bytes[c]+it.size > q.opts.QueueBytes:
		return eventstore.ErrBusy
	case l != nil && !key.urgent && l.items.Len() >= q.opts.TenantQueueLimit:
		return eventstore.ErrBusy.With("the log takes no new work of this tenant now")
	}
	if l == nil {
		l = &line{key: key}
		q.lines[key] = l
		q.turn.PushBack(l)
	}
	it.line, it.place = l, l.items.PushBack(it)
	q.count[c]++
	q.bytes[c] += it.size
	q.notify()
	return nil
}

func (q *queue) notify() {
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// drop takes an item off its line. The caller holds mu.
func (q *queue) drop(it *item) {
	it.line.items.Remove(it.place)
	it.place = nil
	c := class(it.line.key.urgent)
	q.count[c]--
	q.bytes[c] -= it.size
}

// remove takes an abandoned item out at once, so that it holds no room.
func (q *queue) remove(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.place != nil {
		q.drop(it) // an empty line goes when its turn comes
	}
}

// take returns up to n items of at most bytes, one of each line in turn, or
// nothing.
func (q *queue) take(n, bytes int) (items []*item, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(items) < n && q.turn.Len() > 0 {
		front := q.turn.Front()
		l := front.Value.(*line)
		first := l.items.Front()
		if first == nil {
			q.turn.Remove(front)
			delete(q.lines, l.key)
			continue
		}
		it := first.Value.(*item)
		if bytes -= it.size; bytes < 0 && len(items) > 0 {
			break
		}
		q.drop(it)
		items = append(items, it)
		if l.items.Len() == 0 {
			q.turn.Remove(front)
			delete(q.lines, l.key)
		} else {
			q.turn.MoveToBack(front)
		}
	}
	return items, q.closed
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count[0] + q.count[1]
}

// close refuses what comes later.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.notify()
}
