// Package projectiontest holds the laws every projection must obey, and a small
// world to try them in: an event store and a log in memory, with the faults of
// real ones.
//
// It must not know what any projection means. It imports the projection
// machinery and the memory implementations. Start at Laws.
package projectiontest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/log"
	logmemory "github.com/hishamos/hishamos/internal/log/memory"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/projection/memory"
)

// Locks are locks of one process that nobody contests.
type Locks struct{ lost chan struct{} }

// NewLocks returns locks that are all free.
func NewLocks() *Locks { return &Locks{lost: make(chan struct{})} }

// Try implements projection.Locks.
func (*Locks) Try(context.Context, string) (bool, error) { return true, nil }

// Release implements projection.Locks.
func (*Locks) Release(context.Context, string) error { return nil }

// Lost implements projection.Locks.
func (l *Locks) Lost() <-chan struct{} { return l.lost }

// World is a log with everything that feeds a projection.
type World struct {
	Log        *logmemory.Log
	Events     eventstore.Reader
	Partitions int
	Epoch      int
	Mark       domain.Position // what the relay has published
	last       map[log.Partition]domain.Position
}

// NewWorld returns a world whose topics exist and are empty.
func NewWorld(t testing.TB, reader eventstore.Reader, partitions int) *World {
	t.Helper()
	w := &World{Log: logmemory.New(), Events: reader, Partitions: partitions}
	w.Refill(t)
	return w
}

// Refill makes the topics anew, empty, under the next epoch.
func (w *World) Refill(t testing.TB) {
	t.Helper()
	w.Log.Wipe()
	w.Epoch++
	w.last = make(map[log.Partition]domain.Position)
	topics := make(map[string]bool)
	for name := range events.Types() {
		topics[log.TopicOf(name)] = true
	}
	for name := range topics {
		if err := w.Log.Create(t.Context(), []log.Topic{{Name: name, Partitions: w.Partitions}}); err != nil {
			t.Fatal(err)
		}
	}
}

