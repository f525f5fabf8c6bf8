package projections

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Runs are the queries over runs. Every answer can be as of a position of the
// past; 0 is now. For an instant, ask the event store for its position first.
type Runs struct{ DB DB }

// RunFilter narrows a list; zero fields do not.
type RunFilter struct {
	States      []string
	Workflow    string
	Since       time.Time // started at or after
	Until       time.Time // started before
	StartedBy   string
	OldestFirst bool
	At          domain.Position
}

// RunWithSteps is a run and its steps in the order of the definition.
type RunWithSteps struct {
	Run
	Steps []Step
}

// The history has only what changes. The rest is taken from the row of today:
// what the first event fixed as it is, outputs only when they were there. The plan
// is asked for by itself, where it matters.
const (
	runRow = `r.tenant, r.run, r.workflow, r.workflow_version, r.title, r.state, r.priority, r.steps_total,
    r.started_by, coalesce(r.reason, '') as reason, coalesce(r.error_code, '') as error_code,
    coalesce(r.error_message, '') as error_message, coalesce(r.error_path, '') as error_path, r.started, r.ended, r.deadline, r.paths, r.inputs, r.outputs, null::json as plan,
    greatest(r.version, p.version) as version, greatest(r.position, p.position) as position, greatest(r.updated, p.updated) as updated,
    p.steps_done, p.current_steps, p.tokens_input, p.tokens_cached, p.tokens_cache_write, p.tokens_output, p.tokens_reasoning,
    p.cost, p.simulated`

	runChanging = `state, steps_total, reason, error_code, error_message, error_path, ended, version, position, updated`

	// progressOf adds up some steps; see Progress.
	progressOf = `
    select count(*) filter (where s.state in ('completed', 'failed', 'skipped')) as steps_done,
        coalesce(json_agg(s.path order by s.scheduled, s.path) filter (where s.state in ('scheduled', 'retrying')), '[]') as current_steps,
        coalesce(sum(s.tokens_input), 0)::bigint as tokens_input, coalesce(sum(s.tokens_cached), 0)::bigint as tokens_cached,
        coalesce(sum(s.tokens_cache_write), 0)::bigint as tokens_cache_write, coalesce(sum(s.tokens_output), 0)::bigint as tokens_output,
        coalesce(sum(s.tokens_reasoning), 0)::bigint as tokens_reasoning, coalesce(sum(s.cost), 0)::bigint as cost,
        coalesce(bool_or(s.simulated), false) as simulated,
        max(s.version) as version, max(s.position) as position, max(s.updated) as updated`

	added = `path, state, scheduled, ` + tokenColumns + `, cost, simulated, version, position, updated`

	addedDue = `path, 'scheduled', scheduled, null, null, null, null, null, null, null, due_version, due_position, scheduled`

	runsNow = `
select ` + runRow + ` from runs r cross join lateral (` + progressOf + `
    from steps s where s.build = r.build and s.tenant = r.tenant and s.run = r.run) p
where r.build = ` + liveRuns + ` and r.tenant = $1`

	// $2 is the position. The live rows give the keys, the order and what never
	// changes, so that a page reads an index in order, and a single row is found by
	// its key, and one version is looked up for each. The steps are added up of runs
	// that had begun: that is what r.version is good for there.
	runsAsOf = `
select ` + runRow + ` from (
    select l.build, l.tenant, l.run, v.*, l.workflow, l.workflow_version, l.title, l.priority, l.started_by, l.started, l.deadline, l.paths, l.inputs,
        case when v.state = 'completed' then l.outputs end as outputs
    from runs l cross join lateral (
        select ` + runChanging + ` from (select l.*) n where n.valid_from <= $2
        union all
        select ` + runChanging + ` from runs_history h
        where l.valid_from > $2 and h.build = l.build and h.tenant = l.tenant and h.run = l.run and h.valid_from <= $2 and h.valid_to > $2
    ) v
    where l.build = ` + liveRuns + ` and l.tenant = $1) r cross join lateral (` + progressOf + ` from (
        select ` + added + ` from steps n
        where n.build = r.build and n.tenant = r.tenant and n.run = r.run and n.valid_from <= $2
        union all
        select ` + added + ` from steps_history h
        where h.build = r.build and h.tenant = r.tenant and h.run = r.run and h.valid_from <= $2 and h.valid_to > $2
        union all
        select ` + addedDue + ` from steps d
        where d.build = r.build and d.tenant = r.tenant and d.run = r.run and d.due_from <= $2 and d.valid_from > $2) s
    where r.version > 0) p
where true`

	stepRow = `s.tenant, s.run, s.path, s.ordinal, coalesce(s.title, '') as title, s.kind,
    coalesce(s.agent, '') as agent, coalesce(s.agent_version, 0) as agent_version,
    coalesce(s.template, '') as template, coalesce(s.template_version, 0) as template_version,
    s.workflow, s.priority, s.requested_by, s.created, s.state, coalesce(s.attempts, 0) as attempts,
    coalesce(s.input_hash, '') as input_hash, coalesce(s.reason, '') as reason,
    coalesce(s.error_code, '') as error_code, coalesce(s.error_message, '') as error_message,
    coalesce(s.provider, '') as provider, coalesce(s.model, '') as model, coalesce(s.simulated, false) as simulated,
    coalesce(s.tokens_input, 0) as tokens_input, coalesce(s.tokens_cached, 0) as tokens_cached,
    coalesce(s.tokens_cache_write, 0) as tokens_cache_write, coalesce(s.tokens_output, 0) as tokens_output,
    coalesce(s.tokens_reasoning, 0) as tokens_reasoning, coalesce(s.cost, 0) as cost,
    s.scheduled, s.started, s.ended, s.retry_at, s.version, s.position, s.updated,
    0::bigint as due_version, 0::bigint as due_position, 0::bigint as due_from, s.needs, coalesce(s.condition, '') as condition, s.input, s.output`

	stepChanging = `agent, agent_version, template, template_version, state, attempts, input_hash, reason,
    error_code, error_message, provider, model, simulated, ` + tokenColumns + `,
    cost, scheduled, started, ended, retry_at, version, position, updated`

	// The same of the version that a row holds beside its own; see Step.due.
	stepDue = `agent, agent_version, template, template_version, 'scheduled', attempts, input_hash, null,
    null, null, null, null, null, null, null, null, null, null,
    null, scheduled, null, null, null, due_version, due_position, scheduled`

	// What a run's steps without rows are made from: the plan, and when the run was
	// last changed by an event of its own.
	planNow = `
select r.plan, r.version, r.position, r.updated from runs r
where r.build = ` + liveRuns + ` and r.tenant = $1`

	planAsOf = `
select r.plan, r.version, r.position, r.updated from (
    select l.run, l.plan, v.* from runs l cross join lateral (
        select l.version, l.position, l.updated where l.valid_from <= $2
        union all
        select version, position, updated from runs_history h
        where l.valid_from > $2 and h.build = l.build and h.tenant = l.tenant and h.run = l.run and h.valid_from <= $2 and h.valid_to > $2
    ) v
    where l.build = ` + liveRuns + ` and l.tenant = $1) r
where true`

	stepsNow = `
select ` + stepRow + ` from steps s
where s.build = ` + liveRuns + ` and s.tenant = $1`

	stepsAsOf = `
select ` + stepRow + ` from (
    select l.tenant, l.run, l.path, v.*, l.ordinal, l.title, l.kind, l.workflow, l.priority, l.requested_by, l.created, l.needs, l.condition, l.input,
        l.agent as performer, case when v.state = 'completed' then l.output end as output
    from steps l cross join lateral (
        select ` + stepChanging + ` from (select l.*) n where n.valid_from <= $2
        union all
        select ` + stepChanging + ` from steps_history h
        where l.valid_from > $2 and h.build = l.build and h.tenant = l.tenant and h.run = l.run and h.path = l.path and h.valid_from <= $2 and h.valid_to > $2
        union all
        select ` + stepDue + ` from (select l.*) n where n.due_from <= $2 and n.valid_from > $2
    ) v
    where l.build = ` + liveRuns + ` and l.tenant = $1) s
where true`
)

