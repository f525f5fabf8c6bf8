package projections

import (
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

// usageChange and agentChange are what was added to a day, and from which
// position on it holds: the days as of any position are sums of them.
type usageChange struct {
	UsageDay
	Position domain.Position `db:"position,key"`
}

type agentChange struct {
	AgentDay
	Position domain.Position `db:"position,key"`
}

var (
	usageRuns    = projection.NewTable[usageRun]("usage_runs")
	usageDays    = projection.NewCounter[UsageDay]("usage_days")
	agentDays    = projection.NewCounter[AgentDay]("agent_days")
	usageChanges = projection.NewCounter[usageChange]("usage_changes")
	agentChanges = projection.NewCounter[agentChange]("agent_changes")
)

// UsageDefinition fills usage_days and agent_days, and keeps their history.
func UsageDefinition() *projection.Definition {
	return &projection.Definition{
		Name: "usage", Version: 2,
		Tables: []*projection.Schema{usageRuns.Schema, usageDays.Schema, agentDays.Schema, usageChanges.Schema, agentChanges.Schema},
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
	addWorkflow(w, r.Envelope, run, UsageDay{Started: 1})
}

// addWorkflow adds to the day of a run's workflow.
func addWorkflow(w *projection.Rows, e events.Envelope, run usageRun, delta UsageDay) {
	delta.Tenant, delta.Workflow, delta.Day = run.Tenant, run.Workflow, day(e.Time)
	usageDays.Add(w, delta)
	usageChanges.Add(w, usageChange{delta, w.From()})
}

func countScheduled(w *projection.Rows, r events.Recorded[events.StepScheduled]) {
	if r.Event.Agent == nil {
		return
	}
	run, ok := usageOf(w, r.Envelope)
	if !ok {
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
	agentChanges.Add(w, agentChange{delta, w.From()})
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
		Calls: 1, SimulatedCalls: one(u.Simulated), UnpricedCalls: one(u.Unpriced),
		TokensInput: u.Tokens.Input, TokensCached: u.Tokens.CachedInput, TokensCacheWrite: u.Tokens.CacheWrite,
		TokensOutput: u.Tokens.Output, TokensReasoning: u.Tokens.Reasoning, Cost: u.Amount,
	}
	if u.Simulated && !run.Simulated {
		delta.Simulated, run.Simulated = 1, true
		usageRuns.Put(w, run)
	}
	addWorkflow(w, r.Envelope, run, delta)
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
	delta.Ended, delta.DurationMS = 1, max(0, e.Time.Sub(run.Started).Milliseconds())
	addWorkflow(w, e, run, delta)
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
