package relay_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	store "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/memory"
	"github.com/hishamos/hishamos/internal/relay"
)

func TestEveryEventIsPublishedOnceWithThePositionBeforeIt(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 10_000, types...)
	var marks []domain.Position
	r := newRelay(s, l, func(o *relay.Options) { o.OnPublished = func(p domain.Position) { marks = append(marks, p) } })
	if n := drain(t, r); n != 10_000 {
		t.Fatalf("published %d", n)
	}
	if n := consume(t, s, l); n != 0 {
		t.Fatalf("%d repeats", n)
	}
	if r.Published() != 10_000 || len(marks) != 101 || marks[0] != 0 || marks[1] != 100 || marks[100] != 10_000 {
		t.Fatalf("published mark %d, called %d times", r.Published(), len(marks))
	}
}

func TestARelayThatCrashedInTheMiddleOfABatchGoesOnWithoutAHoleOrARepeat(t *testing.T) {
	t.Parallel()
	for _, prefix := range []int{0, 1, 37, 100} {
		s, l := store.New(store.Options{}), memory.New()
		fill(t, s, 300, types...)
		l.FailPublish(prefix)
		if _, err := newRelay(s, l).Step(t.Context()); !errors.Is(err, memory.ErrPublish) {
			t.Fatalf("error = %v", err)
		}
		drain(t, newRelay(s, l)) // another process
		if n := consume(t, s, l); n != 0 {
			t.Fatalf("%d repeats after a prefix of %d", n, prefix)
		}
	}
}

func TestARepeatedBatchIsIdenticalAndDropped(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 300, types...)
	l.RepeatPublish()
	drain(t, newRelay(s, l))
	if n := consume(t, s, l); n != 100 {
		t.Fatalf("%d repeats", n)
	}
}

func TestAPartitionThatLostItsTailIsRepairedAndNoOtherIsTouched(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 1000, types...)
	first := newRelay(s, l)
	drain(t, first)
	check(t, first.Close(t.Context())) // stores the hint, which must not hide the loss
	p := log.Partition{Topic: "hishamos.run.events", ID: 2}
	check(t, l.CutTail(p, 7))
	fill(t, s, 10, types...)
	if n := drain(t, newRelay(s, l)); n != 17 {
		t.Fatalf("published %d, expected the 7 lost and the 10 new", n)
	}
	if n := consume(t, s, l); n != 0 {
		t.Fatalf("%d repeats", n)
	}
}

func TestAnEmptyKafkaIsFilledAgain(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 500, types...)
	r := newRelay(s, l)
	drain(t, r)
	check(t, r.Close(t.Context()))
	l.Wipe()
	if n := drain(t, r); n != 500 {
		t.Fatalf("published %d", n)
	}
	consume(t, s, l)
}

// counting counts the events read.
type counting struct {
	eventstore.Reader
	read atomic.Int64
}

func (c *counting) ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error) {
	records, err := c.Reader.ReadAll(ctx, after, limit)
	c.read.Add(int64(len(records)))
	return records, err
}

func TestAnIdlePartitionDoesNotMakeARestartReadTheWholeStore(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 10, "token.issued")
	fill(t, s, 5000, "run.started")
	first := newRelay(s, l)
	drain(t, first)
	check(t, first.Close(t.Context()))
	fill(t, s, 20, "run.started")

	c := &counting{Reader: s}
	second := newRelay(c, l)
	if n := drain(t, second); n != 20 {
		t.Fatalf("published %d", n)
	}
	if c.read.Load() > 100 {
		t.Fatalf("read %d events to publish 20", c.read.Load())
	}
	check(t, second.Close(t.Context()))
	fill(t, s, 20, "token.issued")
	drain(t, newRelay(s, l))
	consume(t, s, l)
}

func TestATrimmedPartitionIsNotTakenForALostOne(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 200, "token.issued")
	r := newRelay(s, l)
	drain(t, r)
	check(t, r.Close(t.Context()))
	for id := range int32(partitions) {
		p := log.Partition{Topic: "hishamos.token.events", ID: id}
		bounds, err := l.Bounds(t.Context(), p)
		check(t, err)
		check(t, l.Trim(t.Context(), p, bounds[p].End))
	}
	if n := drain(t, newRelay(s, l)); n != 0 {
		t.Fatalf("published %d again", n)
	}
}

func TestTopicsThatAreAheadOfTheStoreStopTheRelay(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 300, types...)
	drain(t, newRelay(s, l))
	_, err := newRelay(copyOf(t, s, 200), l).Step(t.Context())
	ahead, ok := errors.AsType[*relay.AheadError](err)
	if !ok || !errors.Is(err, relay.ErrAhead) || !relay.Fatal(err) || ahead.Store != 200 || ahead.Log != 300 {
		t.Fatalf("error = %v", err)
	}
}

// prefix is a store restored from an old backup.
type prefix struct {
	eventstore.Reader
	records []events.Record
}

func copyOf(t *testing.T, s eventstore.Reader, n int) prefix {
	t.Helper()
	records, err := s.ReadAll(t.Context(), 0, n)
	check(t, err)
	return prefix{s, records}
}

func (p prefix) Head(ctx context.Context) (eventstore.Head, error) {
	h, err := p.Reader.Head(ctx)
	last := p.records[len(p.records)-1]
	h.Position, h.Hash = last.Position, last.Hash
	return h, err
}

func (p prefix) ReadAll(_ context.Context, after domain.Position, limit int) ([]events.Record, error) {
	from := min(int(after), len(p.records))
	return p.records[from:min(from+limit, len(p.records))], nil
}

