package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// moveHead pretends that the log has come to a position.
func moveHead(t *testing.T, pool *pgxpool.Pool, position int64) events.Mark {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `update log set position = $1`, position); err != nil {
		t.Fatal(err)
	}
	return events.Mark{Position: domain.Position(position)}
}

func partitions(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	const sql = `select count(*) from pg_inherits where inhparent = 'events'::regclass`
	if err := pool.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheNextPartitionIsMadeAhead(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	mark := moveHead(t, pool, 4_999_900)
	s := open(t, pool, postgres.Options{PartitionSize: 1000})
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1))
	if err := s.Close(t.Context()); err != nil { // waits for what is being made
		t.Fatal(err)
	}
	if n := partitions(t, pool); n != 2 {
		t.Fatalf("%d partitions, want the next one made ahead", n)
	}
	s = open(t, pool, postgres.Options{PartitionSize: 1000})
	stream := storetest.Stream("run")
	for range 30 { // across the boundary
		appendTo(t, s, storetest.To(stream, eventstore.Any, 7))
	}
	got, err := s.Verify(t.Context(), mark, nil)
	if err != nil || got.Position != mark.Position+1+30*7 {
		t.Fatalf("verified up to %d, %v", got.Position, err)
	}
	records, err := s.ReadStream(t.Context(), stream, 0, 1000)
	if err != nil || len(records) != 30*7 {
		t.Fatalf("%d events of the stream, %v", len(records), err)
	}
	const strays = `select count(*) from events_p5000001 where position < 5000001`
	var n int
	if err := pool.QueryRow(t.Context(), strays).Scan(&n); err != nil || n != 0 {
		t.Fatalf("%d strays, %v", n, err)
	}
	const analysed = `select count(*) from pg_inherits join pg_class on oid = inhrelid
		where inhparent = 'events'::regclass and not coalesce(reloptions @> '{autovacuum_analyze_threshold=1000000}', false)`
	if err := pool.QueryRow(t.Context(), analysed).Scan(&n); err != nil || n != 0 {
		t.Fatalf("%d partitions are analysed as often as any table, %v", n, err)
	}
}

func TestAMissingPartitionIsMadeWhenItIsNeeded(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	mark := moveHead(t, pool, 5_000_000)
	s := open(t, pool, postgres.Options{PartitionSize: 10})
	for i := range 10 { // on the slow path first, then on the fast one
		appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 1+i*4))
	}
	if _, err := s.Verify(t.Context(), mark, nil); err != nil {
		t.Fatal(err)
	}
}
