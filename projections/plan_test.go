package projections_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/projections"
)

// many is how many rows the tables of the test hold, at least.
const many = 20_000

// fillMany puts many rows into every table that is listed, for two tenants. They
// are copies of one row each that a projection wrote, so that they have the
// columns that rows have.
func fillMany(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	copies := func(table string, changed map[string]string) {
		var columns []string
		rows, err := pool.Query(t.Context(), `select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum`, table)
		if err == nil {
			columns, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			t.Fatal(err)
		}
		values := make([]string, len(columns))
		for i, c := range columns {
			values[i] = "one." + c
			if v, ok := changed[c]; ok {
				values[i] = v
			}
		}
		_, err = pool.Exec(t.Context(), fmt.Sprintf(`insert into %s (%s) select %s from (select * from %s limit 1) one, generate_series(1, %d) n`,
			table, strings.Join(columns, ", "), strings.Join(values, ", "), table, many))
		if err == nil {
			_, err = pool.Exec(t.Context(), "analyze "+table)
		}
		if err != nil {
			t.Fatalf("fill %s: %v", table, err)
		}
	}
	const tenant = `case when n % 2 = 0 then 'default' else 't_other' end`
	run := map[string]string{
		"tenant": tenant, "run": `'run_' || n`, "workflow": `'flow' || n % 50`, "started": `one.started + n * interval '1 second'`,
		"started_by": `'actor' || n % 50`, "state": `(array['completed','failed','running','cancelled'])[1 + (n / 2) % 4]`, "valid_from": `n`, "position": `n`,
	}
	copies("runs", run)
	run["valid_to"] = `n + 1`
	copies("runs_history", run)
	step := map[string]string{
		"tenant": tenant, "run": `'run_' || n`, "agent": `'agent' || n % 20`, "workflow": `'flow' || n % 50`, "created": `one.created + n * interval '1 second'`,
		"state": `(array['completed','failed','scheduled','cancelled'])[1 + (n / 2) % 4]`, "valid_from": `n`, "position": `n`,
	}
	copies("steps", step)
	step["valid_to"] = `n + 1`
	copies("steps_history", step)
	flow := map[string]string{
		"tenant": tenant, "workflow": `'workflow_' || n`, "name": `'own-' || lpad(n::text, 6, '0')`, "archived": "n % 10 = 0", "definition_version": "1", "valid_from": `n`, "position": `n`,
	}
	copies("workflows", flow)
	flow["valid_to"] = `n + 1`
	copies("workflows_history", flow)
	delete(flow, "valid_to")
	copies("workflow_versions", flow)
	copies("workflow_versions", map[string]string{"tenant": `'default'`, "workflow": `'workflow_long'`, "definition_version": "n", "position": "n"})
	file := map[string]string{"tenant": tenant, "file": `'file_' || n`, "state": `(array['ready','removed','uploading'])[1 + (n / 2) % 3]`, "valid_from": `n`, "position": `n`}
	copies("files", file)
	file["valid_to"] = `n + 1`
	copies("files_history", file)
	days := map[string]string{"tenant": tenant, "workflow": `'flow' || n / 400`, "agent": `'agent' || n / 400`, "day": `date '2025-01-01' + n % 400`}
	copies("usage_days", days)
	copies("agent_days", days)
	days["position"] = "n"
	copies("usage_changes", days)
	copies("agent_changes", days)
	copies("access_tokens", map[string]string{"tenant": tenant, "token": `'token_' || n`, "secret_hash": `'hash' || n`, "issued": `one.issued + n * interval '1 second'`})
}

// explaining runs every query as it is and keeps how it was carried out.
type explaining struct {
	t    *testing.T
	pool *pgxpool.Pool
	name string
	n    *int
}

// node is a node of a plan.
type node struct {
	Type    string  `json:"Node Type"`
	Table   string  `json:"Relation Name"`
	Rows    float64 `json:"Actual Rows"`
	Loops   float64 `json:"Actual Loops"`
	Removed float64 `json:"Rows Removed by Filter"`
	Plans   []node  `json:"Plans"`
}

// maxTouched is how many rows one page may touch: far below those there are.
const maxTouched = many / 10

func (n node) check(t *testing.T, name, plan string) {
	t.Helper()
	touched := (n.Rows + n.Removed) * n.Loops
	switch {
	case n.Type == "Seq Scan" && touched > 10:
		t.Errorf("%s reads all of %s:\n%s", name, n.Table, plan)
	case strings.Contains(n.Type, "Scan") && touched > maxTouched:
		t.Errorf("%s touches %.0f rows of %s:\n%s", name, touched, n.Table, plan)
	case n.Type == "Sort" && len(n.Plans) == 1 && n.Plans[0].Rows*n.Plans[0].Loops > maxTouched:
		t.Errorf("%s sorts %.0f rows:\n%s", name, n.Plans[0].Rows, plan)
	}
	for _, child := range n.Plans {
		child.check(t, name, plan)
	}
}

func (e explaining) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	var text []byte
	if err := e.pool.QueryRow(ctx, "explain (analyze, format json, timing off) "+sql, args...).Scan(&text); err != nil {
		return nil, err
	}
	var plans []struct {
		Plan node `json:"Plan"`
	}
	if err := json.Unmarshal(text, &plans); err != nil {
		return nil, err
	}
	*e.n++
	plans[0].Plan.check(e.t, e.name, sql+"\n"+string(text))
	return e.pool.Query(ctx, sql, args...)
}

