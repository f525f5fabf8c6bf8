package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// lockLog holds the append lock until the returned function is called.
func lockLog(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `select from log for update`)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// busy makes the store hold one append and wait for the lock.
func busy(t *testing.T, s *postgres.Store, pool *pgxpool.Pool) (release func(), first eventstore.Pending) {
	t.Helper()
	release = lockLog(t, pool)
	first = s.Submit(t.Context(), storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	const waits = `select exists (select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`
	for blocked := false; !blocked; {
		if err := pool.QueryRow(t.Context(), waits).Scan(&blocked); err != nil {
			t.Fatal(err)
		}
	}
	return release, first
}

func of(tenant string) eventstore.Append {
	stream := domain.NewStreamID(domain.Tenant(tenant), storetest.Stream("run").Entity())
	return storetest.To(stream, eventstore.Absent, 1)
}

func TestAFullQueueRefusesNewWorkButNotUrgentWork(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := open(t, pool, postgres.Options{QueueLimit: 4, TenantQueueLimit: 3, UrgentLimit: 2})
	release, first := busy(t, s, pool)
	accepted := []eventstore.Pending{first}
	submit := func(tenant string, urgent, want bool) {
		t.Helper()
		a := of(tenant)
		a.Urgent = urgent
		ctx, cancel := context.WithCancel(t.Context())
		if !want {
			defer cancel()
			if _, err := s.Submit(ctx, a).Wait(); !errors.Is(err, eventstore.ErrBusy) || domain.KindOf(err) != domain.Unavailable {
				t.Fatalf("%s, urgent %v: got %v, want busy", tenant, urgent, err)
			}
			return
		}
		t.Cleanup(cancel)
		accepted = append(accepted, s.Submit(ctx, a))
	}
	for range 3 {
		submit("t_greedy", false, true)
	}
	submit("t_greedy", false, false) // its own limit
	submit("t_modest", false, true)
	submit("t_modest", false, false) // everyone's limit
	submit("t_greedy", true, true)   // the reserve
	submit("t_greedy", true, true)
	submit("t_greedy", true, false)
	release()
	for i, p := range accepted {
		if _, err := p.Wait(); err != nil {
			t.Errorf("accepted append %d: %v", i, err)
		}
	}
	verify(t, s)
}

func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := open(t, pool, postgres.Options{MaxBatch: 1})
	release, _ := busy(t, s, pool)
	for range 50 {
		s.Submit(t.Context(), of("t_greedy"))
	}
	modest := s.Submit(t.Context(), of("t_modest"))
	release()
	r, err := modest.Wait()
	if err != nil || r.First > 4 {
		t.Fatalf("the modest tenant got position %d, %v: want its turn after one of the greedy one's", r.First, err)
	}
}

func TestAnAppendGivenUpInTheQueueLeavesItsPlaceAndIsNotCarriedOut(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := open(t, pool, postgres.Options{QueueLimit: 1, TenantQueueLimit: 1})
	release, first := busy(t, s, pool)
	ctx, cancel := context.WithCancel(t.Context())
	a := of("default")
	p := s.Submit(ctx, a)
	cancel()
	if _, err := p.Wait(); !errors.Is(err, context.Canceled) || errors.Is(err, eventstore.ErrUnknown) {
		t.Fatalf("got %v, want a definite cancellation", err)
	}
	next := s.Submit(t.Context(), of("default")) // there is room again
	release()
	for _, p := range []eventstore.Pending{first, next} {
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, ok, err := s.Committed(t.Context(), a.Tenant, a.Command); ok || err != nil {
		t.Fatalf("it was carried out: %v, %v", ok, err)
	}
}

func TestAdmissionRefusesNewWorkOnly(t *testing.T) {
	t.Parallel()
	full := eventstore.ErrBusy.With("the disk is nearly full")
	s := open(t, pgtest.New(t), postgres.Options{Admit: func() error { return full }})
	a := storetest.To(storetest.Stream("run"), eventstore.Absent, 1)
	if _, err := s.Append(t.Context(), a); !errors.Is(err, eventstore.ErrBusy) || err.Error() != full.Error() {
		t.Fatalf("new work: %v", err)
	}
	a.Urgent = true
	appendTo(t, s, a)
}

func TestCloseCarriesOutWhatWaitsAndRefusesWhatComes(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t), postgres.Options{MaxBatch: 2})
	var pending []eventstore.Pending
	for range 20 {
		pending = append(pending, s.Submit(t.Context(), of("default")))
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range pending {
		if _, err := p.Wait(); err != nil {
			t.Errorf("an append that waited: %v", err)
		}
	}
	if _, err := s.Append(t.Context(), of("default")); !errors.Is(err, eventstore.ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
}

func TestCloseDoesNotWaitLongerThanItMay(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := open(t, pool, postgres.Options{})
	release, first := busy(t, s, pool)
	defer release()
	queued := s.Submit(t.Context(), of("default"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("close: %v", err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Fatalf("close took %v", d)
	}
	for _, p := range []eventstore.Pending{first, queued} {
		if _, err := p.Wait(); !errors.Is(err, eventstore.ErrClosed) {
			t.Errorf("an append that waited: %v", err)
		}
	}
}
