package projections_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/projection/memory"
	"github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/internal/projection/projectiontest"
	"github.com/hishamos/hishamos/projections"
)

// project fills every read model from a store.
func project(t testing.TB, reader eventstore.Reader, s projection.Store) {
	t.Helper()
	r := projectiontest.NewWorld(t, reader, 4).Runner(t, s, 0, projections.All()...)
	if err := r.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func projected(t testing.TB, h *history) *pgxpool.Pool {
	t.Helper()
	pool := pgtest.New(t)
	project(t, h.store, postgres.New(pgtest.AsWriter(t, pool)))
	return pool
}

func rowsOf[R any](t testing.TB, s projection.Store, d *projection.Definition, table int) []R {
	t.Helper()
	b, _, err := s.Live(t.Context(), d.Name, d.Version)
	if err != nil {
		t.Fatal(err)
	}
	var rows []R
	err = s.Scan(t.Context(), b, d.Tables[table], false, func(row any, _, _ domain.Position) error {
		rows = append(rows, *row.(*R))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// runsOf adds up the rows of a store as an answer does.
func runsOf(t testing.TB, s projection.Store) []projections.Run {
	t.Helper()
	d := projections.RunsDefinition()
	rows := rowsOf[projections.RunRow](t, s, d, 0)
	steps := rowsOf[projections.Step](t, s, d, 1)
	slices.SortFunc(steps, func(a, b projections.Step) int {
		if a.Scheduled != nil && b.Scheduled != nil && !a.Scheduled.Equal(*b.Scheduled) {
			return a.Scheduled.Compare(*b.Scheduled)
		}
		return strings.Compare(string(a.Path), string(b.Path))
	})
	runs := make([]projections.Run, len(rows))
	for i, row := range rows {
		r := projections.Run{RunRow: row}
		for _, s := range steps {
			if s.Tenant != r.Tenant || s.Run != r.Run {
				continue
			}
			switch s.State {
			case projections.Completed, projections.Failed, projections.Skipped:
				r.StepsDone++
			case projections.Scheduled, projections.Retrying:
				r.CurrentSteps = append(r.CurrentSteps, s.Path)
			}
			r.TokensInput, r.TokensCached, r.TokensCacheWrite = r.TokensInput+s.TokensInput, r.TokensCached+s.TokensCached, r.TokensCacheWrite+s.TokensCacheWrite
			r.TokensOutput, r.TokensReasoning, r.Cost = r.TokensOutput+s.TokensOutput, r.TokensReasoning+s.TokensReasoning, r.Cost+s.Cost
			r.Simulated = r.Simulated || s.Simulated
			if s.Position > r.Position {
				r.Version, r.Position, r.Updated = s.Version, s.Position, s.Updated
			}
		}
		runs[i] = r
	}
	return runs
}

func allRuns(t testing.TB, q projections.Runs, f projections.RunFilter) []projections.Run {
	t.Helper()
	var all []projections.Run
	for _, tenant := range []domain.Tenant{domain.DefaultTenant, "t_other"} {
		for next := ""; ; {
			page, err := q.List(t.Context(), tenant, f, next, 7)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page.Rows...)
			if next = page.Next; next == "" {
				break
			}
		}
	}
	return all
}

func allTasks(t testing.TB, q projections.Tasks, f projections.TaskFilter) []projections.Step {
	t.Helper()
	var all []projections.Step
	for _, tenant := range []domain.Tenant{domain.DefaultTenant, "t_other"} {
		for next := ""; ; {
			page, err := q.List(t.Context(), tenant, f, next, 11)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page.Rows...)
			if next = page.Next; next == "" {
				break
			}
		}
	}
	return all
}

func TestListsAsOfAPositionAreTheListsOfThatTime(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.fill(2, 25)
	pool := projected(t, h)
	runsDef, flowsDef := projections.RunsDefinition(), projections.WorkflowsDefinition()
	options := []cmp.Option{
		cmpopts.IgnoreFields(projections.RunRow{}, "Paths"),                              // content of today, never shown
		cmpopts.IgnoreFields(projections.Step{}, "DueVersion", "DuePosition", "DueFrom"), // the history of a row
		cmpopts.EquateEmpty(),
		cmpopts.SortSlices(func(a, b projections.Run) bool { return a.Run < b.Run }),
		cmpopts.SortSlices(func(a, b projections.Step) bool { return fmt.Sprint(a.Run, a.Path) < fmt.Sprint(b.Run, b.Path) }),
		cmpopts.SortSlices(func(a, b projections.Workflow) bool { return a.Workflow < b.Workflow }),
		cmpopts.SortSlices(func(a, b projections.UsageDay) bool {
			return fmt.Sprint(a.Tenant, a.Day, a.Workflow) < fmt.Sprint(b.Tenant, b.Day, b.Workflow)
		}),
		cmpopts.SortSlices(func(a, b projections.AgentDay) bool {
			return fmt.Sprint(a.Tenant, a.Day, a.Agent) < fmt.Sprint(b.Tenant, b.Day, b.Agent)
		}),
	}
	for i, r := range h.records {
		if r.Index < r.Count-1 || i%9 != 0 && i < len(h.records)-1 {
			continue // an append becomes visible as a whole
		}
		old := memory.New()
		project(t, projectiontest.Until(h.store, r.Position), old)
		if diff := cmp.Diff(runsOf(t, old), allRuns(t, projections.Runs{DB: pool}, projections.RunFilter{At: r.Position}), options...); diff != "" {
			t.Fatalf("runs at %d (-then +as of): %s", r.Position, diff)
		}
		if diff := cmp.Diff(rowsOf[projections.Step](t, old, runsDef, 1), allTasks(t, projections.Tasks{DB: pool}, projections.TaskFilter{At: r.Position}), options...); diff != "" {
			t.Fatalf("tasks at %d (-then +as of): %s", r.Position, diff)
		}
		var flows []projections.Workflow
		for _, tenant := range []domain.Tenant{domain.DefaultTenant, "t_other"} {
			page, err := projections.Workflows{DB: pool}.List(t.Context(), tenant, projections.WorkflowFilter{Archived: true, At: r.Position}, "", 500)
			if err != nil {
				t.Fatal(err)
			}
			flows = append(flows, page.Rows...)
		}
		if diff := cmp.Diff(rowsOf[projections.Workflow](t, old, flowsDef, 0), flows, options...); diff != "" {
			t.Fatalf("workflows at %d (-then +as of): %s", r.Position, diff)
		}
		q, usageDef := projections.Usage{DB: pool}, projections.UsageDefinition()
		f := projections.UsageFilter{At: r.Position}
		if diff := cmp.Diff(rowsOf[projections.UsageDay](t, old, usageDef, 1), allDays(t, q.Workflows, f), options...); diff != "" {
			t.Fatalf("usage at %d (-then +as of): %s", r.Position, diff)
		}
		if diff := cmp.Diff(rowsOf[projections.AgentDay](t, old, usageDef, 2), allDays(t, q.Agents, f), options...); diff != "" {
			t.Fatalf("usage of agents at %d (-then +as of): %s", r.Position, diff)
		}
	}
}

// allDays reads a report of all tenants, page by page.
func allDays[R any](t testing.TB, report func(context.Context, domain.Tenant, projections.UsageFilter, string, int) (projections.Page[R], error), f projections.UsageFilter) []R {
	t.Helper()
	var all []R
	for _, tenant := range []domain.Tenant{domain.DefaultTenant, "t_other"} {
		for after, more := "", true; more; {
			page, err := report(t.Context(), tenant, f, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			all, after, more = append(all, page.Rows...), page.Next, page.Next != ""
		}
	}
	return all
}

func TestPagesInEitherOrderHoldEveryRowOnce(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.fill(3, 40)
	pool := projected(t, h)
	for _, oldest := range []bool{false, true} {
		got := allRuns(t, projections.Runs{DB: pool}, projections.RunFilter{OldestFirst: oldest})
		if len(got) != 40 {
			t.Errorf("oldest first %t: %d runs, want 40", oldest, len(got))
		}
		default1 := slices.IndexFunc(got, func(r projections.Run) bool { return r.Tenant == "t_other" })
		first := got[:default1]
		if !slices.IsSortedFunc(first, func(a, b projections.Run) int {
			if oldest {
				return a.Started.Compare(b.Started)
			}
			return b.Started.Compare(a.Started)
		}) {
			t.Errorf("oldest first %t: not in order", oldest)
		}
	}
	failed := allRuns(t, projections.Runs{DB: pool}, projections.RunFilter{States: []string{projections.Failed}})
	two := allRuns(t, projections.Runs{DB: pool}, projections.RunFilter{States: []string{projections.Failed, projections.Cancelled}})
	if len(failed) == 0 || len(two) <= len(failed) {
		t.Errorf("%d failed, %d failed or cancelled", len(failed), len(two))
	}
	for _, r := range failed {
		if r.State != projections.Failed || r.ErrorCode != "step.failed" || r.Ended == nil || len(r.CurrentSteps) > 0 {
			t.Errorf("failed run is %+v", r)
		}
	}
}

func TestACursorOfAnotherListIsRefused(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.fill(4, 30)
	pool := projected(t, h)
	page, err := projections.Runs{DB: pool}.List(t.Context(), domain.DefaultTenant, projections.RunFilter{}, "", 2)
	if err != nil || page.Next == "" {
		t.Fatalf("first page: next %q, %v", page.Next, err)
	}
	if _, err := (projections.Runs{DB: pool}).List(t.Context(), domain.DefaultTenant, projections.RunFilter{OldestFirst: true}, page.Next, 2); !errors.Is(err, projections.ErrCursor) {
		t.Errorf("the other order: %v", err)
	}
	if _, err := (projections.Tasks{DB: pool}).List(t.Context(), domain.DefaultTenant, projections.TaskFilter{}, page.Next, 2); !errors.Is(err, projections.ErrCursor) {
		t.Errorf("another list: %v", err)
	}
	if _, err := (projections.Tasks{DB: pool}).List(t.Context(), domain.DefaultTenant, projections.TaskFilter{}, "nonsense", 2); !errors.Is(err, projections.ErrCursor) {
		t.Errorf("nonsense: %v", err)
	}
	forged := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for _, text := range []string{`{"o":"runs desc","a":["yesterday","run_1"]}`, `{"o":"runs desc","a":["2026-11-22T10:00:00Z"]}`, `{"o":"runs desc","a":[1,2]}`} {
		if _, err := (projections.Runs{DB: pool}).List(t.Context(), domain.DefaultTenant, projections.RunFilter{}, forged(text), 2); !errors.Is(err, projections.ErrCursor) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := (projections.Usage{DB: pool}).Workflows(t.Context(), domain.DefaultTenant, projections.UsageFilter{}, forged(`{"o":"usage by workflow asc","a":["yesterday","flow"]}`), 2); !errors.Is(err, projections.ErrCursor) {
		t.Errorf("a day that is none: %v", err)
	}
}

func TestARunShowsItsStepsFromTheStartAndCancelsWhatIsLeft(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	run := h.stream(domain.DefaultTenant, "run")
	id := domain.RunID(run.Entity())
	atStart := h.add(run, started(definition("flow", 3)), h.scheduled("step0", 1))
	h.add(run, spent("step0", 1, 10, true), h.completed("step0", 1), h.scheduled("step1", 1))
	h.add(run, events.RunCancelled{Reason: "enough"})
	h.add(run, spent("step1", 1, 4, false))
	q := projections.Runs{DB: projected(t, h)}

	then, err := q.Get(t.Context(), domain.DefaultTenant, id, atStart)
	if err != nil {
		t.Fatal(err)
	}
	states := func(r projections.RunWithSteps) (s []string) {
		for _, step := range r.Steps {
			s = append(s, step.State)
		}
		return s
	}
	if diff := cmp.Diff([]string{"scheduled", "waiting", "waiting"}, states(then)); diff != "" {
		t.Errorf("at the start: %s", diff)
	}
	if then.State != projections.Running || then.Steps[0].Output != nil || string(then.Inputs["go"]) != "true" {
		t.Errorf("at the start: state %s, output %s, inputs %v", then.State, then.Steps[0].Output, then.Inputs)
	}
	now, err := q.Get(t.Context(), domain.DefaultTenant, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"completed", "cancelled", "cancelled"}, states(now)); diff != "" {
		t.Errorf("now: %s", diff)
	}
	if now.State != projections.Cancelled || now.Reason != "enough" || now.StepsDone != 1 || now.StepsTotal != 3 || now.StartedBy != "ada" {
		t.Errorf("now: %+v", now.Run)
	}
	if now.TokensInput != 14 || now.TokensOutput != 28 || now.Cost != 14_000 || !now.Simulated || now.Steps[1].Cost != 4_000 {
		t.Errorf("tokens now: %+v", now.Run)
	}
	if _, err := q.Get(t.Context(), "t_other", id, 0); !errors.Is(err, projections.ErrRunNotFound) {
		t.Errorf("another tenant's question: %v", err)
	}
	if _, err := q.Get(t.Context(), domain.DefaultTenant, id, atStart-1); !errors.Is(err, projections.ErrRunNotFound) {
		t.Errorf("before it began: %v", err)
	}
	task, err := projections.Tasks(q).Get(t.Context(), domain.DefaultTenant, id, "step0", 0)
	if err != nil {
		t.Fatal(err)
	}
	if task.RequestedBy != "ada" || task.Attempts != 1 || task.Agent != "agent0" || task.Provider != "simulated" || len(task.RunInputs) != 2 {
		t.Errorf("task: %+v", task)
	}
}

// A step that is no task has no row before anything happens to it.
func TestAStepThatIsNoTaskIsShownAsATaskIs(t *testing.T) {
	t.Parallel()
	tasks, noTasks := newHistory(t), newHistory(t)
	noTasks.noAgent = true
	tasks.fill(5, 15)
	noTasks.fill(5, 15)
	a, b := projections.Runs{DB: projected(t, tasks)}, projections.Runs{DB: projected(t, noTasks)}
	options := []cmp.Option{
		cmpopts.IgnoreFields(projections.Step{}, "Kind", "Agent", "AgentVersion", "Template", "TemplateVersion"),
		cmpopts.EquateEmpty(),
	}
	seen := make(map[string]int)
	for i, r := range noTasks.records {
		if r.Stream.Kind() != "run" || r.Index < r.Count-1 {
			continue // an append becomes visible as a whole
		}
		for _, at := range []domain.Position{r.Position, 0} {
			want, err := a.Get(t.Context(), r.Stream.Tenant(), domain.RunID(tasks.records[i].Stream.Entity()), at)
			if err != nil {
				t.Fatal(err)
			}
			got, err := b.Get(t.Context(), r.Stream.Tenant(), domain.RunID(r.Stream.Entity()), at)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, options...); diff != "" {
				t.Fatalf("run %s at %d (-tasks +no tasks): %s", r.Stream, at, diff)
			}
			for _, s := range got.Steps {
				seen[s.State]++
			}
		}
	}
	for _, state := range []string{projections.Waiting, projections.Scheduled, projections.Completed, projections.Skipped, projections.Cancelled} {
		if seen[state] == 0 {
			t.Errorf("no step was seen %s", state)
		}
	}
	rows := rowsOf[projections.Step](t, postgres.New(pgtest.AsWriter(t, b.DB.(*pgxpool.Pool))), projections.RunsDefinition(), 1)
	for _, s := range rows {
		if s.State == projections.Waiting || s.State == projections.Cancelled && s.Scheduled == nil {
			t.Errorf("step %s of run %s has a row, and nothing happened to it", s.Path, s.Run)
		}
	}
	var zeros int
	err := b.DB.(*pgxpool.Pool).QueryRow(t.Context(), `select count(*) from steps where agent = '' or reason = '' or cost = 0 or not simulated`).Scan(&zeros)
	if err != nil || zeros > 0 {
		t.Errorf("%d rows hold a zero that takes room, %v", zeros, err)
	}
}

func TestUsageCountsOnTheDayItHappened(t *testing.T) {
	t.Parallel()
	h := newHistory(t) // one minute before midnight
	run := h.stream(domain.DefaultTenant, "run")
	h.add(run, started(definition("flow", 1)), h.scheduled("step0", 1))
	h.now = h.now.Add(2 * time.Minute)
	h.add(run, spent("step0", 1, 10, true), h.completed("step0", 1), events.RunCompleted{})
	q := projections.Usage{DB: projected(t, h)}
	days, err := q.Workflows(t.Context(), domain.DefaultTenant, projections.UsageFilter{}, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []projections.UsageDay{
		{Tenant: "default", Workflow: "flow", Day: "2026-11-22", Started: 1},
		{
			Tenant: "default", Workflow: "flow", Day: "2026-11-23", Completed: 1, Ended: 1, DurationMS: 121_500, Simulated: 1,
			Calls: 1, SimulatedCalls: 1, TokensInput: 10, TokensOutput: 20, TokensReasoning: 1, Cost: 10_000,
		},
	}
	if diff := cmp.Diff(want, days.Rows); diff != "" {
		t.Error(diff)
	}
	agents, err := q.Agents(t.Context(), domain.DefaultTenant, projections.UsageFilter{From: "2026-11-23", To: "2026-11-23", ID: "agent0"}, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if a := agents.Rows; len(a) != 1 || a[0].Completed != 1 || a[0].Attempts != 0 || a[0].TokensInput != 10 {
		t.Errorf("agents: %+v", agents)
	}
	if _, err := q.Agents(t.Context(), domain.DefaultTenant, projections.UsageFilter{From: "yesterday"}, "", 0); domain.KindOf(err) != domain.Invalid {
		t.Errorf("a day that is none: %v", err)
	}
}

func TestOnlyTheNewestSecretOfAValidTokenOpens(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	k := h.stream(domain.SystemTenant, "token")
	h.add(k, events.TokenIssued{Tenant: "t_other", Actor: domain.Actor{ID: "bob", Kind: domain.Human}, Permissions: []domain.Permission{domain.RunRead}, SecretHash: "one"})
	h.add(k, events.TokenRotated{SecretHash: "two"})
	gone := h.stream(domain.SystemTenant, "token")
	h.add(gone, events.TokenIssued{Tenant: "t_other", SecretHash: "three"})
	h.add(gone, events.TokenRevoked{})
	q := projections.Tokens{DB: projected(t, h)}
	got, err := q.BySecret(t.Context(), "two")
	if err != nil || got.Owner != "t_other" || got.ActorID != "bob" || !slices.Equal(got.Permissions, []domain.Permission{domain.RunRead}) {
		t.Errorf("newest: %+v, %v", got, err)
	}
	for _, hash := range []string{"one", "three", ""} {
		if _, err := q.BySecret(t.Context(), hash); !errors.Is(err, projections.ErrNoToken) {
			t.Errorf("%q: %v", hash, err)
		}
	}
	var ids []string
	for _, f := range []projections.TokenFilter{{}, {Descending: true}} {
		for after, more := "", true; more; {
			page, err := q.List(t.Context(), domain.SystemTenant, f, after, 1)
			if err != nil || len(page.Rows) != 1 {
				t.Fatalf("list: %v, %v", page, err)
			}
			one := page.Rows[0]
			if one.Revoked != (one.Token == gone.Entity()) {
				t.Errorf("%+v", one)
			}
			ids = append(ids, one.Token)
			after, more = page.Next, page.Next != ""
		}
	}
	if len(ids) != 4 || ids[0] >= ids[1] || ids[2] != ids[1] || ids[3] != ids[0] {
		t.Errorf("by id, then the other way round: %v", ids)
	}
	first, err := q.List(t.Context(), domain.SystemTenant, projections.TokenFilter{}, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.List(t.Context(), domain.SystemTenant, projections.TokenFilter{Descending: true}, first.Next, 1); !errors.Is(err, projections.ErrCursor) {
		t.Errorf("a cursor of the other order: %v", err)
	}
}

func TestVersionsOfAWorkflowAreKept(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	w := h.stream(domain.DefaultTenant, "workflow")
	one := definition("mine", 1)
	one.Version = 1
	first := h.add(w, events.WorkflowCreated{Definition: one, Hash: one.Hash()})
	two := definition("mine", 2)
	h.add(w, events.WorkflowRevised{Definition: two, Hash: two.Hash()})
	h.add(w, events.WorkflowArchived{})
	q := projections.Workflows{DB: projected(t, h)}
	for number, want := range map[int]domain.Definition{1: one, 2: two} {
		v, err := q.Version(t.Context(), domain.DefaultTenant, w.Entity(), number, 0)
		if err != nil || v.DefinitionVersion != number || v.Definition.Hash() != want.Hash() {
			t.Errorf("version %d: %+v, %v", number, v, err)
		}
	}
	for number, at := range map[int]domain.Position{2: first, 3: 0} {
		if v, err := q.Version(t.Context(), domain.DefaultTenant, w.Entity(), number, at); !errors.Is(err, projections.ErrWorkflowNotFound) {
			t.Errorf("version %d as of %d: %+v, %v", number, at, v, err)
		}
	}
	then, err := q.Get(t.Context(), domain.DefaultTenant, w.Entity(), first)
	if err != nil || then.Archived || then.Definition.Hash() != one.Hash() {
		t.Errorf("then: %+v, %v", then, err)
	}
	now, err := q.Get(t.Context(), domain.DefaultTenant, w.Entity(), 0)
	if err != nil || !now.Archived || now.Definition.Hash() != two.Hash() || now.CreatedBy != "ada" {
		t.Errorf("now: %+v, %v", now, err)
	}
	if page, err := q.List(t.Context(), domain.DefaultTenant, projections.WorkflowFilter{}, "", 0); err != nil || len(page.Rows) != 0 {
		t.Errorf("archived ones are listed: %+v, %v", page, err)
	}
}
