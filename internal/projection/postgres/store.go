// Package postgres keeps the rows of projections in Postgres: a batch is one
// round trip and one transaction, with the checkpoint in it.
//
// It must not know what rows mean. It imports the contract, internal/pg and pgx;
// the tables are made by migrations. Start at Store.Commit; sql.go holds the
// statements that follow from a table's columns.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/projection"
)

// Store implements projection.Store.
type Store struct {
	pool   pg.Writer
	shapes shapes
	rooms  sync.Pool // of *[]byte, for the rows of a commit

	mu         sync.Mutex // guards statements
	statements map[*projection.Schema]*statements
}

// New returns a store on a migrated database.
func New(pool pg.Writer) *Store {
	return &Store{pool: pool, shapes: shapes{known: make(map[string]*shape)}, statements: make(map[*projection.Schema]*statements)}
}

var (
	_ projection.Store    = (*Store)(nil)
	_ projection.Preparer = (*Store)(nil)
)

// The statements on the runner's own tables.
const (
	liveSQL = `select build from projection_builds where projection = $1 and version = $2 and state = 'live'`

	// Numbers are never used twice: rows of a discarded build cannot come back.
	beginSQL = `
insert into projection_builds (projection, version, build, state)
select $1, $2, coalesce(max(build), 0) + 1, 'building' from projection_builds where projection = $1
returning build`

	ownSQL = `
update projection_checkpoints set owner = owner + 1
where projection = $1 and build = $2 and topic = $3 and partition = $4
returning position, mark, epoch, log_offset, batch, owner`

	newCheckpointSQL = `
insert into projection_checkpoints (projection, build, topic, partition, position, mark, epoch, log_offset, owner)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

	// The fence: with an older owner, or after a commit that was lost, the
	// division fails, and with it the whole transaction.
	commitSQL = `
with moved as (
    update projection_checkpoints
    set position = $5, mark = greatest(mark, $6), epoch = $7, log_offset = $8, batch = batch + 1
    where projection = $1 and build = $2 and topic = $3 and partition = $4 and owner = $9 and batch = $10
    returning 1)
select 1 / (select count(*) from moved)`

	asyncSQL = `select set_config('synchronous_commit', 'off', true)`

	marksSQL = `
update projection_checkpoints c set mark = greatest(c.mark, m.mark)
from unnest($1::text[], $2::int[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[])
    as m (projection, build, topic, partition, owner, mark, batch)
where c.projection = m.projection and c.build = m.build and c.topic = m.topic and c.partition = m.partition
    and c.owner = m.owner and c.batch >= m.batch`

	checkpointsSQL = `
select topic, partition, position, mark, epoch, log_offset from projection_checkpoints
where projection = $1 and build = $2 order by topic, partition`

	parkSQL = `
insert into projection_parked (projection, build, stream, sequence, position, type, cause, parked)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (projection, build, stream) do update
set sequence = excluded.sequence, position = excluded.position, type = excluded.type,
    cause = excluded.cause, parked = excluded.parked, requested = false`

	unparkSQL = `delete from projection_parked where projection = $1 and build = $2 and stream = any($3)`

	parkedSQL = `
select stream, sequence, position, type, cause, parked, requested from projection_parked
where projection = $1 and build = $2 order by position`

	requestSQL = `update projection_parked set requested = true where projection = $1 and build = $2 and stream = $3`

	attendSQL = `
insert into projection_processes (process, seen) values ($1, now())
on conflict (process) do update set seen = excluded.seen`

	processesSQL = `select count(*) from projection_processes where seen > now() - interval '3 seconds'
		and split_part(process, '/', 1) = split_part($1, '/', 1)`
)

// Live implements projection.Store.
func (s *Store) Live(ctx context.Context, name string, version int) (projection.Build, bool, error) {
	b := projection.Build{Projection: name, Version: version}
	err := s.pool.QueryRow(ctx, liveSQL, name, version).Scan(&b.Number)
	if errors.Is(err, pgx.ErrNoRows) {
		return projection.Build{}, false, nil
	}
	return b, err == nil, err
}

// Own implements projection.Store.
func (s *Store) Own(ctx context.Context, b projection.Build, p log.Partition) (projection.Checkpoint, int64, error) {
	c, fence := projection.Checkpoint{Partition: p}, int64(0)
	err := s.pool.QueryRow(ctx, ownSQL, b.Projection, b.Number, p.Topic, p.ID).
		Scan(&c.Position, &c.Mark, &c.Epoch, &c.Offset, &c.Batch, &fence)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, 0, projection.ErrFenced
	}
	return c, fence, err
}

// Commit implements projection.Store.
func (s *Store) Commit(ctx context.Context, c projection.Changes) error {
	commit, err := s.Prepare(ctx, c)
	if err != nil {
		return err
	}
	return commit()
}

// Prepare implements projection.Preparer. Rows that are new are inserted without
// looking for an old one, which takes two thirds of the time; if there is one all
// the same, everything is written again as if none was new.
func (s *Store) Prepare(ctx context.Context, c projection.Changes) (func() error, error) {
	first, err := s.prepare(ctx, c, true)
	if err != nil {
		return nil, outcome(err)
	}
	return func() error {
		err := first()
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == uniqueViolation {
			var again func() error
			if again, err = s.prepare(ctx, c, false); err == nil {
				err = again()
			}
		}
		return outcome(err)
	}, nil
}

const uniqueViolation = "23505"

// prepare makes a batch one implicit transaction: the server undoes all of it at
// the first error.
func (s *Store) prepare(ctx context.Context, c projection.Changes, trust bool) (func() error, error) {
	b := &pgx.Batch{}
	if c.DryRun {
		b.Queue("begin")
	}
	b.Queue(asyncSQL)
	at := c.Checkpoint
	b.Queue(commitSQL, c.Build.Projection, c.Build.Number, at.Partition.Topic, at.Partition.ID,
		at.Position, at.Mark, at.Epoch, at.Offset, c.Fence, at.Batch)
	room, _ := s.rooms.Get().(*[]byte)
	if room == nil {
		room = new([]byte)
	}
	*room = (*room)[:0]
	var used []*shape
	for _, t := range c.Tables {
		shapes, err := s.queue(ctx, b, room, c.Build.Number, t, trust)
		if err != nil {
			return nil, err
		}
		used = append(used, shapes...)
	}
	if len(c.Unpark) > 0 {
		b.Queue(unparkSQL, c.Build.Projection, c.Build.Number, c.Unpark)
	}
	for _, p := range c.Park {
		b.Queue(parkSQL, c.Build.Projection, c.Build.Number, p.Stream, p.Sequence, p.Position, p.Type, p.Cause, p.At)
	}
	if c.DryRun {
		b.Queue("rollback")
	}
	return func() error {
		defer s.rooms.Put(room)
		return s.send(ctx, b, used, c.DryRun)
	}, nil
}

// queue adds what a batch does to a table; its rows are written behind what is in
// the room. Trust says that rows which are said to be new are.
func (s *Store) queue(ctx context.Context, b *pgx.Batch, room *[]byte, build int, c projection.TableChanges, trust bool) ([]*shape, error) {
	t, st := c.Table, s.of(c.Table)
	var used []*shape
	add := func(sql string, past bool, n int, at rowAt) error {
		if n == 0 {
			return nil
		}
		sh, err := s.shapes.of(ctx, s.pool, t, past)
		if err != nil {
			return err
		}
		from := len(*room)
		if *room, err = sh.encode(*room, t, build, n, at); err != nil {
			return err
		}
		used = append(used, sh)
		b.Queue(sql, (*room)[from:])
		return nil
	}
	var fresh, puts []projection.Versioned
	for _, p := range c.Puts {
		if p.New && trust {
			fresh = append(fresh, p)
		} else {
			puts = append(puts, p)
		}
	}
	sums := st.write
	if t.Journal && trust {
		sums = st.insert
	}
	err := errors.Join(
		add(st.past, true, len(c.Past), func(i int) (any, domain.Position, domain.Position) {
			return c.Past[i].Row, c.Past[i].From, c.Past[i].To
		}),
		add(st.insert, false, len(fresh), func(i int) (any, domain.Position, domain.Position) { return fresh[i].Row, fresh[i].From, 0 }),
		add(st.write, false, len(puts), func(i int) (any, domain.Position, domain.Position) { return puts[i].Row, puts[i].From, 0 }),
		add(sums, false, len(c.Sums), func(i int) (any, domain.Position, domain.Position) { return c.Sums[i], 0, 0 }),
	)
	return used, err
}

func (s *Store) send(ctx context.Context, b *pgx.Batch, used []*shape, dry bool) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	for _, sh := range used {
		sh.know(conn.Conn())
	}
	err = conn.SendBatch(ctx, b).Close()
	if err != nil && dry {
		// The error came between begin and rollback. Releasing a connection that
		// is still in a transaction would close it; this keeps it.
		if _, rollback := conn.Exec(ctx, "rollback"); rollback != nil {
			return errors.Join(err, rollback)
		}
	}
	return err
}

// outcome tells the refusals apart from passing failures.
func outcome(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch class := pgErr.Code[:2]; {
	case pgErr.Code == "22012": // division by zero: the fence
		return projection.ErrFenced
	case class == "22", class == "23", pgErr.Code == "54000": // data, constraint, row too large for an index
		return fmt.Errorf("%w: %w", projection.ErrData, err)
	}
	return err
}

// Load implements projection.Store.
func (s *Store) Load(ctx context.Context, b projection.Build, t *projection.Schema, examples []any) ([]projection.Versioned, error) {
	st := s.of(t)
	rows, err := s.pool.Query(ctx, st.load, append([]any{b.Number}, st.keys(examples)...)...)
	if err != nil {
		return nil, err
	}
	out := make([]projection.Versioned, 0, len(examples))
	err = st.scan(rows, false, func(row any, from, _ domain.Position) error {
		out = append(out, projection.Versioned{Row: row, From: from})
		return nil
	})
	return out, err
}

// Scan implements projection.Store.
func (s *Store) Scan(ctx context.Context, b projection.Build, t *projection.Schema, past bool,
	each func(any, domain.Position, domain.Position) error,
) error {
	st := s.of(t)
	sql := st.all
	if past {
		sql = st.allPast
	}
	rows, err := s.pool.Query(ctx, sql, b.Number)
	if err != nil {
		return err
	}
	return st.scan(rows, past, each)
}

// Checkpoints implements projection.Store.
func (s *Store) Checkpoints(ctx context.Context, b projection.Build) ([]projection.Checkpoint, error) {
	rows, err := s.pool.Query(ctx, checkpointsSQL, b.Projection, b.Number)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (projection.Checkpoint, error) {
		var c projection.Checkpoint
		err := row.Scan(&c.Partition.Topic, &c.Partition.ID, &c.Position, &c.Mark, &c.Epoch, &c.Offset)
		return c, err
	})
}

// Marks implements projection.Store.
func (s *Store) Marks(ctx context.Context, marks []projection.OwnedMark) error {
	var names, topics []string
	var builds, partitions []int32
	var owners, positions, batches []int64
	for _, m := range marks {
		names, topics = append(names, m.Build.Projection), append(topics, m.Partition.Topic)
		builds, partitions = append(builds, int32(m.Build.Number)), append(partitions, m.Partition.ID)
		owners, positions, batches = append(owners, m.Fence), append(positions, int64(m.Mark)), append(batches, m.Batch)
	}
	b := &pgx.Batch{}
	b.Queue(asyncSQL)
	b.Queue(marksSQL, names, builds, topics, partitions, owners, positions, batches)
	return s.pool.SendBatch(ctx, b).Close()
}

// Parked implements projection.Store.
func (s *Store) Parked(ctx context.Context, b projection.Build) ([]projection.Parked, error) {
	rows, err := s.pool.Query(ctx, parkedSQL, b.Projection, b.Number)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (projection.Parked, error) {
		var p projection.Parked
		err := row.Scan(&p.Stream, &p.Sequence, &p.Position, &p.Type, &p.Cause, &p.At, &p.Requested)
		return p, err
	})
}

// Request implements projection.Store.
func (s *Store) Request(ctx context.Context, b projection.Build, id domain.StreamID) (bool, error) {
	tag, err := s.pool.Exec(ctx, requestSQL, b.Projection, b.Number, id)
	return tag.RowsAffected() > 0, err
}

// Attend implements projection.Store.
func (s *Store) Attend(ctx context.Context, process string) (int, error) {
	if _, err := s.pool.Exec(ctx, attendSQL, process); err != nil {
		return 0, fmt.Errorf("attend as %s: %w", process, err)
	}
	var n int
	err := s.pool.QueryRow(ctx, processesSQL, process).Scan(&n)
	return n, err
}

func (s *Store) of(t *projection.Schema) *statements {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.statements[t]
	if st == nil {
		st = newStatements(t)
		s.statements[t] = st
	}
	return st
}
