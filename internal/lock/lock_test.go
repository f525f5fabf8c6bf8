package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/lock"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

func TestALostSessionIsFoundAsSoonAsAnAnswerNoLongerCounts(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s, err := lock.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Try(t.Context(), "a"); err != nil || !got {
		t.Fatalf("the lock is not taken: %v, %v", got, err)
	}
	if err := s.Held(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	cut := `select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'hishamos-lock' and datname = current_database()`
	var ended bool
	if err := other.QueryRow(t.Context(), cut).Scan(&ended); err != nil || !ended {
		t.Fatalf("the session was not ended: %v, %v", ended, err)
	}
	for began := time.Now(); err == nil && time.Since(began) < time.Second; {
		err = s.Held(t.Context()) // once an answer no longer counts, it asks
	}
	if !errors.Is(err, lock.ErrLost) {
		t.Errorf("a session that was ended is held for %v: %v", lock.HeldFor, err)
	}
	select {
	case <-s.Lost():
	default:
		t.Error("nobody is told that the session is lost")
	}
	if err := s.Held(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("asked again, it is held: %v", err)
	}
}
