package projections_test

import (
	"testing"

	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/internal/projection/projectiontest"
	"github.com/hishamos/hishamos/projections"
)

// BenchmarkRebuild fills each read model in Postgres from a store in memory.
func BenchmarkRebuild(b *testing.B) {
	h := newHistory(b)
	h.fill(9, 16_000)
	for _, d := range projections.All() {
		b.Run(d.Name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				r := projectiontest.NewWorld(b, h.store, 4).Runner(b, postgres.New(pgtest.New(b)), 0, d)
				b.StartTimer()
				if err := r.Rebuild(b.Context(), d.Name); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(h.records)*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
