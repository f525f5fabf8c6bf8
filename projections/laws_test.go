package projections_test

import (
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/projection/memory"
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

func TestAStreamWhoseBeginningIsMissingIsParked(t *testing.T) {
	t.Parallel()
	for kind, c := range map[string]struct {
		by    *projection.Definition
		event events.Event
	}{
		"run":      {projections.RunsDefinition(), events.RunCancelled{}},
		"workflow": {projections.WorkflowsDefinition(), events.WorkflowArchived{}},
		"file":     {projections.FilesDefinition(), events.FileUsed{By: "run_1"}},
		"token":    {projections.TokensDefinition(), events.TokenRevoked{}},
	} {
		h, s := newHistory(t), memory.New()
		h.add(h.stream(domain.DefaultTenant, kind), c.event)
		r := projectiontest.NewWorld(t, h.store, 1).Runner(t, s, 0, c.by)
		if err := r.Rebuild(t.Context(), c.by.Name); err != nil {
			t.Fatal(err)
		}
		b, _, err := s.Live(t.Context(), c.by.Name, c.by.Version)
		if err != nil {
			t.Fatal(err)
		}
		if parked, err := s.Parked(t.Context(), b); err != nil || len(parked) != 1 || parked[0].Stream != h.records[0].Stream {
			t.Errorf("%s: %+v, %v", kind, parked, err)
		}
	}
}
