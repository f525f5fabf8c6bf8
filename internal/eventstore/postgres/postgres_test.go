package postgres_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// open starts a store that ends with the test and may do what the writer may.
func open(t testing.TB, pool *pgxpool.Pool, o postgres.Options) *postgres.Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := postgres.New(t.Context(), pgtest.AsWriter(t, pool), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func appendTo(t testing.TB, s eventstore.Store, a eventstore.Append) eventstore.Receipt {
	t.Helper()
	r, err := s.Append(t.Context(), a)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return r
}

// verify checks the log by the suite's eyes and by the store's own.
func verify(t testing.TB, s *postgres.Store) {
	t.Helper()
	records := storetest.CheckLog(t, s)
	mark, err := s.Verify(t.Context(), events.Mark{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if mark.Position != domain.Position(len(records)) {
		t.Fatalf("verified up to %d of %d", mark.Position, len(records))
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Exercise(t, func(t *testing.T) eventstore.Store {
		s := open(t, pgtest.New(t), postgres.Options{})
		t.Cleanup(func() {
			if _, err := s.Verify(context.WithoutCancel(t.Context()), events.Mark{}, nil); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}

// A newer build may add columns while this one runs.
func TestAColumnThatThisBuildDoesNotKnowGetsItsDefault(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s, stream := open(t, pool, postgres.Options{}), storetest.Stream("run")
	appendTo(t, s, storetest.To(stream, eventstore.Any, 1))
	if _, err := pool.Exec(t.Context(), `
		alter table events add column extra text not null default 'e';
		alter table commands add column extra integer not null default 1;
		alter table stream_heads add column extra boolean not null default true`); err != nil {
		t.Fatal(err)
	}
	appendTo(t, s, storetest.To(stream, eventstore.Any, 1)) // by the connection that knew the columns from before
	appendTo(t, open(t, pool, postgres.Options{}), storetest.To(storetest.Stream("run"), eventstore.Any, 1))
	var n int
	if err := pool.QueryRow(t.Context(), `select count(*) from events where extra = 'e'`).Scan(&n); n != 3 || err != nil {
		t.Errorf("%d events have the default: %v", n, err)
	}
	verify(t, s)
}

// With one append per transaction and no memory of streams, every decision takes
// the slow path or the plainest batch.
func TestStoreWithoutBatchesOrCache(t *testing.T) {
	t.Parallel()
	storetest.Exercise(t, func(t *testing.T) eventstore.Store {
		return open(t, pgtest.New(t), postgres.Options{MaxBatch: 1, StreamCache: 1})
	})
}