// Publish puts records on the log, as the relay does.
func (w *World) Publish(t testing.TB, records ...events.Record) {
	t.Helper()
	messages := make([]log.Message, len(records))
	for i, r := range records {
		m := log.Encode(log.Published{Record: r, Epoch: w.Epoch}, w.Partitions)
		messages[i] = log.Encode(log.Published{Record: r, Epoch: w.Epoch, PrevPos: w.last[m.Partition]}, w.Partitions)
		w.last[m.Partition] = r.Position
		w.Mark = max(w.Mark, r.Position)
	}
	if err := w.Log.Publish(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
}

// Published is the relay's mark.
func (w *World) Published() log.Mark {
	m := log.Mark{Position: w.Mark, Tails: make(log.Tails)}
	for name := range events.Types() {
		for id := range w.Partitions {
			p := log.Partition{Topic: log.TopicOf(name), ID: int32(id)}
			m.Tails[p] = w.last[p]
		}
	}
	return m
}

// Skip forgets to publish records that the next ones will count as published:
// a hole.
func (w *World) Skip(records ...events.Record) {
	for _, r := range records {
		m := log.Encode(log.Published{Record: r, Epoch: w.Epoch}, w.Partitions)
		w.last[m.Partition] = r.Position
	}
}

// Runner returns a runner of definitions over a store.
func (w *World) Runner(t testing.TB, s projection.Store, batch int, defs ...*projection.Definition) *projection.Runner {
	t.Helper()
	r, err := projection.New(projection.Config{
		Definitions: defs, Store: s, Log: w.Log, Events: w.Events, Locks: NewLocks(), Process: t.Name(), Batch: batch,
		Mark: func(context.Context) (log.Mark, error) { return w.Published(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Feeds opens every partition of a projection. Build it first.
func (w *World) Feeds(t testing.TB, r *projection.Runner, d *projection.Definition) []*projection.Feed {
	t.Helper()
	var feeds []*projection.Feed
	for _, topic := range d.Topics() {
		for id := range w.Partitions {
			f, err := r.Open(t.Context(), d.Name, log.Partition{Topic: topic, ID: int32(id)})
			if err != nil {
				t.Fatal(err)
			}
			feeds = append(feeds, f)
		}
	}
	return feeds
}

// Settle steps feeds until nothing is left.
func Settle(t testing.TB, feeds ...*projection.Feed) {
	t.Helper()
	for busy := true; busy; {
		busy = false
		for _, f := range feeds {
			n, err := f.Step(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			busy = busy || n > 0
		}
	}
}

// Laws checks that a projection of these events comes out the same however the
// events reach it: in order, doubled, redelivered, with holes, with other
// streams in between in any order, with crashes, under a new epoch, rebuilt from
// the store; in memory and, when a store is given, in Postgres. The events are
// those of the reader, from position 1.
func Laws(t *testing.T, d *projection.Definition, reader eventstore.Reader, records []events.Record, other func(*testing.T) projection.Store) {
	t.Helper()
	want := rebuilt(t, d, reader, memory.New())
	stores := map[string]func(*testing.T) projection.Store{
		"memory": func(*testing.T) projection.Store { return memory.New() },
	}
	if other != nil {
		stores["other"] = other
	}
	for name, open := range stores {
		t.Run(name+": rebuilt from the store", func(t *testing.T) {
			t.Parallel()
			same(t, "rebuilt", rebuilt(t, d, reader, open(t)), want)
		})
		for _, partitions := range []int{1, 4, 31} {
			for _, batch := range []int{1, 7, 500} {
				if name == "other" && batch == 1 {
					continue // a transaction per event only takes time
				}
				t.Run(fmt.Sprintf("%s: %d partitions, batches of %d, with faults", name, partitions, batch), func(t *testing.T) {
					t.Parallel()
					same(t, "live", live(t, d, reader, records, open(t), partitions, batch), want)
				})
			}
		}
	}
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s digest is %s, want %s", what, got, want)
	}
}

func rebuilt(t *testing.T, d *projection.Definition, reader eventstore.Reader, s projection.Store) string {
	t.Helper()
	r := NewWorld(t, reader, 4).Runner(t, s, 0, d)
	if err := r.Rebuild(t.Context(), d.Name); err != nil {
		t.Fatal(err)
	}
	return digest(t, r, d)
}

func digest(t *testing.T, r *projection.Runner, d *projection.Definition) string {
	t.Helper()
	got, err := r.Digest(t.Context(), d.Name)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// window is a store that has only the events up to a position, as yet.
type window struct {
	eventstore.Reader
	end domain.Position
}

func (w *window) Head(ctx context.Context) (eventstore.Head, error) {
	h, err := w.Reader.Head(ctx)
	h.Position = w.end
	return h, err
}

func (w *window) ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error) {
	all, err := w.Reader.ReadAll(ctx, after, limit)
	for i, r := range all {
		if r.Position > w.end {
			return all[:i], err
		}
	}
	return all, err
}

// Until is a store as it was at a position.
func Until(r eventstore.Reader, p domain.Position) eventstore.Reader { return &window{r, p} }

// live sends the events over a log that repeats, loses and redelivers them, to
// feeds that are stepped in any order and now and then die.
func live(t *testing.T, d *projection.Definition, reader eventstore.Reader, records []events.Record, s projection.Store, partitions, batch int) string {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(partitions), uint64(batch)))
	store := &window{Reader: reader}
	w := NewWorld(t, store, partitions)
	r := w.Runner(t, s, batch, d)
	if err := r.Rebuild(t.Context(), d.Name); err != nil { // of nothing, as yet
		t.Fatal(err)
	}
	feeds := w.Feeds(t, r, d)
	for rest := records; len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(40))
		store.end = rest[n-1].Position
		switch random.IntN(12) {
		case 0:
			w.Log.RepeatPublish()
			w.Publish(t, rest[:n]...)
		case 1: // a hole, which shows with the next record of the partition
			w.Skip(rest[:n]...)
		case 2: // the topics are made anew and refilled
			w.Refill(t)
			w.Publish(t, records[:len(records)-len(rest)+n]...)
			feeds = w.Feeds(t, r, d)
		default:
			w.Publish(t, rest[:n]...)
		}
		rest = rest[n:]
		for range 2 * len(feeds) {
			i := random.IntN(len(feeds))
			switch random.IntN(10) {
			case 0:
				w.Log.Redeliver(feeds[i].Partition(), 1+random.IntN(20))
			case 1: // the process dies; another takes the partition
				f, err := r.Open(t.Context(), d.Name, feeds[i].Partition())
				if err != nil {
					t.Fatal(err)
				}
				feeds[i] = f
			}
			if _, err := feeds[i].Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	Settle(t, feeds...)
	// Holes at the very end show when a feed is opened under a new epoch.
	w.Refill(t)
	w.Publish(t, records...)
	Settle(t, w.Feeds(t, r, d)...)
	return digest(t, r, d)
}
