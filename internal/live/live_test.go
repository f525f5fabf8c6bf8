package live_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/live"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a log in memory that counts its reads.
type store struct {
	mu      sync.Mutex
	records []events.Record
	reads   int
	fail    error
	wake    chan struct{}
	onHead  func() // called before the head is read
}

func newStore() *store { return &store{wake: make(chan struct{}, 1)} }

func (s *store) append(stream domain.StreamID, eventType string) {
	s.mu.Lock()
	n := domain.Sequence(1)
	for _, r := range s.records {
		if r.Stream == stream {
			n++
		}
	}
	s.records = append(s.records, events.Record{Envelope: events.Envelope{
		Type: eventType, Stream: stream, Sequence: n, Position: domain.Position(len(s.records) + 1),
	}})
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *store) read(keep func(events.Record) bool, limit int) ([]events.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.fail != nil {
		return nil, s.fail
	}
	var out []events.Record
	for _, r := range s.records {
		if len(out) < limit && keep(r) {
			out = append(out, r)
		}
	}
	return out, nil
}

func (s *store) ReadStream(_ context.Context, _ domain.Tenant, stream domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error) {
	return s.read(func(r events.Record) bool { return r.Stream == stream && r.Sequence > after }, limit)
}

func (s *store) ReadAll(_ context.Context, as domain.Tenant, after, upTo domain.Position, limit int) (eventstore.Page, error) {
	records, err := s.read(func(r events.Record) bool {
		return r.Position > after && r.Position <= upTo && (as == live.Everyone || r.Stream.Tenant() == as)
	}, limit)
	page := eventstore.Page{Records: records, Reached: max(after, upTo)}
	if len(records) == limit {
		page.Reached = records[limit-1].Position
	}
	return page, err
}

func (s *store) Head(context.Context) (eventstore.Head, error) {
	if s.onHead != nil {
		s.onHead()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return eventstore.Head{Position: domain.Position(len(s.records))}, s.fail
}

// run starts a hub that stops with the test.
func run(t *testing.T, s *store, opts live.Options) *live.Hub {
	t.Helper()
	h := live.New(s, opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.Run(ctx, s.wake) }()
	t.Cleanup(func() { cancel(); <-done })
	return h
}

func positions(t *testing.T, f *live.Feed, n int) []domain.Position {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out []domain.Position
	for len(out) < n {
		got, err := f.Next(ctx)
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(out), n, err)
		}
		for _, r := range got {
			out = append(out, r.Position)
		}
	}
	return out
}

func TestAFeedReturnsEveryEventOnceInOrderWhileOthersAppend(t *testing.T) {
	t.Parallel()
	for _, buffer := range []int{1, 4, 512} { // a buffer of 1 overflows all the time
		t.Run(fmt.Sprint("buffer ", buffer), func(t *testing.T) {
			t.Parallel()
			const total, feeds = 600, 8
			s := newStore()
			h := run(t, s, live.Options{Buffer: buffer, Batch: 7, Poll: time.Hour})
			var writers sync.WaitGroup
			writers.Go(func() {
				for i := range total {
					s.append(domain.StreamID(fmt.Sprint("default/run_", i%3)), "run.started")
				}
			})
			var readers sync.WaitGroup
			for i := range feeds {
				readers.Go(func() {
					from := domain.Position(i * 20)
					f := h.Follow(live.Filter{Tenant: live.Everyone}, from)
					defer f.Close()
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					for want := from + 1; want <= total; {
						got, err := f.Next(ctx)
						if err != nil {
							t.Errorf("feed %d at %d: %v", i, want, err)
							return
						}
						for _, r := range got {
							if r.Position != want {
								t.Errorf("feed %d: position %d, want %d", i, r.Position, want)
								return
							}
							want++
						}
					}
				})
			}
			writers.Wait()
			readers.Wait()
		})
	}
}

