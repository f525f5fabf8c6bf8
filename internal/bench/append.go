package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/pg"
)

// A plain insert of the same row: no heads, command ids, chain or order, a
// connection per caller, one durable commit each.
const (
	plainTable = `create table if not exists plain (like events including all)`
	plainSQL   = `insert into plain (position, log_id, generation, stream, sequence, tenant, type, version, time, recorded, correlation, causation,
		command, index, count, claims, actor, decidedby, forkedfrom, traceparent, keyids, data, prevhash, hash)
		values ($1, $2, 1, $3, 1, $4, $5, 1, $6, $6, $11, $12, $7, 0, 1, '', $8, '', '', $13, '', $9, $10, $10)`
	// Some are left for the store and for others.
	freeConnections = `select current_setting('max_connections')::int - count(*)::int - 16 from pg_stat_activity where backend_type = 'client backend'`
	lastPlain       = `select coalesce(max(position), 0) from plain`
)

// AppendRate is how many appends, and how many plain inserts, a second were
// answered in one round.
type AppendRate struct {
	Appends, Inserts float64
	Batch            float64 // appends in a transaction
	Connections      int     // that the plain inserts shared
}

// appendRound is how long each side has the machine at a time.
const appendRound = 500 * time.Millisecond

// Append compares the event store with plain inserts by as many callers, in turn,
// because the speed of a disk moves by more than the difference. The database
// must be migrated.
func Append(ctx context.Context, url string, callers, rounds int, logger *slog.Logger) (rates []AppendRate, err error) {
	pools, err := pg.Enter(ctx, pg.Addresses{Database: url}, pg.Options{})
	if err != nil {
		return nil, err
	}
	defer pools.Close()
	var free int
	if err := pools.Writer.QueryRow(ctx, freeConnections).Scan(&free); err != nil {
		return nil, fmt.Errorf("count connections: %w", err)
	}
	durable := map[string]string{"synchronous_commit": "on"}
	connections := min(callers, max(free, 1))
	plainPool, err := pg.Open(ctx, url, pg.Options{MaxConns: int32(connections), Settings: durable})
	if err != nil {
		return nil, err
	}
	defer plainPool.Close()
	if _, err := plainPool.Exec(ctx, plainTable); err != nil {
		return nil, fmt.Errorf("make the plain table: %w", err)
	}
	store, err := postgres.New(ctx, pools.Writer, postgres.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	head, err := store.Head(ctx)
	if err != nil {
		return nil, err
	}
	var position atomic.Int64
	var last int64
	if err := plainPool.QueryRow(ctx, lastPlain).Scan(&last); err != nil {
		return nil, fmt.Errorf("read the plain table: %w", err)
	}
	position.Store(last)
	insert := func(ctx context.Context, a eventstore.Append) error {
		e := a.Writes[0].Events[0]
		_, err := plainPool.Exec(ctx, plainSQL, position.Add(1), head.LogID, string(a.Writes[0].Stream), string(a.Tenant), e.Type, e.Time,
			string(a.Command), a.Actor, e.Data, head.Hash[:], a.Correlation, a.Causation, a.TraceParent)
		return err
	}
	ours := func(ctx context.Context, a eventstore.Append) error {
		_, err := store.Append(ctx, a)
		return err
	}
	for i := range rounds + 1 { // the first warms both up
		r := AppendRate{Connections: connections}
		before := store.Stats()
		if r.Inserts, err = appendsIn(ctx, callers, insert); err != nil {
			return nil, err
		}
		if r.Appends, err = appendsIn(ctx, callers, ours); err != nil {
			return nil, err
		}
		after := store.Stats()
		r.Batch = float64(after.Appends-before.Appends) / float64(max(after.Batches-before.Batches, 1))
		if i > 0 {
			rates = append(rates, r)
		}
	}
	return rates, nil
}

// appendsIn lets callers append 300 bytes to fresh streams for a round, each
// waiting for its answer, and returns how many a second were answered.
func appendsIn(ctx context.Context, callers int, do func(context.Context, eventstore.Append) error) (float64, error) {
	data := fmt.Appendf(nil, `{"text":"%0286d"}`, 0)
	var failed error // the first
	var once sync.Once
	var stop atomic.Bool
	var done atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for range callers {
		group.Go(func() {
			for time.Since(began) < appendRound && !stop.Load() {
				if err := do(ctx, envelope(data, began)); err != nil {
					once.Do(func() { failed = err })
					stop.Store(true)
					return
				}
				done.Add(1)
			}
		})
	}
	group.Wait()
	if failed != nil {
		return 0, fmt.Errorf("append: %w", failed)
	}
	return float64(done.Load()) / time.Since(began).Seconds(), nil
}

// envelope is an append of one event with everything a command's has.
func envelope(data []byte, at time.Time) eventstore.Append {
	id := uuid.Must(uuid.NewV7()).String()
	stream := domain.RunID("run_" + id).Stream(domain.DefaultTenant)
	return eventstore.Append{
		Command: domain.CommandID("key:" + id), Tenant: domain.DefaultTenant, Actor: `[{"id":"bench","kind":"operator"}]`,
		Correlation: id, Causation: id, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Writes: []eventstore.Write{{
			Stream: stream, Expected: eventstore.Absent,
			Events: []eventstore.Proposed{{Type: "run.started", Version: 1, Time: at, Data: data}},
		}},
	}
}
