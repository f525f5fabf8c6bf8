// Package memory is an event store in memory: the same contract and the same
// decisions as postgres, deterministic and without goroutines, for tests and the
// simulation.
//
// It must not know what events mean. It imports the contract and batch. Start at
// Store.Append.
package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
)

// Options of a store. The zero value is ready for use.
type Options struct {
	LogID  string       // default: a fixed id, so that traces repeat
	Clock  domain.Clock // default: the real one
	Limits batch.Limits
	Faults Faults
}

// Faults are called by every append that is about to commit, outside the lock,
// so they may read the store.
type Faults struct {
	// BeforeCommit crashes the append before it is written: its error is returned
	// and nothing has happened.
	BeforeCommit func(eventstore.Append) error
	// AfterCommit crashes it after it is written: the append has happened, the
	// caller gets the error. Return eventstore.ErrUnknown for a lost connection.
	AfterCommit func(eventstore.Append) error
}

// Store implements eventstore.Store.
type Store struct {
	opts Options
	wake chan struct{}

	mu       sync.Mutex // guards what follows
	head     eventstore.Head
	log      []events.Record
	streams  map[domain.StreamID]*stream
	commands map[batch.CommandKey]batch.Done
	claims   map[batch.ClaimKey]bool
}

type stream struct {
	positions []domain.Position
	open      bool
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// New returns an empty store.
func New(o Options) *Store {
	if o.LogID == "" {
		o.LogID = "00000000-0000-7000-8000-000000000000"
	}
	if o.Clock == nil {
		o.Clock = realClock{}
	}
	return &Store{
		opts: o, wake: make(chan struct{}, 1),
		head:     eventstore.Head{LogID: o.LogID, Generation: 1},
		streams:  make(map[domain.StreamID]*stream),
		commands: make(map[batch.CommandKey]batch.Done),
		claims:   make(map[batch.ClaimKey]bool),
	}
}

// Append implements eventstore.Store. It runs on the caller's goroutine.
func (s *Store) Append(ctx context.Context, a eventstore.Append) (eventstore.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Receipt{}, err
	}
	if _, err := batch.Check(a, s.opts.Limits); err != nil {
		return eventstore.Receipt{}, err
	}
	if f := s.opts.Faults.BeforeCommit; f != nil {
		if err := f(a); err != nil {
			return eventstore.Receipt{}, err
		}
	}
	r, err := s.commit(a)
	if err != nil || r.Replayed {
		return r, err
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	if f := s.opts.Faults.AfterCommit; f != nil {
		if err := f(a); err != nil {
			return eventstore.Receipt{}, err
		}
	}
	return r, nil
}

func (s *Store) commit(a eventstore.Append) (eventstore.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := batch.New(s.head, s.opts.Clock.Now(), known{s})
	r, err := b.Add(a)
	if err != nil || r.Replayed {
		return r, err
	}
	b.Committed()
	s.head = b.Head
	for _, st := range b.Streams {
		if s.streams[st.ID] == nil {
			s.streams[st.ID] = &stream{open: true}
		}
		s.streams[st.ID].open = s.streams[st.ID].open && st.Open
	}
	for _, rec := range r.Records {
		rec.Data = slices.Clone(rec.Data) // what is committed does not change with the caller's buffer
		s.log = append(s.log, rec)
		st := s.streams[rec.Stream]
		st.positions = append(st.positions, rec.Position)
	}
	for _, c := range b.Commands {
		done := c.Done
		done.Body = slices.Clone(done.Body)
		done.Receipt.Records = nil
		s.commands[c.CommandKey] = done
	}
	for _, c := range b.Claims {
		if c.Taken {
			s.claims[c.ClaimKey] = true
		} else {
			delete(s.claims, c.ClaimKey)
		}
	}
	return r, nil
}

// Submit implements eventstore.Store; the append is carried out at once.
func (s *Store) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	r, err := s.Append(ctx, a)
	return pending{r, err}
}

type pending struct {
	receipt eventstore.Receipt
	err     error
}

func (p pending) Wait() (eventstore.Receipt, error) { return p.receipt, p.err }

// Wake implements eventstore.Store.
func (s *Store) Wake() <-chan struct{} { return s.wake }

// known lets a batch see the store, whose lock is held.
type known struct{ s *Store }

func (k known) Version(id domain.StreamID) (domain.Sequence, bool) {
	if st, ok := k.s.streams[id]; ok {
		return domain.Sequence(len(st.positions)), true
	}
	return 0, true
}

func (k known) Command(c batch.CommandKey) (batch.Done, bool) {
	d, ok := k.s.commands[c]
	return d, ok
}

func (k known) Claimed(c batch.ClaimKey) bool { return k.s.claims[c] }
