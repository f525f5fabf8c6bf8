package reaction

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/pg"
)

// PostgresResumes keeps resume points in the table reaction_resume. Losing the
// newest costs a repetition, so they are saved without waiting for the disk.
type PostgresResumes struct{ Pool pg.Writer }

const loadResume = `select position, epoch, log_offset from reaction_resume where reaction = $1 and topic = $2 and partition = $3`

const saveResume = `insert into reaction_resume (reaction, topic, partition, position, epoch, log_offset) values ($1, $2, $3, $4, $5, $6)
on conflict (reaction, topic, partition) do update set position = excluded.position, epoch = excluded.epoch, log_offset = excluded.log_offset`

// Load implements Resumes.
func (r PostgresResumes) Load(ctx context.Context, reaction string, p log.Partition) (at Resume, ok bool, err error) {
	err = r.Pool.QueryRow(ctx, loadResume, reaction, p.Topic, p.ID).Scan(&at.Position, &at.Epoch, &at.Offset)
	if errors.Is(err, pgx.ErrNoRows) {
		return Resume{}, false, nil
	}
	if err != nil {
		return at, false, fmt.Errorf("load resume point of %s in %s: %w", reaction, p, err)
	}
	return at, true, nil
}

// Save implements Resumes.
func (r PostgresResumes) Save(ctx context.Context, reaction string, p log.Partition, at Resume) error {
	err := pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(`set local synchronous_commit = off`)
		b.Queue(saveResume, reaction, p.Topic, p.ID, at.Position, at.Epoch, at.Offset)
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("save resume point of %s in %s: %w", reaction, p, err)
	}
	return nil
}

// MemoryResumes keeps resume points in memory, for tests and the simulation.
type MemoryResumes struct {
	mu sync.Mutex
	m  map[string]map[log.Partition]Resume
}

// Load implements Resumes.
func (r *MemoryResumes) Load(_ context.Context, reaction string, p log.Partition) (Resume, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.m[reaction][p]
	return at, ok, nil
}

// Save implements Resumes.
func (r *MemoryResumes) Save(_ context.Context, reaction string, p log.Partition, at Resume) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[string]map[log.Partition]Resume)
	}
	if r.m[reaction] == nil {
		r.m[reaction] = make(map[log.Partition]Resume)
	}
	r.m[reaction][p] = at
	return nil
}
