package postgres

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/failpoint"
)

// appender takes batches from the queue and carries them out, one transaction at
// a time, on a connection of its own.
//
// While it is the only one that appends, it knows the head and the versions, and
// one statement carries out a batch (fast.go). When another process has
// appended, or a primary key refuses the statement, it takes the lock and asks
// (slow.go). Both decide by batch.Batch.
type appender struct {
	store *Store
	opts  Options
	log   *slog.Logger
	ctx   context.Context // ends when Close gives up
	stop  context.CancelFunc
	ended chan struct{}
	early chan struct{} // receives when the connection is wanted before the first append

	conn      *pgx.Conn
	cut       atomic.Pointer[pgconn.PgConn] // the same, for interrupt
	statement *statement
	head      eventstore.Head // as this process last saw it
	seen      eventstore.Head // the furthest it ever saw
	versions  *versions       // true as long as head is
	alone     bool            // nobody else appended since the last batch
	makers    partitions
	began     time.Time // of the attempt at the batch in hand

	appends, batches, fastBatches, settled atomic.Uint64
}

// attemptTimeout is how long the server may take over one batch before the
// connection is given up. It is longer than statement_timeout, which answers
// definitely.
const attemptTimeout = 15 * time.Second

// ErrUnreachable says that Postgres did not answer, and that nothing was written.
var ErrUnreachable = &domain.Error{
	Kind: domain.Unavailable, Code: "append.unreachable",
	Message: "the event store's database does not answer", Fix: "try again later",
}

func newAppender(s *Store, background context.Context) *appender {
	ctx, stop := context.WithCancel(background)
	return &appender{
		store: s, opts: s.opts, log: s.opts.Logger, ctx: ctx, stop: stop,
		ended: make(chan struct{}), early: make(chan struct{}, 1),
		versions: newVersions(s.opts.StreamCache),
		makers:   partitions{store: s, size: s.opts.PartitionSize},
	}
}

// gather lets callers that were just answered come back as long as any does, so
// that they share the next batch instead of every second one. It costs a caller
// who is alone a microsecond.
func (a *appender) gather() {
	for before := -1; ; {
		runtime.Gosched()
		now := a.store.queue.waiting()
		if now <= before || now >= a.opts.MaxBatch {
			return
		}
		before = now
	}
}

func (a *appender) run() {
	defer close(a.ended)
	defer a.disconnect()
	defer a.makers.wait()
	for {
		a.gather()
		items, closed := a.store.queue.take(a.opts.MaxBatch, a.opts.MaxBatchBytes)
		switch {
		case len(items) > 0:
			a.carryOut(items)
		case closed:
			return
		default:
			select {
			case <-a.store.queue.some:
			case <-a.early:
				if err := a.connect(); err != nil {
					a.log.Debug("connect before there is anything to append", "error", err)
				}
			}
		}
	}
}

// interrupt makes the appender answer what it holds and what waits without
// trying further.
func (a *appender) interrupt() {
	a.stop()
	if c := a.cut.Load(); c != nil {
		if err := c.Conn().SetDeadline(time.Now()); err != nil {
			a.log.Warn("interrupt the append connection", "error", err)
		}
	}
}

// transient is a failure after which nothing was written and the batch may be
// tried again.
type transient struct{ error }

func (t transient) Unwrap() error { return t.error }

// refusal is the server's definite no to a statement.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// broken says that the connection ended while a commit was under way.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// carryOut answers every item: it tries until they are carried out or definitely
// not, or until RetryFor is over.
func (a *appender) carryOut(items []*item) {
	end := time.Now().Add(a.opts.RetryFor)
	pause := 10 * time.Millisecond
	for {
		if items = claimed(items); len(items) == 0 {
			return
		}
		failpoint.Hit("append.before")
		a.began = time.Now()
		err := a.attempt(items)
		if err == nil {
			return
		}
		var no refusal
		if errors.As(err, &no) {
			a.refuse(items, no)
			return
		}
		a.log.Warn("append batch", "error", err, "appends", len(items))
		if time.Now().Add(pause).After(end) || !a.rest(pause) {
			a.giveUp(items, err)
			return
		}
		pause = min(2*pause, 500*time.Millisecond)
	}
}

// claimed marks items as sent, from when on their callers cannot abandon them,
// and leaves out those that were abandoned.
func claimed(items []*item) []*item {
	kept := items[:0]
	for _, it := range items {
		if it.maybe == nil && it.ctx.Err() != nil {
			if it.state.CompareAndSwap(waiting, abandoned) {
				continue
			}
		}
		if it.state.Load() == sent || it.state.CompareAndSwap(waiting, sent) {
			kept = append(kept, it)
		}
	}
	return kept
}

// released gives callers the right to abandon back, where nothing can have been
// written.
func released(items []*item) {
	for _, it := range items {
		if it.maybe == nil {
			it.state.Store(waiting)
		}
	}
}

// rest waits before the next attempt, and reports whether there may be one.
func (a *appender) rest(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.ctx.Done():
		return false
	}
}

