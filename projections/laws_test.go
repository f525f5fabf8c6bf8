package projections_test

import (
	"testing"

	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/internal/projection/projectiontest"
	"github.com/hishamos/hishamos/projections"
)

func TestEveryProjectionComesOutTheSameHoweverEventsReachIt(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.fill(1, 60)
	for _, d := range projections.All() {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			projectiontest.Laws(t, d, h.store, h.records, func(t *testing.T) projection.Store { return postgres.New(pgtest.AsWriter(t, pgtest.New(t))) })
		})
	}
}