func TestWhatIsCommittedWhileAFeedJoinsIsNotLost(t *testing.T) {
	t.Parallel()
	s := newStore()
	s.append("default/run_a", "run.started")
	s.onHead = func() { // after the feed has read to the end, before it is offered anything
		s.onHead = nil
		s.append("default/run_a", "run.completed")
	}
	h := run(t, s, live.Options{Poll: time.Hour})
	f := h.Follow(live.Filter{Tenant: live.Everyone}, 0)
	defer f.Close()
	if got := positions(t, f, 2); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("positions = %v", got)
	}
}

func TestAStreamFeedResumesAfterAVersion(t *testing.T) {
	t.Parallel()
	s := newStore()
	for range 5 {
		s.append("default/run_a", "run.started")
		s.append("default/run_b", "run.started")
	}
	h := run(t, s, live.Options{Batch: 2, Poll: time.Hour})
	f := h.FollowStream("default", "default/run_a", 3)
	defer f.Close()
	if got := positions(t, f, 2); fmt.Sprint(got) != "[7 9]" {
		t.Errorf("past = %v", got)
	}
	s.append("default/run_b", "run.completed")
	s.append("default/run_a", "run.completed")
	if got := positions(t, f, 1); fmt.Sprint(got) != "[12]" {
		t.Errorf("fresh = %v", got)
	}
}

func TestAFilterHidesOtherTenantsAndTypesButTheFeedMovesOn(t *testing.T) {
	t.Parallel()
	s := newStore()
	h := run(t, s, live.Options{Poll: time.Hour})
	f := h.Follow(live.Filter{Tenant: "default", Types: []string{"run", "workflow.created"}}, 0)
	defer f.Close()
	s.append("t_1/run_a", "run.started")
	s.append("default/run_a", "run.started")
	s.append("default/workflow_a", "workflow.created")
	s.append("default/workflow_a", "workflow.archived")
	s.append("default/runner_a", "runner.started")
	s.append("default/run_a", "run.completed")
	if got := positions(t, f, 3); fmt.Sprint(got) != "[2 3 6]" {
		t.Errorf("positions = %v", got)
	}
	if f.Reached() != 6 {
		t.Errorf("reached = %d", f.Reached())
	}
}

func TestAFeedOutlivesItsContextAndAFailingStore(t *testing.T) {
	t.Parallel()
	s := newStore()
	h := run(t, s, live.Options{Poll: time.Hour})
	f := h.Follow(live.Filter{Tenant: live.Everyone}, 0)
	defer f.Close()
	s.fail = errors.New("down")
	if _, err := f.Next(t.Context()); err == nil {
		t.Error("a failing store gave no error")
	}
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	s.append("default/run_a", "run.started")
	if got := positions(t, f, 1); fmt.Sprint(got) != "[1]" {
		t.Errorf("positions = %v", got)
	}
}

func TestWithoutFeedsTheLogIsNotRead(t *testing.T) {
	t.Parallel()
	s := newStore()
	h := run(t, s, live.Options{Poll: time.Millisecond})
	f := h.Follow(live.Filter{Tenant: live.Everyone}, 0)
	s.append("default/run_a", "run.started")
	positions(t, f, 1)
	f.Close()
	// Another feed that never joins the hub proves that pumping stopped: after the
	// first has left, only its own reads are counted.
	s.mu.Lock()
	s.reads = 0
	s.mu.Unlock()
	for range 20 {
		s.append("default/run_a", "run.step_scheduled")
	}
	g := h.Follow(live.Filter{Tenant: live.Everyone}, 1)
	defer g.Close()
	if got := positions(t, g, 20); len(got) != 20 {
		t.Fatalf("%d events", len(got))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads > 4 { // at most: one of a pump under way, one of the past, two around the join
		t.Errorf("%d reads", s.reads)
	}
}

func TestABusyLogIsReadAtMostOnceAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		h := run(t, s, live.Options{Poll: time.Hour, Pause: 10 * time.Millisecond})
		f, err := h.Watch(t.Context(), "default", "default/run_a")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		time.Sleep(time.Second) // a pause
		began := time.Now()
		s.append("default/run_a", "run.started")
		if got := positions(t, f, 1); got[0] != 1 || time.Since(began) > 0 {
			t.Errorf("the first event after a pause: %v after %v", got, time.Since(began))
		}
		before := s.reads
		for range 5 { // of another process
			s.append("default/run_a", "run.step_scheduled")
			time.Sleep(time.Millisecond)
		}
		if got := positions(t, f, 5); len(got) != 5 || time.Since(began) != 10*time.Millisecond || s.reads != before+1 {
			t.Errorf("%d events after %v and %d reads, want 5 after 10ms and 1", len(got), time.Since(began), s.reads-before)
		}
	})
}