// refuse answers a batch that the server does not want. It cannot tell which
// append was the reason, so each is tried alone.
func (a *appender) refuse(items []*item, no refusal) {
	if errors.Is(no, ErrBehind) { // no append at all
		for _, it := range items {
			if it.maybe != nil {
				it.answer(eventstore.Receipt{}, eventstore.ErrUnknown)
				continue
			}
			it.answer(eventstore.Receipt{}, no.error)
		}
		return
	}
	if len(items) == 1 {
		err := no.error
		if items[0].maybe != nil { // an earlier attempt may still arrive: the head did not move
			err = eventstore.ErrUnknown
		}
		items[0].answer(eventstore.Receipt{}, err)
		return
	}
	for _, it := range items {
		a.carryOut([]*item{it})
	}
}

func (a *appender) giveUp(items []*item, err error) {
	reason := error(ErrUnreachable)
	if a.ctx.Err() != nil {
		reason = eventstore.ErrClosed
	}
	a.log.Error("appends given up", "error", err, "appends", len(items))
	if a.opts.Refused != nil {
		for range items {
			a.opts.Refused(codeOf(reason))
		}
	}
	for _, it := range items {
		switch {
		case it.maybe != nil:
			it.answer(eventstore.Receipt{}, eventstore.ErrUnknown)
		case it.state.CompareAndSwap(waiting, sent):
			it.answer(eventstore.Receipt{}, reason)
		}
	}
}

// attempt tries a batch once. A nil error means that every item was answered.
func (a *appender) attempt(items []*item) error {
	if err := a.connect(); err != nil {
		released(items)
		return transient{err}
	}
	if err := a.limit(); err != nil {
		a.disconnect()
		released(items)
		return transient{err}
	}
	answered, err := false, error(nil)
	if a.alone {
		answered, err = a.fast(items)
	}
	if !answered && err == nil {
		a.missed()
		err = a.slow(items)
	}
	if err != nil {
		a.missed()
		released(items)
	}
	return err
}

// sending notes what is about to be committed, so that its announcement is not
// taken for another's.
func (a *appender) sending(b *batch.Batch) {
	if a.opts.Committed != nil {
		a.store.underWay.Store(uint64(b.Head.Position))
	}
}

// missed tells of whatever may have been committed in place of what was under
// way.
func (a *appender) missed() {
	if a.store.underWay.Swap(0) != 0 {
		a.store.signal()
	}
}

// limit sets the time by which the server must have answered. It costs less than
// a context, which pgconn watches by a goroutine per call.
func (a *appender) limit() error {
	if err := a.conn.PgConn().Conn().SetDeadline(time.Now().Add(attemptTimeout)); err != nil {
		return err
	}
	return a.ctx.Err() // after interrupt the deadline stays in the past
}

// outcome is what a batch means for one item, should it commit.
type outcome struct {
	receipt eventstore.Receipt
	err     error
}

// decide adds every item to a batch. It reports false when the batch needs a
// version that is not known.
func decide(b *batch.Batch, items []*item) ([]outcome, bool) {
	out := make([]outcome, len(items))
	for i, it := range items {
		out[i].receipt, out[i].err = b.Add(it.append)
		if out[i].err == batch.ErrNotKnown {
			return nil, false
		}
	}
	return out, true
}

// commit is called when a batch is committed, or when it had nothing to write:
// it keeps what the next batch may rely on, and answers.
func (a *appender) commit(b *batch.Batch, items []*item, out []outcome) {
	failpoint.Hit("append.before_answer")
	b.Committed()
	a.head, a.alone = b.Head, true
	if b.Head.Position > a.seen.Position {
		a.seen = b.Head
	}
	for _, s := range b.Streams {
		a.versions.set(s.ID, s.Version)
	}
	if !b.Empty() {
		a.batches.Add(1)
		a.appends.Add(uint64(len(b.Commands)))
		if a.opts.Batched != nil {
			a.opts.Batched(len(b.Commands), time.Since(a.began))
		}
		a.hand(b)
		a.makers.ahead(int64(b.Head.Position))
	}
	for i, it := range items {
		o := out[i]
		if m := it.maybe; m != nil && o.receipt.Replayed && o.receipt.First == m.First && o.receipt.Recorded.Equal(m.Recorded) {
			o.receipt = *m // it is our own commit whose answer was lost
		}
		it.answer(o.receipt, o.err)
	}
}

// hand tells this process of a commit: by handing it over, or by a hint.
func (a *appender) hand(b *batch.Batch) {
	if a.opts.Committed == nil {
		a.store.signal()
		return
	}
	a.store.handed.Store(uint64(b.Head.Position))
	a.store.underWay.Store(0)
	a.opts.Committed(slices.Concat(b.Records...))
}

// doubt notes for every item that may be committed now with what receipt.
func doubt(items []*item, out []outcome) {
	for i, it := range items {
		if out[i].err == nil && !out[i].receipt.Replayed {
			it.maybe = &out[i].receipt
		}
	}
}
