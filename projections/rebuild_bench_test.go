package projections_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/internal/projection/projectiontest"
	"github.com/hishamos/hishamos/projections"
)

// BenchmarkRebuild fills each read model in Postgres from a store in memory. It
// also reports the processor time per event, here and in Postgres's backends,
// which says more than events/s on a busy machine.
func BenchmarkRebuild(b *testing.B) {
	h := newHistory(b)
	h.fill(9, 16_000)
	for _, d := range projections.All() {
		b.Run(d.Name, func(b *testing.B) {
			var here, there float64
			for b.Loop() {
				b.StopTimer()
				pool := pgtest.New(b)
				r := projectiontest.NewWorld(b, h.store, 4).Runner(b, postgres.New(pgtest.AsWriter(b, pool)), 0, d)
				ownBefore, pgBefore := ownSeconds(b), postgresSeconds(b, pool)
				b.StartTimer()
				if err := r.Rebuild(b.Context(), d.Name); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				here += ownSeconds(b) - ownBefore
				there += postgresSeconds(b, pool) - pgBefore
				b.StartTimer()
			}
			events := float64(len(h.records) * b.N)
			b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(here*1e6/events, "own-µs/event")
			b.ReportMetric(there*1e6/events, "postgres-µs/event")
		})
	}
}

// ownSeconds is the processor time of this process so far.
func ownSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// postgresSeconds is the processor time of the backends of a pool's database,
// when they run on this machine; else 0.
func postgresSeconds(b *testing.B, pool *pgxpool.Pool) float64 {
	rows, err := pool.Query(context.Background(), `select pid from pg_stat_activity where datname = current_database()`)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	var ticks float64
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			b.Fatal(err)
		}
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:13] { // user and system time, in 1/100 s
			n, err := strconv.ParseFloat(f, 64)
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
	}
	return ticks / 100
}
