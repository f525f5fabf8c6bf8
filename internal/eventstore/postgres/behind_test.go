package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// fallBack makes the database what it was at a position, as a failover to an old
// copy does, and cuts the appenders off.
func fallBack(t *testing.T, pool *pgxpool.Pool, to domain.Position) {
	t.Helper()
	for _, sql := range []string{
		`update log set (position, hash, recorded) = (select position, hash, recorded from events where position = $1)`,
		`delete from commands where first > $1`,
		`delete from stream_heads h where not exists (select 1 from events e where e.stream = h.stream and e.position <= $1)`,
		`delete from events where position > $1`,
	} {
		if _, err := pool.Exec(t.Context(), sql, int64(to)); err != nil {
			t.Fatal(err)
		}
	}
	const cut = `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'hishamos append'`
	if _, err := pool.Exec(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
}

// notice lets the appender find out that its connection is gone. It cannot know
// whether that append came through before.
func notice(t *testing.T, s *postgres.Store) {
	t.Helper()
	_, err := s.Append(t.Context(), storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	if !errors.Is(err, eventstore.ErrUnknown) && !errors.Is(err, postgres.ErrBehind) {
		t.Fatalf("append on a connection that was cut: %v", err)
	}
}

func TestNothingIsAppendedToADatabaseThatCameBackWithoutCommittedEvents(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := open(t, pool, postgres.Options{})
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 2))
	lost := appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 3))
	fallBack(t, pool, 2)
	late := storetest.To(storetest.Stream("run"), eventstore.Absent, 1)
	notice(t, s)
	if _, err := s.Append(t.Context(), late); !errors.Is(err, postgres.ErrBehind) {
		t.Fatalf("append on position 2 after position 5 was seen: %v", err)
	}
	if n, err := s.Import(t.Context(), lost.Records); n != 3 || err != nil {
		t.Fatalf("import: %d, %v", n, err)
	}
	if r := appendTo(t, s, late); r.First != 6 {
		t.Fatalf("went on at position %d", r.First)
	}
	verify(t, s)
}

func TestNothingIsAppendedToADatabaseThatCameBackWithOtherEvents(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := open(t, pool, postgres.Options{})
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 2))
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	fallBack(t, pool, 2)
	appendTo(t, open(t, pool, postgres.Options{}), storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	notice(t, s)
	if _, err := s.Append(t.Context(), storetest.To(storetest.Stream("run"), eventstore.Absent, 1)); !errors.Is(err, postgres.ErrBehind) {
		t.Fatalf("append after another event at position 3: %v", err)
	}
}

func TestWhoeverKnowsOfAnotherCopyIsAskedOnEveryConnection(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	asked := 0
	var answer error
	s := open(t, pool, postgres.Options{Connected: func(context.Context) error { asked++; return answer }})
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 2))
	answer = &domain.Error{Kind: domain.Unavailable, Code: "x", Message: "not yet"}
	fallBack(t, pool, 2) // nothing is lost, only the connection
	notice(t, s)
	if _, err := s.Append(t.Context(), storetest.To(storetest.Stream("run"), eventstore.Absent, 1)); !errors.Is(err, postgres.ErrBehind) {
		t.Fatalf("append in spite of the answer: %v", err)
	}
	answer = nil
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	if asked < 3 {
		t.Fatalf("asked %d times", asked)
	}
}
