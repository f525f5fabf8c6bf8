package postgres_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

func TestTheOnlyAppenderNeedsOneRoundTripPerBatch(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t), postgres.Options{})
	stream := storetest.Stream("run")
	for i := range 20 {
		appendTo(t, s, storetest.To(stream, int64(i), 1))
		appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	}
	if st := s.Stats(); st.Batches != 40 || st.Fast < 38 {
		t.Fatalf("stats %+v: want all but the first two batches to be fast", st)
	}
}

func TestManyProcessesMakeOneChain(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	shared := storetest.Stream("run")
	var group sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 3 {
		s := open(t, pool, postgres.Options{MaxBatch: 8})
		for range 8 {
			group.Go(func() {
				seen := int64(0)
				for i := range 30 {
					if i%3 > 0 {
						appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
						continue
					}
					_, err := s.Append(t.Context(), storetest.To(shared, seen, 1))
					var c *eventstore.ConflictError
					switch {
					case err == nil:
						seen++
						mu.Lock()
						won++
						mu.Unlock()
					case errors.As(err, &c):
						seen = int64(c.Actual)
					default:
						t.Errorf("append: %v", err)
					}
				}
			})
		}
	}
	group.Wait()
	s := open(t, pool, postgres.Options{})
	verify(t, s)
	records, err := s.ReadStream(t.Context(), shared, 0, 10_000)
	if err != nil || len(records) != won {
		t.Fatalf("%d events of the shared stream, %d acknowledged, %v", len(records), won, err)
	}
}

