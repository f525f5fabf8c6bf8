package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
)

// The first batch of a store takes the slow path, the third the fast one.
var paths = []struct {
	name   string
	before int // appends before the fault
}{{"slow path", 0}, {"fast path", 3}}

func TestACommitWhoseAnswerIsLostIsSettled(t *testing.T) {
	t.Parallel()
	for _, path := range paths {
		for name, f := range map[string]fault{"before the server committed": cutBefore, "after the server committed": cutAfter, "and the write arrives late": cutLate} {
			t.Run(path.name+", cut "+name, func(t *testing.T) {
				t.Parallel()
				direct, proxied, p := viaProxy(t)
				s := open(t, proxied, postgres.Options{})
				for range path.before {
					appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
				}
				if fast := s.Stats().Fast > 0; fast != (path.before > 0) {
					t.Fatalf("the wrong path: %+v", s.Stats())
				}
				p.arm(f)
				a := storetest.To(storetest.Stream("run"), eventstore.Absent, 2)
				twin := a // the same id in the same batch
				pending := []eventstore.Pending{s.Submit(t.Context(), a), s.Submit(t.Context(), twin)}
				r, err := pending[0].Wait()
				if err != nil || r.Replayed || len(r.Records) != 2 || int(r.First) != path.before+1 {
					t.Fatalf("settled as %+v, %v", r, err)
				}
				if again, err := pending[1].Wait(); err != nil || !again.Replayed || again.First != r.First {
					t.Fatalf("the same id was answered with %+v, %v", again, err)
				}
				if got := <-p.hit; got != f {
					t.Fatalf("fault %v happened", got)
				}
				if f == cutLate {
					p.release <- struct{}{}
				}
				appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
				if st := s.Stats(); st.Settled != 1 {
					t.Fatalf("stats %+v", st)
				}
				watcher := open(t, direct, postgres.Options{})
				if n := len(storetest.CheckLog(t, watcher)); n != path.before+3 {
					t.Fatalf("%d events, want %d", n, path.before+3)
				}
				verify(t, watcher)
			})
		}
	}
}

func TestAnOutcomeThatCannotBeSettledIsUnknownAndTheCommandIDSettlesIt(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{"not committed": cutBefore, "committed": cutAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, proxied, p := viaProxy(t)
			s := open(t, proxied, postgres.Options{RetryFor: 300 * time.Millisecond})
			appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
			a := storetest.To(storetest.Stream("run"), eventstore.Absent, 1)
			p.arm(f)
			pending := s.Submit(t.Context(), a)
			<-p.hit
			p.setDown(true)
			if _, err := pending.Wait(); !errors.Is(err, eventstore.ErrUnknown) {
				t.Fatalf("append: %v", err)
			}
			if _, err := s.Append(t.Context(), storetest.To(storetest.Stream("run"), 0, 1)); !errors.Is(err, postgres.ErrUnreachable) {
				t.Fatalf("append to a server that is away: %v", err)
			}
			if _, err := s.ReadStream(t.Context(), storetest.Stream("run"), 0, 1); !errors.Is(err, postgres.ErrUnreachable) {
				t.Fatalf("read from a server that is away: %v", err)
			}
			p.setDown(false)
			r, err := s.Append(t.Context(), a)
			if err != nil || r.First != 2 {
				t.Fatalf("append again: %+v, %v", r, err)
			}
			if n := len(storetest.CheckLog(t, open(t, direct, postgres.Options{}))); n != 2 {
				t.Fatalf("%d events, want 2", n)
			}
		})
	}
}

func TestACallerWhoLeavesDuringTheCommitIsToldThatItIsUnknown(t *testing.T) {
	t.Parallel()
	_, proxied, p := viaProxy(t)
	s := open(t, proxied, postgres.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	a := storetest.To(storetest.Stream("run"), eventstore.Absent, 1)
	queued := storetest.To(storetest.Stream("run"), eventstore.Absent, 1)
	p.arm(hold)
	during := s.Submit(ctx, a)
	<-p.hit
	waiting := s.Submit(ctx, queued) // not in the batch that is under way
	cancel()
	if _, err := during.Wait(); !errors.Is(err, eventstore.ErrUnknown) {
		t.Fatalf("during the commit: %v", err)
	}
	if _, err := waiting.Wait(); !errors.Is(err, context.Canceled) {
		t.Fatalf("in the queue: %v", err)
	}
	p.release <- struct{}{}
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	if r := appendTo(t, s, a); !r.Replayed {
		t.Fatal("the append that was under way has not happened")
	}
	if r := appendTo(t, s, queued); r.Replayed {
		t.Fatal("the append that was given up in the queue has happened")
	}
	verify(t, s)
}
