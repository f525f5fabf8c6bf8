package projections_test

import (
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/projections"
)

// Lists put their conditions together, so every combination is run. The other
// statements are run by the tests of their queries.
func TestEveryCombinationOfFiltersIsAValidStatement(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	pick := func(bits, bit int, values ...string) []string {
		if bits&(1<<bit) == 0 {
			return nil
		}
		return values
	}
	one := func(bits, bit int, value string) string {
		if bits&(1<<bit) == 0 {
			return ""
		}
		return value
	}
	for bits := range 1 << 7 {
		at := domain.Position(bits & 1)
		runs := projections.RunFilter{At: at, States: pick(bits, 1, "failed"), Workflow: one(bits, 2, "w"), StartedBy: one(bits, 3, "ada"), OldestFirst: bits&(1<<4) > 0}
		if bits&(1<<5) > 0 {
			runs.Since, runs.Until = time.Now(), time.Now()
		}
		if bits&(1<<6) > 0 {
			runs.States = append(runs.States, "running", "completed")
		}
		if _, err := (projections.Runs{DB: pool}).List(t.Context(), "default", runs, "", 10); err != nil {
			t.Errorf("%+v: %v", runs, err)
		}
		tasks := projections.TaskFilter{
			At: at, States: runs.States, Workflow: runs.Workflow, RequestedBy: runs.StartedBy, OldestFirst: runs.OldestFirst,
			Agent: one(bits, 5, "a"), Run: domain.RunID(one(bits, 6, "run_1")),
		}
		if _, err := (projections.Tasks{DB: pool}).List(t.Context(), "default", tasks, "", 10); err != nil {
			t.Errorf("%+v: %v", tasks, err)
		}
	}
}

func TestNoQueryAnswersAnotherTenant(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.fill(5, 20)
	pool := projected(t, h)
	const stranger = domain.Tenant("t_stranger")
	for _, at := range []domain.Position{0, h.records[len(h.records)-1].Position} {
		if p, err := (projections.Runs{DB: pool}).List(t.Context(), stranger, projections.RunFilter{At: at}, "", 10); err != nil || len(p.Rows) > 0 {
			t.Errorf("runs at %d: %d, %v", at, len(p.Rows), err)
		}
		if p, err := (projections.Tasks{DB: pool}).List(t.Context(), stranger, projections.TaskFilter{At: at}, "", 10); err != nil || len(p.Rows) > 0 {
			t.Errorf("tasks at %d: %d, %v", at, len(p.Rows), err)
		}
		if p, err := (projections.Workflows{DB: pool}).List(t.Context(), stranger, projections.WorkflowFilter{At: at}, "", 10); err != nil || len(p.Rows) > 0 {
			t.Errorf("workflows at %d: %d, %v", at, len(p.Rows), err)
		}
		if p, err := (projections.Files{DB: pool}).List(t.Context(), stranger, projections.FileFilter{At: at}, "", 10); err != nil || len(p.Rows) > 0 {
			t.Errorf("files at %d: %d, %v", at, len(p.Rows), err)
		}
	}
	if p, err := (projections.Usage{DB: pool}).Workflows(t.Context(), stranger, projections.UsageFilter{}, "", 0); err != nil || len(p.Rows) > 0 {
		t.Errorf("usage: %v, %v", p, err)
	}
	if list, err := (projections.Tokens{DB: pool}).List(t.Context(), stranger, projections.TokenFilter{}, "", 10); err != nil || len(list.Rows) > 0 {
		t.Errorf("tokens: %v, %v", list, err)
	}
}
