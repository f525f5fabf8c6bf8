package postgres_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// history writes twelve events to three streams, with two claims.
func history(t *testing.T, pool *pgxpool.Pool) *postgres.Store {
	t.Helper()
	s := open(t, pool, postgres.Options{})
	streams := []domain.StreamID{storetest.Stream("run"), storetest.Stream("run"), storetest.Stream("workflow")}
	for i := range 6 {
		a := storetest.To(streams[i%3], eventstore.Any, 2)
		if i < 2 {
			a.Claims = []eventstore.Claim{{Kind: "name", Key: string(rune('a' + i))}}
		}
		appendTo(t, s, a)
	}
	appendTo(t, s, storetest.To(streams[0], 4, 0)) // a command without events
	verify(t, s)
	return s
}

func TestVerifyNamesTheFirstTamperedPosition(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql      string
		position domain.Position
	}{
		"data flipped":         {`update events set data = set_byte(data, 3, get_byte(data, 3) # 1) where position = 5`, 5},
		"an attribute changed": {`update events set actor = actor || ' ' where position = 4`, 4},
		"an attribute nulled":  {`alter table events alter column forkedfrom drop not null; update events set forkedfrom = null where position = 4`, 4},
		"recorded changed":     {`update events set recorded = recorded + interval '1 microsecond' where position = 7`, 7},
		"a stream changed":     {`update events set stream = stream || 'x' where position = 3`, 3},
		"the first changed":    {`update events set type = 'run.started' where position = 1`, 1},
		"an event dropped":     {`delete from events where position = 6`, 7},
		"the tail cut":         {`delete from events where position > 10`, 11},
		"two events swapped": {`update events set position = case position when 8 then 4999999 else 8 end where position in (8, 9);
			update events set position = 9 where position = 4999999`, 8},
		"an event inserted": {`update events set position = position + 1000000 where position > 5;
			update events set position = position - 1000000 + 1 where position > 1000000;
			insert into events select 6, log_id, generation, stream, sequence, tenant, type, version, time, recorded, correlation, causation,
				command, index, count, claims, actor, decidedby, forkedfrom, traceparent, keyids, data, prevhash, hash from events where position = 5`, 6},
		"the rest of the chain rewritten": {`update events set hash = sha256(hash), prevhash = sha256(prevhash) where position > 8`, 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.New(t)
			s := history(t, pool)
			if _, err := pool.Exec(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			mark, err := s.Verify(t.Context(), events.Mark{}, nil)
			var broken *events.ChainError
			if !errors.As(err, &broken) || broken.Position != c.position {
				t.Fatalf("got %v, want position %d", err, c.position)
			}
			if mark.Position >= c.position {
				t.Fatalf("verified up to %d", mark.Position)
			}
		})
	}
}

func TestVerifyNamesTheTableThatDisagrees(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, table string }{
		"the head goes back":          {`update log set position = position - 1, hash = (select hash from events where position = 11)`, ""},
		"the head has another hash":   {`update log set hash = sha256(hash)`, "log"},
		"a stream head is behind":     {`update stream_heads set version = version - 1 where kind = 'workflow'`, "stream_heads"},
		"a stream head is missing":    {`delete from stream_heads where kind = 'workflow'`, "stream_heads"},
		"a stream head has no events": {`insert into stream_heads values ('default/run_x', 'run', 1, true)`, "stream_heads"},
		"a command is missing":        {`delete from commands where first = 5`, "commands"},
		"a receipt is wrong":          {`update commands set last = last + 1 where first = 5`, "commands"},
		"a command has no events":     {`insert into commands values ('default', 'x', null, 5, 6, now(), '')`, "commands"},
		"a claim is missing":          {`delete from claims where key = 'a'`, "claims"},
		"a claim was never taken":     {`insert into claims values ('default', 'name', 'z', 'default/run_x', 3)`, "claims"},
		"a claim is another append's": {`update claims set position = 5 where key = 'b'`, "claims"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.New(t)
			s := history(t, pool)
			if _, err := pool.Exec(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			_, err := s.Verify(t.Context(), events.Mark{}, nil)
			var wrong *postgres.TableError
			if !errors.As(err, &wrong) || c.table != "" && wrong.Table != c.table {
				t.Fatalf("got %v, want table %s", err, c.table)
			}
		})
	}
}

func TestVerifyGoesOnFromAMark(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := history(t, pool)
	mark, err := s.Verify(t.Context(), events.Mark{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// What lies before the mark is not read again.
	if _, err := pool.Exec(t.Context(), `update events set actor = '' where position = 3`); err != nil {
		t.Fatal(err)
	}
	appendTo(t, s, storetest.To(storetest.Stream("run"), eventstore.Absent, 3))
	next, err := s.Verify(t.Context(), mark, nil)
	if err != nil || next.Position != mark.Position+3 {
		t.Fatalf("verified up to %d, %v", next.Position, err)
	}
	if _, err := s.Verify(t.Context(), events.Mark{Position: mark.Position, Hash: events.Hash{1}}, nil); err == nil {
		t.Fatal("a mark with another hash was accepted")
	}
	if _, err := s.Verify(t.Context(), events.Mark{Position: next.Position, Hash: events.Hash{1}}, nil); err == nil {
		t.Fatal("a mark at the head with another hash was accepted")
	}
}
