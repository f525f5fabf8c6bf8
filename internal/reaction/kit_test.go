package reaction_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log"
	memlog "github.com/hishamos/hishamos/internal/log/memory"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/relay"
)

const partitions = 2

// bench is a log with a relay, and everything a runner needs.
type bench struct {
	t       *testing.T
	store   *memory.Store
	log     *memlog.Log
	relay   *relay.Relay
	resumes *reaction.MemoryResumes
	saved   *saved
	locks   *locks
	graves  *graves
	runner  *reaction.Runner // the last that was started
	save    time.Duration
	n       int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, store: memory.New(memory.Options{}), log: memlog.New(), resumes: &reaction.MemoryResumes{}, saved: &saved{at: map[log.Partition]domain.Position{}, changed: make(chan struct{}, 1)}, locks: newLocks(), graves: &graves{came: make(chan *message.Message, 10)}}
	b.relay = relay.New(b.store, b.log, relay.Options{Partitions: partitions, Epoch: 1, Logger: slog.New(slog.DiscardHandler)})
	return b
}

// append writes a rotation of each of k tokens and publishes it.
func (b *bench) append(k int) {
	b.t.Helper()
	b.write(k)
	b.publish()
}

func (b *bench) write(k int) {
	b.t.Helper()
	for i := range k {
		b.n++
		_, err := b.store.Append(b.t.Context(), eventstore.Append{
			Command: domain.CommandID(fmt.Sprint(b.n)), Tenant: domain.DefaultTenant, Actor: "[]",
			Writes: []eventstore.Write{{
				Stream: token(i), Expected: eventstore.Any,
				Events: []eventstore.Proposed{{Type: "token.rotated", Version: 1, Time: time.Unix(1, 0), Data: []byte(`{"secret_hash":"x"}`)}},
			}},
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) publish() {
	b.t.Helper()
	for {
		n, err := b.relay.Step(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func token(i int) domain.StreamID {
	return domain.NamedStreamID(domain.DefaultTenant, "token", fmt.Sprint(i))
}

func (b *bench) options(from domain.Position, fresh bool) reaction.Options {
	return reaction.Options{
		Log: b.log, Store: b.store, Lock: b.locks.session, Resumes: watched{b.resumes, b.saved}, Partitions: partitions, Epoch: func() int { return 1 },
		Logger: slog.New(slog.DiscardHandler), DeadLetters: b.graves,
		Deployed: func(context.Context, string) (domain.Position, bool, error) { return from, fresh, nil },
		Retry:    10 * time.Millisecond, Reassign: 10 * time.Millisecond, Save: cmp.Or(b.save, 10*time.Millisecond),
	}
}

// run starts a runner that is stopped, and waited for, at the end of the test.
func (b *bench) run(from domain.Position, fresh bool, rs ...reaction.Reaction) (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	runner, err := reaction.NewRunner(ctx, b.options(from, fresh), rs...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.runner = runner
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				b.t.Errorf("run: %v", err)
			}
		})
	}
	b.t.Cleanup(stop)
	return stop
}

// collect is a reaction that hands over what it handles.
func collect(came chan events.Recorded[events.Event], fail func(events.Recorded[events.Event]) error) reaction.Reaction {
	return reaction.Reaction{Name: "collect", Types: []string{"token.rotated"}, Handle: func(ctx context.Context, e events.Recorded[events.Event]) error {
		if fail != nil {
			if err := fail(e); err != nil {
				return err
			}
		}
		select {
		case came <- e:
		case <-ctx.Done():
		}
		return nil
	}}
}

// saved knows how far resume points are, as positions of the whole log.
type saved struct {
	mu      sync.Mutex
	at      map[log.Partition]domain.Position
	changed chan struct{}
}

// lastOf is the last position in each partition after k tokens were rotated once.
func lastOf(k int) map[int32]domain.Position {
	last := map[int32]domain.Position{}
	for i := range k {
		last[log.PartitionOf(string(token(i)), partitions)] = domain.Position(i + 1)
	}
	return last
}

// until waits for resume points that have reached these positions.
func (s *saved) until(t *testing.T, want map[int32]domain.Position) {
	t.Helper()
	for {
		s.mu.Lock()
		missing := len(want)
		for p, at := range s.at {
			if want[p.ID] > 0 && at >= want[p.ID] {
				missing--
			}
		}
		s.mu.Unlock()
		if missing == 0 {
			return
		}
		select {
		case <-s.changed:
		case <-t.Context().Done():
			t.Fatal("the resume point was never saved")
		}
	}
}

// watched tells of every save.
type watched struct {
	reaction.Resumes
	saved *saved
}

func (w watched) Save(ctx context.Context, name string, p log.Partition, at reaction.Resume) error {
	err := w.Resumes.Save(ctx, name, p, at)
	w.saved.mu.Lock()
	w.saved.at[p] = at.Position
	w.saved.mu.Unlock()
	select {
	case w.saved.changed <- struct{}{}:
	default:
	}
	return err
}

// locks are session locks in memory.
type locks struct {
	mu       sync.Mutex
	held     map[string]*session
	sessions map[*session]bool
}

func newLocks() *locks {
	return &locks{held: map[string]*session{}, sessions: map[*session]bool{}}
}

type session struct {
	l    *locks
	lost chan struct{}
	once sync.Once
}

func (l *locks) session(context.Context) (reaction.Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &session{l: l, lost: make(chan struct{})}
	l.sessions[s] = true
	return s, nil
}

// lose ends every session, as a broken connection does.
func (l *locks) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.sessions {
		s.end()
	}
}

func (s *session) end() {
	s.once.Do(func() {
		for name, holder := range s.l.held {
			if holder == s {
				delete(s.l.held, name)
			}
		}
		delete(s.l.sessions, s)
		close(s.lost)
	})
}

func (s *session) Try(_ context.Context, name string) (bool, error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if !s.l.sessions[s] {
		return false, errors.New("session lost")
	}
	if _, taken := s.l.held[name]; taken {
		return false, nil
	}
	s.l.held[name] = s
	return true, nil
}

func (s *session) Lost() <-chan struct{} { return s.lost }

func (s *session) Close(context.Context) error {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.end()
	return nil
}

// graves keeps dead letters.
type graves struct{ came chan *message.Message }

func (g *graves) Publish(_ string, ms ...*message.Message) error {
	for _, m := range ms {
		g.came <- m
	}
	return nil
}

func (g *graves) Close() error { return nil }