func TestAnotherHistoryAtTheSamePositionsStopsTheRelay(t *testing.T) {
	t.Parallel()
	s, other, l := store.New(store.Options{}), store.New(store.Options{}), memory.New()
	fill(t, s, 100, "run.started")
	fill(t, other, 150, "token.issued")
	drain(t, newRelay(s, l))
	_, err := newRelay(other, l).Step(t.Context())
	if !errors.Is(err, relay.ErrDiverged) || !relay.Fatal(err) {
		t.Fatalf("error = %v", err)
	}
}

func TestTopicsOfAnotherLogOrEpochStopTheRelay(t *testing.T) {
	t.Parallel()
	s, other, l := store.New(store.Options{}), store.New(store.Options{LogID: "another"}), memory.New()
	fill(t, s, 100, types...)
	fill(t, other, 100, types...)
	drain(t, newRelay(s, l))
	for _, r := range []*relay.Relay{newRelay(other, l), newRelay(s, l, func(o *relay.Options) { o.Epoch = 2 })} {
		if _, err := r.Step(t.Context()); !errors.Is(err, relay.ErrForeign) || !relay.Fatal(err) {
			t.Fatalf("error = %v", err)
		}
	}
	check(t, l.Publish(t.Context(), []log.Message{{Partition: log.Partition{Topic: "hishamos.run.events"}, Key: "alien"}}))
	if _, err := newRelay(s, l).Step(t.Context()); !errors.Is(err, relay.ErrForeign) {
		t.Fatalf("error = %v", err)
	}
}

func TestOnlyTheHolderOfTheLockPublishes(t *testing.T) {
	t.Parallel()
	s, l, shared := store.New(store.Options{}), memory.New(), new(lock)
	with := func(o *relay.Options) { o.Lock = &holder{shared} }
	a, b := newRelay(s, l, with), newRelay(s, l, with)
	fill(t, s, 1000, types...)
	if _, err := a.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Step(t.Context()); n != 0 || !errors.Is(err, errNotHeld) {
		t.Fatalf("the second published %d, error = %v", n, err)
	}
	shared.free() // its connection broke
	drain(t, b)
	if n, err := a.Step(t.Context()); n != 0 || !errors.Is(err, errNotHeld) {
		t.Fatalf("the first published %d, error = %v", n, err)
	}
	shared.free() // and the first is back, knowing nothing of what the second did
	fill(t, s, 100, types...)
	if n := drain(t, a); n != 100 {
		t.Fatalf("the first published %d after it came back", n)
	}
	if n := consume(t, s, l); n != 0 {
		t.Fatalf("%d repeats", n)
	}
}

func TestFedEventsNeedNoReadingAndAGapIsReadFromTheStore(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	c := &counting{Reader: s}
	r := newRelay(c, l)
	drain(t, r)
	fill(t, s, 100, types...)
	all, err := s.ReadAll(t.Context(), 0, 100)
	check(t, err)
	r.Feed(all[:10])
	r.Feed(all[5:20]) // overlaps
	if n, err := r.Step(t.Context()); n != 20 || err != nil || c.read.Load() != 0 {
		t.Fatalf("published %d with %d read, %v", n, c.read.Load(), err)
	}
	r.Feed(all[50:]) // 20 to 49 never came
	if n := drain(t, r); n != 80 || c.read.Load() != 30 {
		t.Fatalf("published %d with %d read", n, c.read.Load())
	}
	r.Feed(all[:10]) // old news
	if n := drain(t, r); n != 0 {
		t.Fatalf("published %d again", n)
	}
	consume(t, s, l)
}

func TestFedEventsOfAnotherHistoryAreRefused(t *testing.T) {
	t.Parallel()
	s, other, l := store.New(store.Options{}), store.New(store.Options{}), memory.New()
	fill(t, s, 10, "run.started")
	fill(t, other, 20, "token.issued")
	r := newRelay(s, l)
	drain(t, r)
	wrong, err := other.ReadAll(t.Context(), 10, 10)
	check(t, err)
	r.Feed(wrong)
	if _, err := r.Step(t.Context()); !errors.Is(err, relay.ErrDiverged) {
		t.Fatalf("error = %v", err)
	}
}

// Any mixture of crashes, failed, repeated and lost writes leaves, in the end,
// every event in its partition with an unbroken chain of positions.
func TestNoMixtureOfFaultsBreaksTheChainOfAPartition(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 7))
		s, l := store.New(store.Options{}), memory.New()
		start := func() *relay.Relay {
			return newRelay(s, l, func(o *relay.Options) { o.Batch, o.HintEvery = 1+random.IntN(20), 1+random.IntN(50) })
		}
		r := start()
		for range 60 {
			switch random.IntN(7) {
			case 0, 1:
				fill(t, s, random.IntN(30), types...)
			case 2:
				l.FailPublish(random.IntN(20))
			case 3:
				l.RepeatPublish()
			case 4: // the broker lost a tail, and nobody is told
				topic := relay.Topics()[random.IntN(len(relay.Topics()))]
				lost := log.Partition{Topic: topic, ID: random.Int32N(partitions)}
				if topics, err := l.Topics(t.Context(), topic); err == nil && len(topics) > 0 {
					check(t, l.CutTail(lost, random.IntN(6)))
				}
			case 5:
				if random.IntN(2) == 0 {
					check(t, r.Close(t.Context()))
				}
				r = start()
			default:
				if _, err := r.Step(t.Context()); err != nil && !errors.Is(err, memory.ErrPublish) && !errors.Is(err, log.ErrLostTail) {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
		drainThrough(t, r, memory.ErrPublish, log.ErrLostTail)
		r = start()
		drainThrough(t, r, memory.ErrPublish)
		consume(t, s, l)
		if head, err := s.Head(t.Context()); err != nil || r.Published() != head.Position {
			t.Fatalf("seed %d: mark %d, head %d, %v", seed, r.Published(), head.Position, err)
		}
	}
}
