package timer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/timer"
)

type wall struct{}

func (wall) Now() time.Time { return time.Now() }

func at(id string, due time.Time) domain.Timer {
	return domain.Timer{Stream: stream, ID: id, Due: due}
}

var stream = domain.NamedStreamID("default", "run", "1")

func ids(ts []domain.Timer) string {
	out := ""
	for _, t := range ts {
		out += t.ID
	}
	return out
}

func TestTimersComeDueInOrderAndOnce(t *testing.T) {
	t.Parallel()
	w, t0 := timer.NewWheel(), time.Unix(1000, 0)
	w.Reconcile(stream, []domain.Timer{at("c", t0.Add(3)), at("a", t0.Add(1)), at("b", t0.Add(2))})
	if got := ids(w.Due(t0.Add(2))); got != "ab" {
		t.Errorf("due %q, want ab", got)
	}
	if got := ids(w.Due(t0.Add(9))); got != "c" {
		t.Errorf("due %q, want c", got)
	}
}

func TestReconcilingMovesAndRemovesTimers(t *testing.T) {
	t.Parallel()
	w, t0 := timer.NewWheel(), time.Unix(1000, 0)
	w.Reconcile(stream, []domain.Timer{at("moved", t0.Add(1)), at("gone", t0.Add(1)), at("kept", t0.Add(1))})
	w.Reconcile(stream, []domain.Timer{at("moved", t0.Add(9)), at("kept", t0.Add(1))})
	if got := ids(w.Due(t0.Add(5))); got != "kept" {
		t.Errorf("due %q, want kept", got)
	}
}

func TestATimerThatCouldNotBeDeliveredFiresAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := timer.NewWheel()
		began, fired := time.Now(), []time.Duration{}
		w.Reconcile(stream, []domain.Timer{at("a", began.Add(time.Minute))})
		w.Run(ctx, wall{}, func(context.Context, domain.Timer) error {
			fired = append(fired, time.Since(began))
			if len(fired) == 1 {
				return errors.New("the store is down")
			}
			cancel()
			return nil
		})
		if len(fired) != 2 || fired[0] != time.Minute || fired[1] != time.Minute+time.Second {
			t.Errorf("fired after %v, want 1m and 1m1s", fired)
		}
	})
}

func TestAnEarlierTimerWakesARunningWheel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := timer.NewWheel()
		began := time.Now()
		w.Reconcile(stream, []domain.Timer{at("late", began.Add(time.Hour))})
		done := make(chan string)
		go w.Run(ctx, wall{}, func(_ context.Context, tm domain.Timer) error {
			done <- tm.ID
			cancel()
			return nil
		})
		synctest.Wait()
		w.Reconcile(stream, []domain.Timer{at("late", began.Add(time.Hour)), at("soon", began.Add(time.Second))})
		if got := <-done; got != "soon" || time.Since(began) != time.Second {
			t.Errorf("%s fired after %v, want soon after 1s", got, time.Since(began))
		}
	})
}