// ErrRunNotFound is also the answer for another tenant's run, and for a run
// that had not begun.
var ErrRunNotFound = &domain.Error{Kind: domain.NotFound, Code: "run.not_found", Message: "there is no such run"}

// Get returns a run with its steps.
func (r Runs) Get(ctx context.Context, tenant domain.Tenant, id domain.RunID, at domain.Position) (RunWithSteps, error) {
	q := source(tenant, at, runsNow, runsAsOf)
	q.where("r.run = %s", id)
	found, err := collect[Run](ctx, r.DB, q.sql, q.args)
	if err != nil {
		return RunWithSteps{}, fmt.Errorf("get run %s: %w", id, err)
	}
	if len(found) == 0 {
		return RunWithSteps{}, ErrRunNotFound
	}
	q = source(tenant, at, stepsNow, stepsAsOf)
	q.where("s.run = %s", id)
	steps, err := collect[Step](ctx, r.DB, q.sql+" order by s.ordinal", q.args)
	if err != nil {
		return RunWithSteps{}, fmt.Errorf("get the steps of run %s: %w", id, err)
	}
	if len(steps) < found[0].StepsTotal {
		q = source(tenant, at, planNow, planAsOf)
		q.where("r.run = %s", id)
		plans, err := collect[planned](ctx, r.DB, q.sql, q.args)
		if err != nil {
			return RunWithSteps{}, fmt.Errorf("get the plan of run %s: %w", id, err)
		}
		for _, p := range plans {
			steps = p.complete(found[0].RunRow, steps)
		}
	}
	return RunWithSteps{found[0], steps}, nil
}

