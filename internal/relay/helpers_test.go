package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	store "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/relay"
)

const partitions = 4

var types = []string{"run.started", "workflow.created", "token.issued"}

// fill appends n events, over many streams of the given kinds of type.
func fill(t testing.TB, s *store.Store, n int, types ...string) {
	t.Helper()
	head, err := s.Head(t.Context())
	check(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range n {
		k := int(head.Position) + i
		stream := domain.StreamID(fmt.Sprintf("default/x_%08d-0000-7000-8000-000000000000", k%97))
		_, err := s.Append(t.Context(), eventstore.Append{
			Command: domain.CommandID(fmt.Sprintf("c%d", k)), Tenant: domain.DefaultTenant, Actor: `{}`,
			Writes: []eventstore.Write{{
				Stream: stream, Expected: eventstore.Any,
				Events: []eventstore.Proposed{{Type: types[k%len(types)], Version: 1, Time: at, Data: fmt.Appendf(nil, `{"n":%d}`, k)}},
			}},
		})
		check(t, err)
	}
}

func newRelay(s eventstore.Reader, l log.Log, change ...func(*relay.Options)) *relay.Relay {
	o := relay.Options{Partitions: partitions, Epoch: 1, Batch: 100}
	for _, c := range change {
		c(&o)
	}
	return relay.New(s, l, o)
}

// drain steps until everything is published.
func drain(t testing.TB, r *relay.Relay) (published int) {
	t.Helper()
	for {
		n, err := r.Step(t.Context())
		check(t, err)
		if n == 0 {
			return published
		}
		published += n
	}
}

// drainThrough steps over errors of the log.
func drainThrough(t *testing.T, r *relay.Relay, expected ...error) {
	t.Helper()
	for {
		n, err := r.Step(t.Context())
		if err != nil && !slices.ContainsFunc(expected, func(e error) bool { return errors.Is(err, e) }) {
			t.Fatal(err)
		}
		if n == 0 && err == nil {
			return
		}
	}
}

// raw returns what each partition of the context topics holds.
func raw(t testing.TB, l log.Log) map[log.Partition][]log.Published {
	t.Helper()
	topics, err := l.Topics(t.Context(), log.Prefix)
	check(t, err)
	out := make(map[log.Partition][]log.Published)
	for name, n := range topics {
		for id := range int32(n) {
			p := log.Partition{Topic: name, ID: id}
			bounds, err := l.Bounds(t.Context(), p)
			check(t, err)
			r, err := l.Open(t.Context(), p, -1)
			check(t, err)
			for next := bounds[p].First; next < bounds[p].End; {
				ms, err := r.Poll(1000)
				check(t, err)
				if len(ms) == 0 {
					<-r.Ready()
				}
				for _, m := range ms {
					published, err := log.Decode(m)
					check(t, err)
					out[p] = append(out[p], *published)
					next = m.Offset + 1
				}
			}
			check(t, r.Close())
		}
	}
	return out
}

// consume reads the topics as an outside consumer does: it drops what it has
// had, and a record must name the position it had before. It then holds the
// result against the store, and returns how many records it dropped.
func consume(t testing.TB, s eventstore.Reader, l log.Log) (repeats int) {
	t.Helper()
	got := make(map[domain.Position]events.Record)
	for p, records := range raw(t, l) {
		var last domain.Position
		for _, r := range records {
			switch {
			case r.Position <= last:
				if got[r.Position].Hash != r.Hash {
					t.Fatalf("%s: position %d comes again with another hash", p, r.Position)
				}
				repeats++
				continue
			case r.PrevPos != last:
				t.Fatalf("%s: position %d says that %d is before it, but it is %d", p, r.Position, r.PrevPos, last)
			}
			last = r.Position
			got[r.Position] = r.Record
		}
	}
	want, err := s.ReadAll(t.Context(), 0, 1<<30)
	check(t, err)
	if len(want) != len(got) {
		t.Fatalf("%d events are published, %d are stored", len(got), len(want))
	}
	for _, w := range want {
		if got[w.Position].Hash != w.Hash {
			t.Fatalf("position %d differs", w.Position)
		}
	}
	return repeats
}

// lock is held by one owner at a time.
type lock struct {
	mu    sync.Mutex
	owner *holder
}

type holder struct{ lock *lock }

var errNotHeld = errors.New("the lock is held by another")

func (h *holder) Held(context.Context) error {
	h.lock.mu.Lock()
	defer h.lock.mu.Unlock()
	if h.lock.owner == nil {
		h.lock.owner = h
	}
	if h.lock.owner != h {
		return errNotHeld
	}
	return nil
}

func (l *lock) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owner = nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
