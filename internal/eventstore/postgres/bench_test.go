package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// A plain insert of the same row: no heads, command ids, chain or order, a
// connection per caller, one durable commit each.
const (
	plainTable = `create table plain (like events including all)`
	plainSQL   = `insert into plain (position, log_id, generation, stream, sequence, tenant, type, version, time, recorded, correlation, causation,
		command, index, count, claims, actor, decidedby, forkedfrom, traceparent, keyids, data, prevhash, hash)
		values ($1, $2, 1, $3, 1, $4, $5, 1, $6, $6, '', '', $7, 0, 1, '', $8, '', '', '', '', $9, $10, $10)`
)

// BenchmarkAppend compares the store with plain inserts, in turn within one run,
// because the speed of a disk moves by more than the difference:
//
//	go test -run '^$' -bench Append -benchtime 5x ./internal/eventstore/postgres
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { compare(b, callers) })
	}
}

const benchRound = 500 * time.Millisecond

func compare(b *testing.B, callers int) {
	url := pgtest.URL(b)
	pool, err := pg.Open(b.Context(), url, pg.Options{MaxConns: int32(callers), Settings: map[string]string{"synchronous_commit": "on"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if _, err := pool.Exec(b.Context(), plainTable); err != nil {
		b.Fatal(err)
	}
	s := open(b, pgtest.Open(b, url), postgres.Options{})
	h, err := s.Head(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var position atomic.Int64
	plain := func(ctx context.Context, a eventstore.Append) error {
		e := a.Writes[0].Events[0]
		_, err := pool.Exec(ctx, plainSQL, position.Add(1), h.LogID, string(a.Writes[0].Stream), string(a.Tenant), e.Type, e.Time,
			string(a.Command), a.Actor, e.Data, h.Hash[:])
		return err
	}
	store := func(ctx context.Context, a eventstore.Append) error {
		_, err := s.Append(ctx, a)
		return err
	}
	round(b, callers, plain) // both warm up
	round(b, callers, store)
	var inserts, appends float64
	rounds := 0.0
	for b.Loop() {
		inserts += round(b, callers, plain)
		appends += round(b, callers, store)
		rounds++
	}
	b.ReportMetric(appends/rounds, "appends/s")
	b.ReportMetric(inserts/rounds, "inserts/s")
	b.ReportMetric(appends/inserts, "ratio")
	b.ReportMetric(0, "ns/op")
	if st := s.Stats(); st.Batches > 0 {
		b.ReportMetric(float64(st.Appends)/float64(st.Batches), "appends/batch")
	}
}

// round lets callers append 300 bytes to fresh streams for a while, each waiting
// for its answer, and returns how many a second were answered.
func round(b *testing.B, callers int, do func(context.Context, eventstore.Append) error) float64 {
	data := fmt.Appendf(nil, `{"text":"%0286d"}`, 0)
	var n atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	end := began.Add(benchRound)
	for range callers {
		group.Go(func() {
			for time.Now().Before(end) {
				a := storetest.To(storetest.Stream("run"), eventstore.Absent, 0)
				a.Writes[0].Events = []eventstore.Proposed{{Type: "run.started", Version: 1, Time: began, Data: data}}
				if err := do(b.Context(), a); err != nil {
					b.Errorf("append: %v", err)
					return
				}
				n.Add(1)
			}
		})
	}
	group.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}
