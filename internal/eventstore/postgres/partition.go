package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/pg"
)

// partitions makes the next partition of the events before it is needed.
type partitions struct {
	store *Store
	size  int64

	mu      sync.Mutex // guards what follows
	end     int64      // first position without a partition; 0: not asked yet
	making  bool
	running sync.WaitGroup
}

// ahead is called after every commit. When less than half a partition is left,
// it makes the next one in the background.
func (p *partitions) ahead(position int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.making || p.end-position > p.size/2 {
		return
	}
	p.making = true
	p.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.need(ctx, position+p.size/2); err != nil {
			p.store.opts.Logger.Warn("make a partition ahead", "error", err, "position", position)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.making = false
	})
}

func (p *partitions) wait() { p.running.Wait() }

const (
	// partitionLock lets one process make partitions at a time.
	partitionLock    = `select pg_advisory_xact_lock(hashtext('hishamos events partition'))`
	partitionsEndSQL = `select max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(\d+)''\)'))[1]::bigint)
		from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'events'::regclass`
)

// need makes sure that a position has a partition.
func (p *partitions) need(ctx context.Context, position int64) error {
	var end int64
	err := pg.InTx(ctx, p.store.pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		for _, sql := range []string{`set local lock_timeout = '2s'`, partitionLock} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if err := tx.QueryRow(ctx, partitionsEndSQL).Scan(&end); err != nil {
			return err
		}
		for ; end <= position; end += p.size {
			if _, err := tx.Exec(ctx, `select add_events_partition($1, $2)`, end, end+p.size); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make partition for position %d: %w", position, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = max(p.end, end)
	return nil
}
