package pg

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Batcher is what sends several statements in one round trip and one transaction:
// a pool or a connection.
type Batcher interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Keyed runs queries that follow an index, on a table of any size and age. The
// planner knows a young table by its size alone: it takes the order of the keys
// for no order on the disk, reads everything behind the key and sorts that, for
// each page of it; and an empty one it reads from end to end. So it may do
// neither. What it plans then holds for ever, and it plans once.
type Keyed struct{ DB Batcher }

const (
	byKey = `select set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
		set_config('plan_cache_mode', 'force_generic_plan', true)`
	asTenant      = `select set_config('hishamos.tenant', $1, true)`
	asTenantKeyed = byKey + `, set_config('hishamos.tenant', $1, true)`
)

// Query is one round trip and one transaction. The rows hold a connection until
// they are closed or read to their end.
func (k Keyed) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	b := &pgx.Batch{}
	b.Queue(byKey)
	b.Queue(sql, args...)
	return second(ctx, k.DB, b)
}

// QueryRow is Query for one row.
func (k Keyed) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := k.Query(ctx, sql, args...)
	return oneRow{rows, err}
}

// second sends a batch of a statement that sets something and one whose rows are
// wanted.
func second(ctx context.Context, db Batcher, b *pgx.Batch) (pgx.Rows, error) {
	results := db.SendBatch(ctx, b)
	if _, err := results.Exec(); err != nil {
		return nil, errors.Join(err, results.Close())
	}
	rows, err := results.Query()
	if err != nil {
		rows.Close()
		return nil, errors.Join(err, results.Close())
	}
	return &secondRows{Rows: rows, results: results}, nil
}

// secondRows end their transaction when they are closed.
type secondRows struct {
	pgx.Rows
	results pgx.BatchResults
	closed  bool
	err     error
}

func (s *secondRows) Next() bool {
	if s.Rows.Next() {
		return true
	}
	s.Close()
	return false
}

func (s *secondRows) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.Rows.Close()
	s.err = s.results.Close()
}

func (s *secondRows) Err() error {
	if err := s.Rows.Err(); err != nil {
		return err
	}
	return s.err
}

type oneRow struct {
	rows pgx.Rows
	err  error
}

func (o oneRow) Scan(into ...any) error {
	if o.err != nil {
		return o.err
	}
	defer o.rows.Close()
	if !o.rows.Next() {
		if err := o.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := o.rows.Scan(into...); err != nil {
		return err
	}
	o.rows.Close()
	return o.rows.Err()
}