func TestAVersionThatAnotherProcessRaisedIsNotTakenFromMemory(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	one, other := open(t, pool, postgres.Options{}), open(t, pool, postgres.Options{})
	stream := storetest.Stream("run")
	appendTo(t, one, storetest.To(stream, eventstore.Absent, 1))
	appendTo(t, other, storetest.To(stream, 1, 1))
	before := one.Stats().Fast
	for one.Stats().Fast == before { // alone again, after one batch that found the head moved
		appendTo(t, one, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	}
	if r := appendTo(t, one, storetest.To(stream, eventstore.Any, 1)); r.Streams[0].Version != 3 {
		t.Fatalf("version %d, want 3", r.Streams[0].Version)
	}
	verify(t, one)
}

func TestAnAcknowledgedAppendIsDurableWhateverTheURLSays(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	const sql = `create function durable() returns trigger language plpgsql as $$ begin
			if current_setting('synchronous_commit') <> 'on' then raise exception 'not durable'; end if;
			return null; end $$;
		create trigger durable before insert on commands for each statement execute function durable()`
	if _, err := pgtest.Open(t, url).Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	pool, err := pg.Open(t.Context(), url, pg.Options{Settings: map[string]string{"synchronous_commit": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := open(t, pool, postgres.Options{})
	for range 4 { // on both paths
		appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	}
}

// M1 of the reliability plan: where positions come from a sequence, a reader that
// polls "after the last position" skips what commits late.
func TestAReaderByPositionNeverSkipsAPausedTransaction(t *testing.T) {
	t.Parallel()
	direct, proxied, p := viaProxy(t)
	paused, other := open(t, proxied, postgres.Options{}), open(t, direct, postgres.Options{})
	var read domain.Position
	poll := func() {
		t.Helper()
		for {
			page, err := other.ReadAll(t.Context(), read, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				if read++; r.Position != read {
					t.Fatalf("position %d came after %d: the reader skips", r.Position, read-1)
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
	for round := range 20 {
		// Every other round the pause is inside a transaction that holds the lock.
		if round%2 == 0 {
			appendTo(t, other, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
		} else {
			appendTo(t, paused, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
		}
		p.arm(hold)
		late := paused.Submit(t.Context(), storetest.To(storetest.Stream("run"), eventstore.Absent, 2))
		<-p.hit
		var beside []eventstore.Pending
		for range 5 {
			beside = append(beside, other.Submit(t.Context(), storetest.To(storetest.Stream("run"), eventstore.Absent, 1)))
		}
		poll()
		p.release <- struct{}{}
		for _, pending := range append(beside, late) {
			if _, err := pending.Wait(); err != nil {
				t.Fatal(err)
			}
			poll()
		}
	}
	poll()
	if h, err := other.Head(t.Context()); err != nil || h.Position != read || read != 20*8 {
		t.Fatalf("read up to %d, the head is %+v, %v", read, h, err)
	}
	verify(t, other)
}

// stopper is a clock that stops its store inside a transaction that holds the
// append lock.
type stopper struct {
	stopped, resume chan struct{}
	over            <-chan struct{} // ends every stop
}

func (c stopper) Now() time.Time {
	select {
	case c.stopped <- struct{}{}:
	case <-c.over:
	}
	select {
	case <-c.resume:
	case <-c.over:
	}
	return time.Now()
}

func TestAHolderOfTheLockThatStopsIsCutOff(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	c := stopper{make(chan struct{}), make(chan struct{}), t.Context().Done()}
	stopped, other := open(t, pool, postgres.Options{Clock: c}), open(t, pool, postgres.Options{})
	pending := stopped.Submit(t.Context(), storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	<-c.stopped
	began := time.Now()
	appendTo(t, other, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	if d := time.Since(began); d < time.Second || d > 3*time.Second {
		t.Fatalf("the other went on after %v, want about 2 s and at most 3 s", d)
	}
	c.resume <- struct{}{} // the stopped one comes back and finds its transaction gone
	<-c.stopped
	c.resume <- struct{}{}
	if r, err := pending.Wait(); err != nil || r.First != 2 {
		t.Fatalf("the stopped one: %+v, %v", r, err)
	}
	verify(t, other)
}

func TestACommitOfAnotherProcessWakesTheReader(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	reader, writer := open(t, pool, postgres.Options{}), open(t, pool, postgres.Options{})
	<-reader.Wake() // it listens
	appendTo(t, writer, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	select {
	case <-reader.Wake():
	case <-time.After(5 * time.Second):
		t.Fatal("not woken")
	}
}

func TestAProcessIsHandedItsOwnCommitsInOrderAndWokenForOthers(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	handed := make(chan []events.Record, 1000)
	s := open(t, pool, postgres.Options{MaxBatch: 4, Committed: func(r []events.Record) { handed <- r }})
	<-s.Wake() // it listens
	const appends = 200
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			for range appends / 20 {
				appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 2))
			}
		})
	}
	callers.Wait()
	next := domain.Position(1)
	for next <= 2*appends { // handed over before the callers were answered
		select {
		case records := <-handed:
			for _, r := range records {
				if r.Position != next {
					t.Fatalf("position %d was handed over where %d follows", r.Position, next)
				}
				next++
			}
		default:
			t.Fatalf("position %d was not handed over", next)
		}
	}
	select {
	case <-s.Wake():
		t.Error("woken for an own commit")
	default:
	}
	other := open(t, pool, postgres.Options{})
	theirs := appendTo(t, other, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	select {
	case <-s.Wake():
		if head, err := s.Head(t.Context()); err != nil || head.Position != theirs.Last {
			t.Errorf("head %d, %v", head.Position, err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("not woken for another's commit")
	}
}

func TestWhatTheServerRefusesFailsOnlyItsOwnAppend(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	const sql = `create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
		create trigger refuse before insert on events for each row when (new.type = 'test.poison') execute function refuse()`
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	s := open(t, pool, postgres.Options{})
	release := lockLog(t, pool) // so that the next appends share a batch
	first := s.Submit(t.Context(), storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	var good, bad []eventstore.Pending
	for i := range 9 {
		a := storetest.To(storetest.Stream("run"), eventstore.Absent, 1)
		if i%3 == 1 {
			a.Writes[0].Events[0].Type = "test.poison"
			bad = append(bad, s.Submit(t.Context(), a))
		} else {
			good = append(good, s.Submit(t.Context(), a))
		}
	}
	release()
	for _, p := range append(good, first) {
		if _, err := p.Wait(); err != nil {
			t.Errorf("an append beside the refused ones: %v", err)
		}
	}
	for _, p := range bad {
		if _, err := p.Wait(); err == nil || errors.Is(err, eventstore.ErrUnknown) {
			t.Errorf("a refused append: %v", err)
		}
	}
	verify(t, s)
}
