// Package postgres is the event store on Postgres: one appender per process puts
// concurrent appends into shared transactions, in one gapless and hash-chained
// order across all processes.
//
// It must not know what events mean (Import asks the catalogue which of them
// close a stream), and holds all SQL on the tables of migration 0001. It imports
// the contract, batch, pg and pgx.
//
// Start at appender.go; statement.go is the one statement that writes.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/pg"
)

// Options of a store. Every zero field means its default.
type Options struct {
	// MaxBatch is how many appends share a transaction. Default 512.
	MaxBatch int
	// MaxBatchBytes bounds the data of a transaction. Default 4 MiB; one append
	// always fits.
	MaxBatchBytes int
	// QueueLimit is how many appends may wait. Default 8192.
	QueueLimit int
	// TenantQueueLimit is how many of them may be one tenant's. Default half of
	// QueueLimit.
	TenantQueueLimit int
	// QueueBytes bounds the data that waits. Default 64 MiB.
	QueueBytes int
	// UrgentLimit and as many QueueBytes again are the reserve of urgent appends.
	// Default: QueueLimit.
	UrgentLimit int
	// RetryFor is how long the appender tries to carry out or settle a batch while
	// Postgres does not answer. Default 10 s.
	RetryFor time.Duration
	// StreamCache is how many stream versions are kept in memory. Default 100,000.
	StreamCache int
	// PartitionSize is how many positions a new partition of the events holds.
	// Default 5,000,000.
	PartitionSize int64
	// Limits narrow what one append may carry.
	Limits batch.Limits
	// Admit, if set, may refuse new work that is not urgent; its error is the
	// caller's.
	Admit func() error
	// Connected, if set, is asked before anything is appended on a fresh
	// connection. A *domain.Error refuses appends, any other error is tried again.
	Connected func(context.Context) error
	// Committed, if set, is handed what this process commits, batch by batch and in
	// order, before its callers are answered; Wake then tells of others' commits
	// alone. It must not block. What it misses shows as a gap, and is in the store.
	Committed func([]events.Record)
	// Batched, if set, is told of each commit: how many appends shared it, and the
	// time it took. Refused is told the code of each append that was not carried
	// out, conflicts apart. Neither may block.
	Batched func(appends int, took time.Duration)
	Refused func(code string)
	// Clock gives `recorded`. Default: the real one.
	Clock domain.Clock
	// Logger gets faults and recoveries. Default: slog.Default.
	Logger *slog.Logger
}

func (o Options) orDefault() Options {
	ints := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	ints(&o.MaxBatch, 512)
	ints(&o.MaxBatchBytes, 4<<20)
	ints(&o.QueueLimit, 8192)
	ints(&o.TenantQueueLimit, max(1, o.QueueLimit/2))
	ints(&o.QueueBytes, 64<<20)
	ints(&o.UrgentLimit, o.QueueLimit)
	ints(&o.StreamCache, 100_000)
	if o.RetryFor <= 0 {
		o.RetryFor = 10 * time.Second
	}
	if o.PartitionSize <= 0 {
		o.PartitionSize = 5_000_000
	}
	if o.Clock == nil {
		o.Clock = realClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// Store implements eventstore.Store.
type Store struct {
	opts     Options
	pool     pg.Writer
	keyed    pg.Keyed // the pool, for what is read by its keys
	queue    *queue
	appender *appender
	wake     chan struct{}
	handed   atomic.Uint64 // the position up to which Committed was handed commits
	underWay atomic.Uint64 // the last position of the batch in flight, if Committed takes it

	stop    context.CancelFunc // ends what runs in the background
	running sync.WaitGroup
	once    sync.Once
}

// New starts a store on a migrated database. The pool serves the reads; appends
// and notifications have connections of their own with the same address. Close
// it.
func New(ctx context.Context, pool pg.Writer, o Options) (*Store, error) {
	o = o.orDefault()
	s := &Store{opts: o, pool: pool, keyed: pg.Keyed{DB: pool}, wake: make(chan struct{}, 1)}
	if _, err := s.Head(ctx); err != nil {
		return nil, fmt.Errorf("open event store: %w", err)
	}
	s.queue = newQueue(o)
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.appender = newAppender(s, background)
	s.running.Go(s.appender.run)
	s.running.Go(func() { s.listen(background) })
	return s, nil
}

// Connect lets the appender connect in the background, so that the first append
// does not wait for it. It reports nothing: an append tries again.
func (s *Store) Connect() {
	select {
	case s.appender.early <- struct{}{}:
	default:
	}
}

// Append implements eventstore.Store.
func (s *Store) Append(ctx context.Context, a eventstore.Append) (eventstore.Receipt, error) {
	return s.Submit(ctx, a).Wait()
}

// Submit implements eventstore.Store.
func (s *Store) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	if err := ctx.Err(); err != nil {
		return refused{err}
	}
	size, err := batch.Check(a, s.opts.Limits)
	if err != nil {
		return s.refuse(err)
	}
	if s.opts.Admit != nil && !a.Urgent {
		if err := s.opts.Admit(); err != nil {
			return s.refuse(err)
		}
	}
	it := &item{ctx: ctx, append: a, size: size, queue: s.queue, done: make(chan struct{})}
	if err := s.queue.put(it); err != nil {
		return s.refuse(err)
	}
	return it
}

func (s *Store) refuse(err error) refused {
	if s.opts.Refused != nil {
		s.opts.Refused(codeOf(err))
	}
	return refused{err}
}

// codeOf is the code of an error that users see.
func codeOf(err error) string {
	if known, ok := errors.AsType[*domain.Error](err); ok {
		return known.Code
	}
	return "append.failed"
}

// refused is an append that never waited.
type refused struct{ err error }

func (r refused) Wait() (eventstore.Receipt, error) { return eventstore.Receipt{}, r.err }

// Wake implements eventstore.Store. The channel is the same at every call and
// serves one consumer: two would take each other's hints and fall back to
// polling.
func (s *Store) Wake() <-chan struct{} { return s.wake }

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close refuses new appends, carries out those that wait, and ends. When ctx ends
// first, what still waits is answered with eventstore.ErrClosed, and an append
// whose commit is under way with eventstore.ErrUnknown. The pool stays open.
func (s *Store) Close(ctx context.Context) error {
	var err error
	s.once.Do(func() {
		s.queue.close()
		select {
		case <-s.appender.ended:
		case <-ctx.Done():
			err = fmt.Errorf("close event store: %w", ctx.Err())
			s.appender.interrupt()
		}
		s.stop()
		s.running.Wait()
	})
	return err
}

// Stats counts what the appender has done since it began.
type Stats struct {
	Waiting int    // appends in the queue now
	Appends uint64 // carried out
	Batches uint64 // transactions that wrote
	Fast    uint64 // of them, those of one round trip
	Settled uint64 // batches whose outcome a broken connection had left unknown
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	a := s.appender
	return Stats{
		Waiting: s.queue.waiting(), Appends: a.appends.Load(), Batches: a.batches.Load(),
		Fast: a.fastBatches.Load(), Settled: a.settled.Load(),
	}
}
