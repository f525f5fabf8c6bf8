package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/projection"
)

// The statements that change which build is live.
const (
	buildingSQL = `
select 1 from projection_checkpoints c join projection_builds b using (projection, build)
where projection = $1 and build = $2 and state = 'building' and topic = '' and partition = 0 and owner = $3
for update of c, b`

	// The lock on the checkpoints keeps the live build from moving meanwhile.
	reachedSQL = `
select coalesce(max(greatest(position, mark)), 0) from (
    select position, mark from projection_checkpoints
    where projection = $1 and build = (` + liveOfSQL + `)
    for update) c`

	liveOfSQL = `select build from projection_builds where projection = $1 and version = $2 and state = 'live'`

	fenceOldSQL = `delete from projection_checkpoints where projection = $1 and build in (` + liveOfSQL + `)`
	retireSQL   = `
update projection_builds set state = 'retired' where projection = $1 and version = $2 and state = 'live'`
	promoteSQL = `
update projection_builds set state = 'live', switched = now() where projection = $1 and build = $2`
	forgetSQL = `delete from projection_checkpoints where projection = $1 and build = $2`

	// A build that was discarded has no checkpoint left and no rows.
	staleSQL = `
select build from projection_builds where projection = $1 and version = $2 and state <> 'live' and not discarded`
	abandonSQL = `
update projection_builds set state = 'retired' where projection = $1 and build = $2 and state <> 'live'`
	discardedSQL = `update projection_builds set discarded = true where projection = $1 and build = $2`
)

// Begin implements projection.Store.
func (s *Store) Begin(ctx context.Context, name string, version int) (projection.Build, int64, error) {
	b := projection.Build{Projection: name, Version: version}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, beginSQL, name, version).Scan(&b.Number); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, newCheckpointSQL, name, b.Number, "", 0, 0, 0, 0, -1, 1)
		return err
	})
	if err != nil {
		return b, 0, fmt.Errorf("begin a build of %s: %w", name, err)
	}
	return b, 1, nil
}

// Switch implements projection.Store.
func (s *Store) Switch(ctx context.Context, b projection.Build, fence int64, checkpoints []projection.Checkpoint) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var one int
		err := tx.QueryRow(ctx, buildingSQL, b.Projection, b.Number, fence).Scan(&one)
		if errors.Is(err, pgx.ErrNoRows) {
			return projection.ErrFenced
		}
		if err != nil {
			return fmt.Errorf("lock build %d: %w", b.Number, err)
		}
		var ahead, reached domain.Position
		if err := tx.QueryRow(ctx, reachedSQL, b.Projection, b.Version).Scan(&ahead); err != nil {
			return fmt.Errorf("read the live build's position: %w", err)
		}
		for _, c := range checkpoints {
			reached = max(reached, c.Position)
		}
		if ahead > reached {
			return projection.ErrBehind
		}
		batch := &pgx.Batch{}
		batch.Queue(fenceOldSQL, b.Projection, b.Version)
		batch.Queue(retireSQL, b.Projection, b.Version)
		batch.Queue(promoteSQL, b.Projection, b.Number)
		batch.Queue(forgetSQL, b.Projection, b.Number)
		for _, c := range checkpoints {
			batch.Queue(newCheckpointSQL, b.Projection, b.Number, c.Partition.Topic, c.Partition.ID,
				c.Position, c.Mark, c.Epoch, c.Offset, 0)
		}
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("switch to build %d: %w", b.Number, err)
		}
		return nil
	})
}

// Stale implements projection.Store.
func (s *Store) Stale(ctx context.Context, name string, version int) ([]projection.Build, error) {
	rows, err := s.pool.Query(ctx, staleSQL, name, version)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (projection.Build, error) {
		b := projection.Build{Projection: name, Version: version}
		err := row.Scan(&b.Number)
		return b, err
	})
}

// discardRows is how many rows one transaction removes, so that none is long.
const discardRows = 20_000

// Discard implements projection.Store.
func (s *Store) Discard(ctx context.Context, b projection.Build, tables []*projection.Schema) error {
	if _, err := s.pool.Exec(ctx, abandonSQL, b.Projection, b.Number); err != nil {
		return fmt.Errorf("retire build %d: %w", b.Number, err)
	}
	for _, t := range tables {
		for _, sql := range s.of(t).discard {
			for {
				n, err := s.execAsync(ctx, sql, b.Number, discardRows)
				if err != nil {
					return fmt.Errorf("discard build %d of %s: %w", b.Number, t.Name, err)
				}
				if n < discardRows {
					break
				}
			}
		}
	}
	batch := &pgx.Batch{}
	batch.Queue(`delete from projection_parked where projection = $1 and build = $2`, b.Projection, b.Number)
	batch.Queue(forgetSQL, b.Projection, b.Number)
	batch.Queue(discardedSQL, b.Projection, b.Number)
	if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("discard build %d: %w", b.Number, err)
	}
	return nil
}

// execAsync does not wait for the disk: what a crash undoes is done again.
func (s *Store) execAsync(ctx context.Context, sql string, args ...any) (int64, error) {
	batch, rows := &pgx.Batch{}, int64(0)
	batch.Queue(asyncSQL)
	batch.Queue(sql, args...).Exec(func(tag pgconn.CommandTag) error {
		rows = tag.RowsAffected()
		return nil
	})
	err := s.pool.SendBatch(ctx, batch).Close()
	return rows, err
}