func TestACommitOfThisProcessIsHandedOutWithoutReadingIt(t *testing.T) {
	t.Parallel()
	s := newStore()
	h := live.New(s, live.Options{Poll: time.Hour}) // and nobody runs it
	f, err := h.Watch(t.Context(), "t", "t/run_1")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h.Committed([]events.Record{{Envelope: events.Envelope{Type: "run.started", Stream: "t/run_1", Sequence: 1, Position: 1}}})
	got, err := f.Next(t.Context())
	if err != nil || len(got) != 1 || s.reads > 0 {
		t.Errorf("%d records after %d reads: %v", len(got), s.reads, err)
	}
}

func TestACommitThatWasReadInPartIsHandedOutFromThereOn(t *testing.T) {
	t.Parallel()
	s := newStore()
	h := live.New(s, live.Options{Poll: time.Hour}) // and nobody runs it
	f, err := h.Watch(t.Context(), "t", "t/run_1")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	one := events.Record{Envelope: events.Envelope{Type: "run.started", Stream: "t/run_1", Sequence: 1, Position: 1}}
	two := events.Record{Envelope: events.Envelope{Type: "run.step_scheduled", Stream: "t/run_1", Sequence: 2, Position: 2}}
	h.Committed([]events.Record{one})
	h.Committed([]events.Record{one, two})
	if got, err := f.Next(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("%d records: %v", len(got), err)
	}
}

func TestAFeedIsNotHandedTheFreshCommitsOfAnotherTenant(t *testing.T) {
	t.Parallel()
	h := live.New(newStore(), live.Options{Poll: time.Hour})
	f, err := h.Watch(t.Context(), "t", "other/run_1") // a wrong address
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h.Committed([]events.Record{{Envelope: events.Envelope{Type: "run.started", Stream: "other/run_1", Sequence: 1, Position: 1}}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got, err := f.Next(ctx); len(got) > 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d records of another tenant, %v", len(got), err)
	}
}

func TestCommitsThatDoNotFollowOnAreLeftToTheReader(t *testing.T) {
	t.Parallel()
	s := newStore()
	h := live.New(s, live.Options{Poll: time.Hour})
	f, err := h.Watch(t.Context(), "t", "t/run_1")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.append("t/run_1", "run.started") // another process's
	s.append("t/run_1", "run.step_scheduled")
	h.Committed([]events.Record{{Envelope: events.Envelope{Type: "run.step_scheduled", Stream: "t/run_1", Sequence: 2, Position: 2}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { h.Run(ctx, s.wake) })
	got, err := f.Next(t.Context())
	if err != nil || len(got) != 2 {
		t.Errorf("%d records: %v", len(got), err)
	}
}

func TestAWatchForSomeTypesIsHandedThoseOfItsStreamAlone(t *testing.T) {
	t.Parallel()
	h := live.New(newStore(), live.Options{Poll: time.Hour})
	f, err := h.Watch(t.Context(), "t", "t/run_1", "run.completed", "run.failed")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	event := func(p domain.Position, kind string, stream domain.StreamID) events.Record {
		return events.Record{Envelope: events.Envelope{Type: kind, Stream: stream, Sequence: domain.Sequence(p), Position: p}}
	}
	h.Committed([]events.Record{event(1, "run.started", "t/run_1"), event(2, "run.completed", "u/run_1")})
	h.Committed([]events.Record{event(3, "run.failed", "t/run_2"), event(4, "run.completed", "t/run_1"), event(5, "run.step_scheduled", "t/run_1")})
	if got, err := f.Next(t.Context()); err != nil || len(got) != 1 || got[0].Position != 4 {
		t.Errorf("%v: %v", got, err)
	}
}
