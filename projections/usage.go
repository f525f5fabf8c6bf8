package projections

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/projection"
)

// usageRun is what later events of a run are counted under. It is made from the
// run's own stream, so it may be read.
type usageRun struct {
	Tenant    domain.Tenant              `db:"tenant,key"`
	Run       domain.RunID               `db:"run,key"`
	Workflow  string                     `db:"workflow"`
	Started   time.Time                  `db:"started"`
	Agents    map[domain.StepPath]string `db:"agents"`
	Simulated bool                       `db:"simulated"` // counted as simulated already
}

// UsageDay is what the runs of one workflow did on one UTC day. Every number
// counts on the day on which it happened: a run that starts before midnight and
// ends after it is Started on one day, and Completed, with its whole duration,
// on the next.
type UsageDay struct {
	Tenant           domain.Tenant  `db:"tenant,key"`
	Workflow         string         `db:"workflow,key"`
	Day              string         `db:"day,key,date"` // 2006-01-02
	Started          int64          `db:"started"`
	Completed        int64          `db:"completed"`
	Failed           int64          `db:"failed"`
	Cancelled        int64          `db:"cancelled"`
	Simulated        int64          `db:"simulated"` // runs whose first simulated call was on the day
	DurationMS       int64          `db:"duration_ms"`
	Ended            int64          `db:"ended"` // the runs DurationMS is the sum of
	Calls            int64          `db:"calls"`
	SimulatedCalls   int64          `db:"simulated_calls"`
	UnpricedCalls    int64          `db:"unpriced_calls"`
	TokensInput      int64          `db:"tokens_input"`
	TokensCached     int64          `db:"tokens_cached"`
	TokensCacheWrite int64          `db:"tokens_cache_write"`
	TokensOutput     int64          `db:"tokens_output"`
	TokensReasoning  int64          `db:"tokens_reasoning"`
	Cost             domain.NanoUSD `db:"cost"`
}

// AgentDay is what one agent did on one UTC day. An attempt counts when it is
// scheduled; its outcome, time and tokens when they are recorded. DurationMS
// sums over completed tasks, from the worker's start to the result.
type AgentDay struct {
	Tenant           domain.Tenant  `db:"tenant,key"`
	Agent            string         `db:"agent,key"`
	Day              string         `db:"day,key,date"`
	Attempts         int64          `db:"attempts"`
	Completed        int64          `db:"completed"`
	Failed           int64          `db:"failed"`
	Retried          int64          `db:"retried"`
	Lapsed           int64          `db:"lapsed"`
	DurationMS       int64          `db:"duration_ms"`
	Calls            int64          `db:"calls"`
	SimulatedCalls   int64          `db:"simulated_calls"`
	UnpricedCalls    int64          `db:"unpriced_calls"`
	TokensInput      int64          `db:"tokens_input"`
	TokensCached     int64          `db:"tokens_cached"`
	TokensCacheWrite int64          `db:"tokens_cache_write"`
	TokensOutput     int64          `db:"tokens_output"`
	TokensReasoning  int64          `db:"tokens_reasoning"`
	Cost             domain.NanoUSD `db:"cost"`
}

var (
	usageRuns = projection.NewTable[usageRun]("usage_runs")
	usageDays = projection.NewCounter[UsageDay]("usage_days")
	agentDays = projection.NewCounter[AgentDay]("agent_days")
)

