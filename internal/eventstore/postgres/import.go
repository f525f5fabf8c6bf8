package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/pg"
)

// Import appends sealed records of another copy of this log as they are, in one
// transaction, after checking that they follow the head and hold. Stream heads,
// command ids (without body digests) and claims are derived from the envelopes;
// an empty store takes the log id of the first record. Only whole appends are
// taken: it returns how many records, and the caller offers the rest again with
// what follows them.
//
// The head's generation becomes that of the last record; SetGeneration raises it
// when the import is complete.
func (s *Store) Import(ctx context.Context, records []events.Record) (imported int, err error) {
	records = records[:batch.Whole(records)]
	if len(records) == 0 {
		return 0, nil
	}
	if err := s.appender.makers.need(ctx, int64(records[len(records)-1].Position)); err != nil {
		return 0, err
	}
	err = pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		return s.importIn(ctx, tx, records)
	})
	if err != nil {
		return 0, fmt.Errorf("import events from %d: %w", records[0].Position, err)
	}
	failpoint.Hit("import.after_commit")
	s.signal()
	return len(records), nil
}

func (s *Store) importIn(ctx context.Context, tx pgx.Tx, records []events.Record) error {
	var head eventstore.Head
	if err := scanHead(tx.QueryRow(ctx, lockSQL), &head); err != nil {
		return err
	}
	if head.Position == 0 {
		head.LogID, head.Generation = records[0].LogID, records[0].Generation
	}
	known, closed, err := readHeads(ctx, tx, records)
	if err != nil {
		return err
	}
	b := batch.New(head, head.Recorded, known)
	err = b.Restore(records, func(r *events.Record) bool {
		t, ok := events.Lookup(r.Type)
		return closed[r.Stream] || ok && t.Closes
	})
	if err != nil {
		return err
	}
	// The statement compares what the row holds, so these come first.
	b.Base.Generation = b.Head.Generation
	const sql = `update log set log_id = $1, generation = $2 where one`
	if _, err := tx.Exec(ctx, sql, b.Head.LogID, b.Head.Generation); err != nil {
		return err
	}
	if err := writeIn(ctx, tx, b); err != nil {
		return err
	}
	return failpoint.Err("import.before_commit")
}

func readHeads(ctx context.Context, tx pgx.Tx, records []events.Record) (committedState, map[domain.StreamID]bool, error) {
	known := committedState{versions: make(map[domain.StreamID]domain.Sequence)}
	closed := make(map[domain.StreamID]bool)
	var streams []string
	for i := range records {
		if id := records[i].Stream; !closed[id] {
			closed[id] = true
			streams = append(streams, string(id))
		}
	}
	clear(closed)
	const sql = `select stream, version, open from stream_heads where stream = any($1::text[])`
	rows, err := tx.Query(ctx, sql, fresh, streams)
	if err != nil {
		return known, nil, err
	}
	var id domain.StreamID
	var v domain.Sequence
	var open bool
	_, err = pgx.ForEachRow(rows, []any{&id, &v, &open}, func() error {
		known.versions[id], closed[id] = v, !open
		return nil
	})
	return known, closed, err
}

// writeIn runs the statement on a transaction that holds the lock.
func writeIn(ctx context.Context, tx pgx.Tx, b *batch.Batch) error {
	form, params, formats, err := newStatement().bind(b)
	if err != nil {
		return err
	}
	result := tx.Conn().PgConn().ExecParams(ctx, form.sql(), params, nil, formats, nil).Read()
	if result.Err == nil && len(result.Rows) == 0 {
		return errMoved
	}
	return result.Err
}

// Settings are what the log's one row says beside its head.
type Settings struct {
	LogID      string
	Generation int // raised when the store was rebuilt from Kafka
	Epoch      int // of the log on Kafka
	Level      int // highest level of event types that may be written
}

// Settings reads the log's settings.
func (s *Store) Settings(ctx context.Context) (Settings, error) {
	var o Settings
	const sql = `select log_id::text, generation, epoch, level from log where one`
	if err := s.pool.QueryRow(ctx, sql).Scan(&o.LogID, &o.Generation, &o.Epoch, &o.Level); err != nil {
		return o, fmt.Errorf("read settings of the log: %w", err)
	}
	return o, nil
}

// errNotRaised says that a setting that only grows was to shrink.
var errNotRaised = errors.New("it can only be raised")

// SetGeneration raises the generation that later events carry in `source`.
func (s *Store) SetGeneration(ctx context.Context, generation int) error {
	return s.raise(ctx, "generation", `update log set generation = $1 where one and generation < $1`, generation)
}

// SetEpoch raises the epoch of the log on Kafka, when the store was rebuilt from
// it.
func (s *Store) SetEpoch(ctx context.Context, epoch int) error {
	return s.raise(ctx, "epoch", `update log set epoch = $1 where one and epoch < $1`, epoch)
}

// SetLevel raises the level of event types that may be written.
func (s *Store) SetLevel(ctx context.Context, level int) error {
	return s.raise(ctx, "level", `update log set level = $1 where one and level < $1`, level)
}

func (s *Store) raise(ctx context.Context, what, sql string, to int) error {
	tag, err := s.pool.Exec(ctx, sql, to)
	if err == nil && tag.RowsAffected() == 0 {
		err = errNotRaised
	}
	if err != nil {
		return fmt.Errorf("set %s of the log to %d: %w", what, to, err)
	}
	return nil
}

// NewEpoch begins a new epoch of the log on Kafka and returns it.
func (s *Store) NewEpoch(ctx context.Context) (epoch int, err error) {
	const sql = `update log set epoch = epoch + 1 where one returning epoch`
	if err := s.pool.QueryRow(ctx, sql).Scan(&epoch); err != nil {
		return 0, fmt.Errorf("begin a new epoch: %w", err)
	}
	return epoch, nil
}