func TestEveryPageAndEveryRowIsReadFromAnIndex(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	h.fill(2, 25)
	h.add(h.stream(domain.SystemTenant, "token"), events.TokenIssued{Tenant: "t_other", SecretHash: "one"})
	pool := pgtest.New(t)
	project(t, h.store, postgres.New(pgtest.AsWriter(t, pool)))
	fillMany(t, pool)
	var path domain.StepPath // of all copies
	if err := pool.QueryRow(t.Context(), `select path from steps where run = 'run_30'`).Scan(&path); err != nil {
		t.Fatal(err)
	}
	asked := 0
	db := func(name string) explaining { return explaining{t, pool, name, &asked} }
	const tenant = domain.DefaultTenant
	pages := func(name string, list func(after string) (next string, err error)) {
		t.Helper()
		next, err := list("")
		if err == nil && next == "" {
			t.Errorf("%s has one page only: the test shows nothing", name)
			return
		}
		if err == nil {
			_, err = list(next)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, at := range []domain.Position{0, many / 2} {
		for _, up := range []bool{false, true} {
			for name, f := range map[string]projections.RunFilter{
				"all": {}, "state": {States: []string{"failed"}}, "states": {States: []string{"failed", "completed"}}, "workflow": {Workflow: "flow4"},
				"actor": {StartedBy: "actor4"}, "since": {Since: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
			} {
				if at != 0 && !up {
					continue // the newest of then lie behind all that began since
				}
				f.At, f.OldestFirst = at, up
				label := fmt.Sprintf("runs by %s at %d, oldest first %t", name, at, up)
				pages(label, func(after string) (string, error) {
					p, err := projections.Runs{DB: db(label)}.List(t.Context(), tenant, f, after, 20)
					return p.Next, err
				})
			}
			for name, f := range map[string]projections.TaskFilter{
				"all": {}, "state": {States: []string{"failed"}}, "agent": {Agent: "agent4"}, "workflow": {Workflow: "flow4"},
			} {
				if at != 0 && !up {
					continue
				}
				f.At, f.OldestFirst = at, up
				label := fmt.Sprintf("tasks by %s at %d, oldest first %t", name, at, up)
				pages(label, func(after string) (string, error) {
					p, err := projections.Tasks{DB: db(label)}.List(t.Context(), tenant, f, after, 20)
					return p.Next, err
				})
			}
			for name, f := range map[string]projections.FileFilter{"all": {}, "state": {State: "ready"}} {
				if at != 0 && !up {
					continue
				}
				f.At, f.OldestFirst = at, up
				label := fmt.Sprintf("files by %s at %d, oldest first %t", name, at, up)
				pages(label, func(after string) (string, error) {
					p, err := projections.Files{DB: db(label)}.List(t.Context(), tenant, f, after, 20)
					return p.Next, err
				})
			}
			if at == 0 || !up {
				label := fmt.Sprintf("workflows at %d, descending %t", at, up)
				f := projections.WorkflowFilter{At: at, Descending: up}
				pages(label, func(after string) (string, error) {
					p, err := projections.Workflows{DB: db(label)}.List(t.Context(), tenant, f, after, 20)
					return p.Next, err
				})
			}
			if at != 0 && !up {
				continue
			}
			label := fmt.Sprintf("versions at %d, oldest first %t", at, up)
			pages(label, func(after string) (string, error) {
				p, err := projections.Workflows{DB: db(label)}.VersionPage(t.Context(), tenant, "workflow_long", projections.VersionFilter{At: at, NewestFirst: !up}, after, 20)
				return p.Next, err
			})
		}
	}
	for _, at := range []domain.Position{0, many / 2} {
		one := func(what string, err error) {
			t.Helper()
			if err != nil {
				t.Errorf("%s at %d: %v", what, at, err)
			}
		}
		_, err := projections.Runs{DB: db(fmt.Sprintf("a run at %d", at))}.Get(t.Context(), tenant, "run_30", at)
		one("a run", err)
		_, err = projections.Files{DB: db(fmt.Sprintf("a file at %d", at))}.Get(t.Context(), tenant, "file_30", at)
		one("a file", err)
		_, err = projections.Workflows{DB: db(fmt.Sprintf("a workflow at %d", at))}.Get(t.Context(), tenant, "workflow_30", at)
		one("a workflow", err)
		_, err = projections.Tasks{DB: db(fmt.Sprintf("a task at %d", at))}.Get(t.Context(), tenant, "run_30", path, at)
		one("a task", err)
	}
	for _, newest := range []bool{false, true} {
		for _, f := range []projections.UsageFilter{
			{},
			{From: "2025-02-01", To: "2025-03-01"},
			{ID: "flow3"},
			{ID: "agent3"},
			{At: many - 1},
			{At: many - 1, From: "2025-02-01", To: "2025-03-01"},
			{At: many - 1, ID: "flow3"},
			{At: many - 1, ID: "agent3"},
		} {
			f.NewestFirst = newest
			label := fmt.Sprintf("usage %+v", f)
			if !strings.HasPrefix(f.ID, "agent") {
				pages(label, func(after string) (string, error) {
					p, err := projections.Usage{DB: db(label)}.Workflows(t.Context(), tenant, f, after, 20)
					return p.Next, err
				})
			}
			if !strings.HasPrefix(f.ID, "flow") {
				pages(label, func(after string) (string, error) {
					p, err := projections.Usage{DB: db(label)}.Agents(t.Context(), tenant, f, after, 20)
					return p.Next, err
				})
			}
		}
	}
	if asked < 60 {
		t.Errorf("only %d queries were explained", asked)
	}
}
