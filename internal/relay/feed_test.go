package relay_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	store "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log/memory"
	"github.com/hishamos/hishamos/internal/relay"
)

func TestCommitsThatAreFedAreNotReadFromTheStore(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 10, "run.started")
	c := &counting{Reader: s}
	marks := make(chan domain.Position, 100)
	r := newRelay(c, l, func(o *relay.Options) {
		o.Logger, o.Poll = quiet, time.Hour
		o.OnPublished = func(p domain.Position) { marks <- p }
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	reaches(t, marks, 10)
	before := c.read.Load()
	for head := domain.Position(10); head < 60; head += 5 {
		commit(t, s, r, 5, "run.started", "token.issued")
		reaches(t, marks, head+5)
	}
	cancel()
	<-ended
	if n := c.read.Load() - before; n > 0 {
		t.Errorf("%d events were read though they were fed", n)
	}
	consume(t, s, l)
}

// commit appends n events and feeds them to the relay, as a process does.
func commit(t *testing.T, s *store.Store, r *relay.Relay, n int, types ...string) {
	t.Helper()
	head, err := s.Head(t.Context())
	check(t, err)
	fill(t, s, n, types...)
	fresh, err := s.ReadAll(t.Context(), head.Position, n)
	check(t, err)
	r.Feed(fresh)
}

func TestUnderLoadEventsGatherUnlessABatchIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger = 10 * time.Millisecond
		s, l := store.New(store.Options{}), memory.New()
		fill(t, s, 1, "run.started")
		type told struct {
			position domain.Position
			after    time.Duration
		}
		var marks []told
		began := time.Now()
		r := newRelay(&counting{Reader: s}, l, func(o *relay.Options) { // hides what wakes for the commits of others
			o.Logger, o.Poll, o.Linger = quiet, time.Hour, func() time.Duration { return linger }
			o.OnPublished = func(p domain.Position) { marks = append(marks, told{p, time.Since(began)}) }
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		began, marks = time.Now().Add(time.Second), nil
		time.Sleep(time.Second)
		feed := func(n int) {
			commit(t, s, r, n, "run.started")
			synctest.Wait()
		}
		feed(1)  // at once, after a pause
		feed(19) // so few wait for the first part of a linger only
		time.Sleep(linger / 2)
		feed(20) // this and the next for all of it, from when the last batch went
		time.Sleep(linger / 2)
		feed(1)
		time.Sleep(linger)
		feed(250) // two full batches and a rest
		time.Sleep(linger)
		cancel()
		<-ended
		first := linger * 3 / 10
		full := first + 2*linger
		want := []told{{2, 0}, {21, first}, {42, first + linger}, {142, full}, {242, full}, {292, full}}
		if diff := cmp.Diff(want, marks, cmp.AllowUnexported(told{})); diff != "" {
			t.Errorf("what was published, and when (-want +got): %s", diff)
		}
		consume(t, s, l)
	})
}

func TestWhatOthersAppendGathersForTheWholeLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger = 10 * time.Millisecond
		s, l := store.New(store.Options{}), memory.New()
		fill(t, s, 1, "run.started")
		r := newRelay(s, l, func(o *relay.Options) {
			o.Logger, o.Poll, o.Linger = quiet, time.Hour, func() time.Duration { return linger }
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		time.Sleep(time.Second)
		for i, want := range []domain.Position{2, 2, 3} { // the first after a pause goes at once
			if fill(t, s, 1, "run.started"); i > 0 {
				time.Sleep(linger - time.Nanosecond)
			}
			if synctest.Wait(); r.Published() != want {
				t.Errorf("after %d events and %s, %d are published, want %d", i+2, time.Duration(i)*linger, r.Published(), want)
			}
			if i > 0 {
				time.Sleep(time.Nanosecond)
				synctest.Wait()
			}
		}
		cancel()
		<-ended
	})
}

func TestItIsToldHowLongFedEventsTookToArrive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger = 8 * time.Millisecond
		s, l := store.New(store.Options{}), memory.New()
		fill(t, s, 3, "run.started") // before the relay: not measured
		type arrival struct {
			events int
			after  time.Duration
		}
		var arrived []arrival
		r := newRelay(s, l, func(o *relay.Options) {
			o.Logger, o.Poll, o.Linger = quiet, time.Hour, func() time.Duration { return linger }
			o.OnArrived = func(events int, after time.Duration) { arrived = append(arrived, arrival{events, after}) }
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		time.Sleep(time.Second)
		for _, n := range []int{2, 20, 40} { // one goes at once, two wait for the end of the linger
			commit(t, s, r, n, "run.started")
			synctest.Wait()
			time.Sleep(linger / 4)
		}
		time.Sleep(time.Second)
		cancel()
		<-ended
		want := []arrival{{2, 0}, {20, linger * 3 / 4}, {40, linger / 2}}
		if diff := cmp.Diff(want, arrived, cmp.AllowUnexported(arrival{})); diff != "" {
			t.Errorf("what arrived, and after what time (-want +got): %s", diff)
		}
	})
}