// UsageDefinition fills usage_days and agent_days.
func UsageDefinition() *projection.Definition {
	return &projection.Definition{
		Name: "usage", Version: 1,
		Tables: []*projection.Schema{usageRuns.Schema, usageDays.Schema, agentDays.Schema},
		Handlers: []projection.Handler{
			projection.On(countStarted), projection.On(countScheduled), projection.On(countStepCompleted),
			projection.On(countStepFailed), projection.On(countLapsed), projection.On(countTokens),
			projection.On(countCompleted), projection.On(countFailed), projection.On(countCancelled),
		},
	}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func usageOf(w *projection.Rows, e events.Envelope) (usageRun, bool) {
	r, ok := usageRuns.Get(w, usageRun{Tenant: e.Stream.Tenant(), Run: domain.RunID(e.Stream.Entity())})
	if !ok {
		w.Fail(errNoRun)
	}
	return r, ok
}

func countStarted(w *projection.Rows, r events.Recorded[events.RunStarted]) {
	run := usageRun{
		Tenant: r.Stream.Tenant(), Run: domain.RunID(r.Stream.Entity()), Workflow: r.Event.Workflow.ID, Started: r.Time,
		Agents: make(map[domain.StepPath]string),
	}
	for _, s := range r.Event.Definition.Steps {
		if s.Agent != "" {
			run.Agents[domain.StepPath(s.ID)] = s.Agent
		}
	}
	usageRuns.Insert(w, run)
	usageDays.Add(w, UsageDay{Tenant: run.Tenant, Workflow: run.Workflow, Day: day(r.Time), Started: 1})
}

func countScheduled(w *projection.Rows, r events.Recorded[events.StepScheduled]) {
	run, ok := usageOf(w, r.Envelope)
	if !ok || r.Event.Agent == nil {
		return
	}
	if id := r.Event.Agent.ID; run.Agents[r.Event.Path] != id {
		run.Agents = maps.Clone(run.Agents)
		run.Agents[r.Event.Path] = id
		usageRuns.Put(w, run)
	}
	addAgent(w, r.Envelope, r.Event.Path, AgentDay{Attempts: 1})
}

// addAgent adds to the agent of a step, if it has one.
func addAgent(w *projection.Rows, e events.Envelope, path domain.StepPath, delta AgentDay) {
	run, ok := usageOf(w, e)
	if !ok || run.Agents[path] == "" {
		return
	}
	delta.Tenant, delta.Agent, delta.Day = run.Tenant, run.Agents[path], day(e.Time)
	agentDays.Add(w, delta)
}

func countStepCompleted(w *projection.Rows, r events.Recorded[events.StepCompleted]) {
	addAgent(w, r.Envelope, r.Event.Path, AgentDay{Completed: 1, DurationMS: max(0, r.Time.Sub(r.Event.Started).Milliseconds())})
}

func countStepFailed(w *projection.Rows, r events.Recorded[events.StepFailed]) {
	delta := AgentDay{Failed: 1}
	if r.Event.RetryAt != nil {
		delta = AgentDay{Retried: 1}
	}
	addAgent(w, r.Envelope, r.Event.Path, delta)
}

func countLapsed(w *projection.Rows, r events.Recorded[events.StepLapsed]) {
	addAgent(w, r.Envelope, r.Event.Path, AgentDay{Lapsed: 1})
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func countTokens(w *projection.Rows, r events.Recorded[events.TokensSpent]) {
	run, ok := usageOf(w, r.Envelope)
	if !ok {
		return
	}
	u := r.Event.Usage
	delta := UsageDay{
		Tenant: run.Tenant, Workflow: run.Workflow, Day: day(r.Time),
		Calls: 1, SimulatedCalls: one(u.Simulated), UnpricedCalls: one(u.Unpriced),
		TokensInput: u.Tokens.Input, TokensCached: u.Tokens.CachedInput, TokensCacheWrite: u.Tokens.CacheWrite,
		TokensOutput: u.Tokens.Output, TokensReasoning: u.Tokens.Reasoning, Cost: u.Amount,
	}
	if u.Simulated && !run.Simulated {
		delta.Simulated, run.Simulated = 1, true
		usageRuns.Put(w, run)
	}
	usageDays.Add(w, delta)
	addAgent(w, r.Envelope, r.Event.Path, AgentDay{
		Calls: 1, SimulatedCalls: one(u.Simulated), UnpricedCalls: one(u.Unpriced),
		TokensInput: u.Tokens.Input, TokensCached: u.Tokens.CachedInput, TokensCacheWrite: u.Tokens.CacheWrite,
		TokensOutput: u.Tokens.Output, TokensReasoning: u.Tokens.Reasoning, Cost: u.Amount,
	})
}

func countEnd(w *projection.Rows, e events.Envelope, delta UsageDay) {
	run, ok := usageOf(w, e)
	if !ok {
		return
	}
	delta.Tenant, delta.Workflow, delta.Day = run.Tenant, run.Workflow, day(e.Time)
	delta.Ended, delta.DurationMS = 1, max(0, e.Time.Sub(run.Started).Milliseconds())
	usageDays.Add(w, delta)
}

func countCompleted(w *projection.Rows, r events.Recorded[events.RunCompleted]) {
	countEnd(w, r.Envelope, UsageDay{Completed: 1})
}

func countFailed(w *projection.Rows, r events.Recorded[events.RunFailed]) {
	countEnd(w, r.Envelope, UsageDay{Failed: 1})
}

func countCancelled(w *projection.Rows, r events.Recorded[events.RunCancelled]) {
	countEnd(w, r.Envelope, UsageDay{Cancelled: 1})
}

// Usage are the queries over what was used.
type Usage struct{ DB DB }

// UsageFilter narrows a report. Days are inclusive and in UTC; empty: no bound.
type UsageFilter struct {
	From, To    string // 2006-01-02
	ID          string // of a workflow or an agent; empty: all
	NewestFirst bool
}

const (
	usageDaysSQL = `
select u.tenant, u.workflow, u.day::text, started, completed, failed, cancelled, simulated, duration_ms, ended,
    calls, simulated_calls, unpriced_calls, ` + tokenColumns + `, cost
from usage_days u
where u.build = live_build('usage', 1) and u.tenant = $1`

	agentDaysSQL = `
select u.tenant, u.agent, u.day::text, attempts, completed, failed, retried, lapsed, duration_ms,
    calls, simulated_calls, unpriced_calls, ` + tokenColumns + `, cost
from agent_days u
where u.build = live_build('usage', 1) and u.tenant = $1`
)

func (f UsageFilter) check() error {
	for name, v := range map[string]string{"from": f.From, "to": f.To} {
		if _, err := time.Parse(time.DateOnly, v); v != "" && err != nil {
			return domain.InvalidField(name, "is not a day", "write it like 2026-01-31")
		}
	}
	return nil
}

// Workflows reports by day and workflow.
func (q Usage) Workflows(ctx context.Context, tenant domain.Tenant, f UsageFilter, after string, limit int) (days []UsageDay, next string, err error) {
	return report(ctx, q.DB, usageDaysSQL, "workflow", tenant, f, after, limit, func(d UsageDay) [2]string { return [2]string{d.Day, d.Workflow} })
}

// Agents reports by day and agent.
func (q Usage) Agents(ctx context.Context, tenant domain.Tenant, f UsageFilter, after string, limit int) (days []AgentDay, next string, err error) {
	return report(ctx, q.DB, agentDaysSQL, "agent", tenant, f, after, limit, func(d AgentDay) [2]string { return [2]string{d.Day, d.Agent} })
}

func report[R any](
	ctx context.Context, db DB, sql, id string, tenant domain.Tenant, f UsageFilter, after string, limit int, key func(R) [2]string,
) ([]R, string, error) {
	n := limitOf(limit)
	sql, args, err := f.statement(sql, id, tenant, after, n+1)
	if err != nil {
		return nil, "", err
	}
	out, err := collect[R](ctx, db, sql, args)
	if err != nil {
		return nil, "", fmt.Errorf("report usage: %w", err)
	}
	if len(out) <= n {
		return out, "", nil
	}
	last := key(out[n-1])
	return out[:n], cursor{f.order(id), last[:]}.encode(), nil
}

func (f UsageFilter) order(id string) string {
	order, _ := direction(f.NewestFirst)
	return "usage by " + id + " " + order
}

// statement is the SQL of a page. Id is the column beside the day. The table is
// named everywhere: day alone is the text of the answer, which no index has.
func (f UsageFilter) statement(sql, id string, tenant domain.Tenant, after string, limit int) (string, []any, error) {
	if err := f.check(); err != nil {
		return "", nil, err
	}
	last, err := decodeCursor(after, f.order(id), 2)
	if err != nil {
		return "", nil, err
	}
	q := &query{args: []any{tenant}, conditions: []string{"true"}}
	order, beyond := direction(f.NewestFirst)
	if f.From != "" {
		q.where("u.day >= %s::text::date", f.From)
	}
	if f.To != "" {
		q.where("u.day <= %s::text::date", f.To)
	}
	if f.ID != "" {
		q.where("u."+id+" = %s", f.ID)
	}
	if last != nil {
		if _, err := time.Parse(time.DateOnly, last[0]); err != nil {
			return "", nil, ErrCursor
		}
		if f.ID != "" { // one row a day, in the order of the primary key
			q.where("u.day "+beyond+" %s::text::date", last[0])
		} else {
			q.conditions = append(q.conditions, fmt.Sprintf("(u.day, u.%s) %s (%s::text::date, %s)", id, beyond, q.arg(last[0]), q.arg(last[1])))
		}
	}
	if f.ID != "" {
		return fmt.Sprintf("%s and %s order by u.day %s limit %s", sql, q, order, q.arg(limit)), q.args, nil
	}
	return fmt.Sprintf("%s and %s order by u.day %s, u.%s %s limit %s", sql, q, order, id, order, q.arg(limit)), q.args, nil
}
