package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/pg"
)

// TableError says that a table kept beside the events does not agree with them.
type TableError struct{ Table, Reason string }

func (e *TableError) Error() string { return fmt.Sprintf("table %s: %s", e.Table, e.Reason) }

const verifyBatch = 1000

// Verify checks the log after a mark (the zero Mark: all of it): the chain, event
// by event, then that the head, the stream heads, the command ids and the claims
// say what the events say. It returns the mark it came to, from which a later
// call goes on. A *events.ChainError names the first position that is wrong, a
// *TableError the first disagreement. Claims and left-over rows are checked only
// from the beginning. Each record that follows on is handed over with its leaf
// and the position the log then ended at; each may be nil.
func (s *Store) Verify(ctx context.Context, from events.Mark, each Seen) (events.Mark, error) {
	head, err := s.Head(ctx)
	if err != nil {
		return from, err
	}
	at, err := s.verifyChain(ctx, s.keyed, from, head.Position, each)
	if err != nil {
		return at, fmt.Errorf("verify: %w", err)
	}
	// The tables move on with every append: they are compared in one snapshot,
	// with the events up to that snapshot's head.
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pg.InTx(ctx, s.pool, o, func(tx pgx.Tx) (err error) {
		if err = scanHead(tx.QueryRow(ctx, headSQL), &head); err != nil {
			return err
		}
		if at, err = s.verifyChain(ctx, planned{tx}, at, head.Position, each); err != nil {
			return err
		}
		return verifyTables(ctx, tx, from, at, head)
	})
	if err != nil {
		return at, fmt.Errorf("verify: %w", err)
	}
	return at, nil
}

// planForArguments makes the server plan a statement for its arguments and for the
// tables as large as they are now. A plan kept from when the tables were empty
// reads all of them.
const planForArguments = pgx.QueryExecModeCacheDescribe

// planned is a transaction that reads the chain and leaves the planner free to
// sort: the queries that come after it do.
type planned struct{ tx pgx.Tx }

func (p planned) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return p.tx.Query(ctx, sql, append([]any{planForArguments}, args...)...)
}

// Seen is told of a record that was found whole.
type Seen func(r *events.Record, leaf events.Hash, head domain.Position) error

func (s *Store) verifyChain(ctx context.Context, db pg.Querier, at events.Mark, to domain.Position, each Seen) (events.Mark, error) {
	tell := func(r *events.Record, leaf events.Hash) error {
		if each == nil {
			return nil
		}
		return each(r, leaf, to)
	}
	for at.Position < to {
		records, err := readRecords(ctx, db, verifyBatch, readRangeSQL, int64(at.Position), int64(at.Position)+verifyBatch, verifyBatch)
		if err != nil {
			return at, err
		}
		if len(records) == 0 {
			return at, &events.ChainError{Position: at.Position + 1, Reason: fmt.Sprintf("missing: the log goes on to %d", to)}
		}
		if err := at.Walk(records, tell); err != nil {
			return at, err
		}
	}
	return at, nil
}

// disagreements are queries that find one row when a table is wrong: its text is
// the reason. $1 is the position before the first event looked at, $2 the head.
var disagreements = []struct {
	table string
	full  bool // only when everything is verified
	sql   string
}{
	{"events", false, `select 'the sequences of stream ' || stream || ' have a hole or a repetition'
		from events where position > $1 and position <= $2
		group by stream having max(sequence) - min(sequence) + 1 <> count(*) or count(distinct sequence) <> count(*) limit 1`},
	{"events", false, `select 'the events of stream ' || stream || ' before sequence ' || low || ' are missing'
		from (select stream, min(sequence) as low from events where position > $1 and position <= $2 group by stream) e
		where low <> 1 and not exists (select 1 from events p where p.stream = e.stream and p.sequence = e.low - 1) limit 1`},
	{"events", false, `select 'position ' || e.position || ' was recorded before its predecessor'
		from (select position, recorded, lag(recorded) over (order by position) as before from events
			where position >= $1 and position <= $2) e where e.recorded < e.before limit 1`},
	{"events", false, `select 'position ' || position || ' names tenant ' || tenant || ', its stream ' || stream || ' another'
		from events where position > $1 and position <= $2 and tenant <> split_part(stream, '/', 1) limit 1`},
	{"stream_heads", false, `select 'stream ' || e.stream || ' is at version ' || e.top || ', the table says ' || coalesce(h.version::text, 'nothing')
		from (select stream, max(sequence) as top from events where position > $1 and position <= $2 group by stream) e
		left join stream_heads h using (stream) where h.version is distinct from e.top limit 1`},
	{"stream_heads", true, `select 'stream ' || stream || ' has no events'
		from stream_heads h where $1::bigint = 0 and $2::bigint >= 0
		and not exists (select 1 from events e where e.stream = h.stream and e.sequence = h.version) limit 1`},
	{"commands", false, `select 'command ' || e.command || ' of position ' || e.position || ' is missing or has another receipt'
		from events e left join commands c on c.tenant = e.tenant and c.command = e.command
		where e.position > $1 and e.position <= $2 and e.index = 0
		and (c.first, c.last, c.recorded) is distinct from (e.position, e.position + e.count - 1, e.recorded) limit 1`},
	{"commands", true, `select 'command ' || c.command || ' has no events at position ' || c.first
		from commands c left join events e on e.position = c.first and e.command = c.command and e.tenant = c.tenant
		where $1::bigint = 0 and $2::bigint >= 0 and c.first > 0 and e.position is null limit 1`},
	{"claims", true, `with said as (
			select distinct on (e.tenant, c.value ->> 'kind', c.value ->> 'key') e.tenant, c.value ->> 'kind' as kind, c.value ->> 'key' as key,
				e.position, c.value -> 'release' is null as taken
			from events e, jsonb_array_elements(e.claims::jsonb) with ordinality as c (value, n)
			where e.claims <> '' and e.position > $1 and e.position <= $2
			order by e.tenant, c.value ->> 'kind', c.value ->> 'key', e.position desc, c.n desc)
		select 'the events and the table differ about ' || kind || ' ' || key
		from (select * from said where taken) s full join claims t using (tenant, kind, key)
		where s.position is distinct from t.position limit 1`},
}

func verifyTables(ctx context.Context, tx pgx.Tx, from, at events.Mark, head eventstore.Head) error {
	if at.Position != head.Position || at.Hash != head.Hash {
		return &TableError{"log", fmt.Sprintf("the head says position %d and hash %s, the events end at %d with %s",
			head.Position, head.Hash, at.Position, at.Hash)}
	}
	for _, d := range disagreements {
		if d.full && from.Position > 0 {
			continue
		}
		var reason string
		err := tx.QueryRow(ctx, d.sql, planForArguments, int64(from.Position), int64(head.Position)).Scan(&reason)
		switch {
		case err == nil:
			return &TableError{d.table, reason}
		case !errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("compare table %s: %w", d.table, err)
		}
	}
	return nil
}
