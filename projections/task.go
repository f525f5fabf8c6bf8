package projections

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hishamos/hishamos/domain"
)

// Task is one job of one agent: a step with an agent, and what its run was
// given. The rows are those of run.go.
type Task struct {
	Step
	RunInputs map[string]json.RawMessage `db:"run_inputs"`
}

// Tasks are the queries over agent tasks.
type Tasks struct{ DB DB }

// TaskFilter narrows a list; zero fields do not.
type TaskFilter struct {
	States      []string
	Agent       string
	Workflow    string
	Run         domain.RunID
	RequestedBy string
	OldestFirst bool
	At          domain.Position
}

// ErrTaskNotFound is also the answer for another tenant's task.
var ErrTaskNotFound = &domain.Error{Kind: domain.NotFound, Code: "task.not_found", Message: "there is no such task"}

const taskInputsSQL = `
select inputs as run_inputs from runs where build = ` + liveRuns + ` and tenant = $1 and run = $2`

// Get returns a task as of a position; 0: now.
func (t Tasks) Get(ctx context.Context, tenant domain.Tenant, run domain.RunID, path domain.StepPath, at domain.Position) (Task, error) {
	q := source(tenant, at, stepsNow, stepsAsOf)
	q.where("s.run = %s and s.path = %s and s.agent <> ''", run, path)
	found, err := collect[Step](ctx, t.DB, q.sql, q.args)
	if err != nil {
		return Task{}, fmt.Errorf("get task %s of run %s: %w", path, run, err)
	}
	if len(found) == 0 {
		return Task{}, ErrTaskNotFound
	}
	type inputs struct {
		RunInputs map[string]json.RawMessage `db:"run_inputs"`
	}
	given, err := collect[inputs](ctx, t.DB, taskInputsSQL, []any{tenant, run})
	if err != nil {
		return Task{}, fmt.Errorf("get the inputs of run %s: %w", run, err)
	}
	task := Task{Step: found[0]}
	if len(given) == 1 {
		task.RunInputs = given[0].RunInputs
	}
	return task, nil
}

// List returns a page of tasks, the newest first unless the filter says
// otherwise.
func (t Tasks) List(ctx context.Context, tenant domain.Tenant, f TaskFilter, after string, limit int) (Page[Step], error) {
	q := source(tenant, f.At, stepsNow, stepsAsOf)
	q.where("s.agent <> ''")
	if f.At != 0 { // what the live row says never changed, and has the index
		q.where("s.performer <> ''")
		if f.Agent != "" {
			q.where("s.performer = %s", f.Agent)
		}
	}
	q.oneOf("s.state", f.States)
	// In a fixed order, so that one filter is one statement to prepare.
	for _, c := range [][2]string{{"s.agent", f.Agent}, {"s.workflow", f.Workflow}, {"s.run", string(f.Run)}, {"s.requested_by", f.RequestedBy}} {
		if c[1] != "" {
			q.where(c[0]+" = %s", c[1])
		}
	}
	created := order[Step]{
		"tasks", !f.OldestFirst,
		[]string{"s.created", "s.run", "s.path"},
		func(s *Step) []any { return []any{&s.Created, &s.Run, &s.Path} },
	}
	return page(ctx, t.DB, q, created, after, limit)
}