// planned is the plan of a run, and its last change by an event of its own.
type planned struct {
	Plan     *Plan           `db:"plan"`
	Version  domain.Sequence `db:"version"`
	Position domain.Position `db:"position"`
	Updated  time.Time       `db:"updated"`
}

// complete adds the steps of a run that have no row, in their place.
func (p planned) complete(run RunRow, steps []Step) []Step {
	if p.Plan == nil {
		return steps
	}
	known := make(map[domain.StepPath]bool, len(steps))
	for i := range steps {
		known[steps[i].Path] = true
	}
	run.Plan = p.Plan
	for i := range p.Plan.Steps {
		if known[p.Plan.Steps[i].Path] {
			continue
		}
		s := run.planned(&p.Plan.Steps[i])
		if run.State != Running { // and so has the step
			s.State, s.Ended, s.Version, s.Position, s.Updated = Cancelled, run.Ended, p.Version, p.Position, p.Updated
		}
		steps = append(steps, s)
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.Ordinal, b.Ordinal) })
	return steps
}

// List returns a page of runs, the newest first unless the filter says
// otherwise.
func (r Runs) List(ctx context.Context, tenant domain.Tenant, f RunFilter, after string, limit int) (Page[Run], error) {
	q := source(tenant, f.At, runsNow, runsAsOf)
	q.oneOf("r.state", f.States)
	if f.Workflow != "" {
		q.where("r.workflow = %s", f.Workflow)
	}
	if f.StartedBy != "" {
		q.where("r.started_by = %s", f.StartedBy)
	}
	if !f.Since.IsZero() {
		q.where("r.started >= %s", f.Since)
	}
	if !f.Until.IsZero() {
		q.where("r.started < %s", f.Until)
	}
	started := order[Run]{"runs", !f.OldestFirst, []string{"r.started", "r.run"}, func(r *Run) []any { return []any{&r.Started, &r.Run} }}
	return page(ctx, r.DB, q, started, after, limit)
}
