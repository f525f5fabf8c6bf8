package main

import (
	"context"
	"errors"
	"time"

	"github.com/hishamos/hishamos/api"
	v1 "github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/projections"
)

// queries answers the API's questions from the read models: rows in, wire forms
// out, and nothing else. It reads as the tenant that asks.
type queries struct {
	as     func(domain.Tenant) projections.DB // what a tenant may see
	tokens projections.DB                     // everyone's tokens
	reads  func() *projection.Runner
	flows  *flows
}

var (
	_ api.Runs      = queries{}
	_ api.Tasks     = queries{}
	_ api.Workflows = queries{}
	_ api.Usage     = queries{}
	_ api.Tokens    = queries{}
	_ auth.Tokens   = queries{}
)

func (q queries) Run(ctx context.Context, t domain.Tenant, id string, at domain.Position) (v1.Run, error) {
	r, err := projections.Runs{DB: q.as(t)}.Get(ctx, t, domain.RunID(id), at)
	if err != nil {
		return v1.Run{}, err
	}
	out := runOf(r.Run)
	out.Inputs, out.Outputs = r.Inputs, r.Outputs
	out.Steps = make([]v1.Step, len(r.Steps))
	for i, s := range r.Steps {
		out.Steps[i] = stepOf(s)
	}
	status, err := q.reads().Status(ctx, projections.RunsDefinition().Name)
	if err != nil {
		return v1.Run{}, err
	}
	for _, p := range status.Parked {
		out.Degraded = out.Degraded || p.Stream == domain.RunID(id).Stream(t)
	}
	return out, nil
}

// items are the rows of a page as the API shows them.
func items[R, V any](page projections.Page[R], err error, of func(R) V) ([]V, string, error) {
	if err != nil {
		return nil, "", err
	}
	out := make([]V, len(page.Rows))
	for i, r := range page.Rows {
		out[i] = of(r)
	}
	return out, page.Next, nil
}

func (q queries) Runs(ctx context.Context, t domain.Tenant, f api.RunFilter, p api.Page) ([]v1.Run, string, error) {
	page, err := projections.Runs{DB: q.as(t)}.List(ctx, t, projections.RunFilter{
		States: f.States, Workflow: f.Workflow, StartedBy: f.StartedBy, Since: f.Since, Until: f.Until, OldestFirst: f.OldestTop, At: f.At,
	}, p.After, p.Limit)
	return items(page, err, runOf)
}

func (q queries) Task(ctx context.Context, t domain.Tenant, run, path string, at domain.Position) (v1.Task, error) {
	task, err := projections.Tasks{DB: q.as(t)}.Get(ctx, t, domain.RunID(run), domain.StepPath(path), at)
	if err != nil {
		return v1.Task{}, err
	}
	return taskOf(task.Step), nil
}

func (q queries) Tasks(ctx context.Context, t domain.Tenant, f api.TaskFilter, p api.Page) ([]v1.Task, string, error) {
	page, err := projections.Tasks{DB: q.as(t)}.List(ctx, t, projections.TaskFilter{
		States: f.States, Agent: f.Agent, Workflow: f.Workflow, Run: domain.RunID(f.Run), OldestFirst: f.OldestTop, At: f.At,
	}, p.After, p.Limit)
	return items(page, err, taskOf)
}

func (q queries) Workflow(ctx context.Context, t domain.Tenant, id string, version int, at domain.Position) (v1.Workflow, error) {
	if at != 0 {
		return q.workflow(ctx, t, id, version, at)
	}
	edition, alone := q.reads().Edition(projections.WorkflowsDefinition().Name)
	if !alone { // others change the rows unheard
		return q.workflow(ctx, t, id, version, at)
	}
	return q.flows.get(flowKey{t, id, version}, edition, func() (v1.Workflow, error) { return q.workflow(ctx, t, id, version, at) })
}

func (q queries) workflow(ctx context.Context, t domain.Tenant, id string, version int, at domain.Position) (v1.Workflow, error) {
	entity := domain.NamedStreamID(t, "workflow", id).Entity()
	w, err := projections.Workflows{DB: q.as(t)}.Get(ctx, t, entity, at)
	if err != nil {
		return v1.Workflow{}, err
	}
	out := workflowOf(w)
	if version == 0 || version == w.DefinitionVersion {
		out.Definition = &w.Definition
		return out, nil
	}
	v, err := projections.Workflows{DB: q.as(t)}.Version(ctx, t, entity, version, at)
	if err != nil {
		return v1.Workflow{}, err
	}
	out.Version, out.Title, out.Hash, out.Definition = v.DefinitionVersion, v.Title, v.Hash, &v.Definition
	return out, nil
}

func (q queries) Workflows(ctx context.Context, t domain.Tenant, f api.WorkflowFilter, p api.Page) ([]v1.Workflow, string, error) {
	page, err := projections.Workflows{DB: q.as(t)}.List(ctx, t, projections.WorkflowFilter{
		Archived: f.Archived, Descending: f.Descending, At: f.At,
	}, p.After, p.Limit)
	return items(page, err, workflowOf)
}

func (q queries) Versions(ctx context.Context, t domain.Tenant, id string, f api.VersionFilter, p api.Page) ([]v1.WorkflowVersion, string, error) {
	page, err := projections.Workflows{DB: q.as(t)}.VersionPage(ctx, t, domain.NamedStreamID(t, "workflow", id).Entity(),
		projections.VersionFilter{NewestFirst: !f.OldestTop, At: f.At}, p.After, p.Limit)
	return items(page, err, func(v projections.WorkflowVersion) v1.WorkflowVersion {
		return v1.WorkflowVersion{Version: v.DefinitionVersion, Hash: v.Hash, Recorded: v.Recorded, By: v.Actor}
	})
}

func (q queries) ByWorkflow(ctx context.Context, t domain.Tenant, f api.UsageFilter, p api.Page) ([]v1.WorkflowUsage, string, error) {
	page, err := projections.Usage{DB: q.as(t)}.Workflows(ctx, t, days(f), p.After, p.Limit)
	return items(page, err, func(r projections.UsageDay) v1.WorkflowUsage {
		return v1.WorkflowUsage{
			Workflow: r.Workflow, Day: r.Day, Started: r.Started, Completed: r.Completed, Failed: r.Failed,
			Cancelled: r.Cancelled, DurationMS: r.DurationMS, Calls: r.Calls, SimulatedCalls: r.SimulatedCalls,
			Cost: cost(r.TokensInput, r.TokensCached, r.TokensCacheWrite, r.TokensOutput, r.TokensReasoning, r.Cost, r.SimulatedCalls > 0, r.UnpricedCalls > 0),
		}
	})
}

func (q queries) ByAgent(ctx context.Context, t domain.Tenant, f api.UsageFilter, p api.Page) ([]v1.AgentUsage, string, error) {
	page, err := projections.Usage{DB: q.as(t)}.Agents(ctx, t, days(f), p.After, p.Limit)
	return items(page, err, func(r projections.AgentDay) v1.AgentUsage {
		return v1.AgentUsage{
			Agent: r.Agent, Day: r.Day, Attempts: r.Attempts, Completed: r.Completed, Failed: r.Failed, Retried: r.Retried,
			Lapsed: r.Lapsed, DurationMS: r.DurationMS, Calls: r.Calls, SimulatedCalls: r.SimulatedCalls,
			Cost: cost(r.TokensInput, r.TokensCached, r.TokensCacheWrite, r.TokensOutput, r.TokensReasoning, r.Cost, r.SimulatedCalls > 0, r.UnpricedCalls > 0),
		}
	})
}

func (q queries) Tokens(ctx context.Context, t domain.Tenant, f api.TokenFilter, p api.Page) ([]v1.Token, string, error) {
	page, err := projections.Tokens{DB: q.as(t)}.List(ctx, t, projections.TokenFilter{Descending: f.Descending}, p.After, p.Limit)
	return items(page, err, listedToken)
}

func listedToken(r projections.AccessToken) v1.Token {
	out := v1.Token{
		ID: r.Token, State: v1.TokenValid, Tenant: string(r.Owner), Actor: r.ActorID, Kind: r.ActorKind,
		Permissions: make([]string, len(r.Permissions)), Name: r.Holder, Issued: r.Issued, Changed: r.Updated,
	}
	if r.Revoked {
		out.State = v1.TokenRevoked
	}
	for n, p := range r.Permissions {
		out.Permissions[n] = string(p)
	}
	return out
}

// ByHash implements auth.Tokens. Whose token it is, the token says: so it is looked
// for among everyone's, by a secret that nobody can guess. While the read model is being built nobody can
// say that a token is unknown.
func (q queries) ByHash(ctx context.Context, hash string) (auth.Token, bool, error) {
	t, err := projections.Tokens{DB: q.tokens}.BySecret(ctx, hash)
	if errors.Is(err, projections.ErrNoToken) {
		_, err := q.reads().Position(ctx, projections.TokensDefinition().Name)
		return auth.Token{}, false, err
	}
	if err != nil {
		return auth.Token{}, false, err
	}
	return tokenOf(t), true, nil
}

func days(f api.UsageFilter) projections.UsageFilter {
	out := projections.UsageFilter{ID: f.ID, NewestFirst: f.NewestTop, At: f.At}
	if !f.From.IsZero() {
		out.From = f.From.UTC().Format(time.DateOnly)
	}
	if !f.To.IsZero() {
		out.To = f.To.UTC().Format(time.DateOnly)
	}
	return out
}

func cost(input, cached, write, output, reasoning int64, amount domain.NanoUSD, simulated, unpriced bool) v1.Cost {
	return v1.Cost{
		Tokens: domain.Tokens{Input: input, CachedInput: cached, CacheWrite: write, Output: output, Reasoning: reasoning},
		Amount: amount, Simulated: simulated, Unpriced: unpriced,
	}
}

func runOf(r projections.Run) v1.Run {
	out := v1.Run{
		ID: string(r.Run), Workflow: v1.Ref{ID: r.Workflow, Version: r.WorkflowVersion}, Title: r.Title, State: r.State,
		Priority: r.Priority, StartedBy: r.StartedBy, Started: r.Started, Ended: r.Ended, Reason: r.Reason, Version: v1.Ordinal(r.Version),
		FaultStep: string(r.ErrorPath), Fault: faultOf(r.ErrorCode, r.ErrorMessage),
		Progress: v1.Progress{Done: r.StepsDone, Total: r.StepsTotal, Current: []string{}},
		Cost:     cost(r.TokensInput, r.TokensCached, r.TokensCacheWrite, r.TokensOutput, r.TokensReasoning, r.Cost, r.Simulated, false),
	}
	for _, p := range r.CurrentSteps {
		out.Progress.Current = append(out.Progress.Current, string(p))
	}
	return out
}

func stepOf(s projections.Step) v1.Step {
	return v1.Step{
		Path: string(s.Path), Title: s.Title, Kind: string(s.Kind), Agent: refOf(s.Agent, s.AgentVersion), Template: refOf(s.Template, s.TemplateVersion),
		State: s.State, Attempt: s.Attempts, Output: s.Output, Fault: faultOf(s.ErrorCode, s.ErrorMessage), Reason: s.Reason,
		Provider: s.Provider, Model: s.Model, Simulated: s.Simulated, Scheduled: s.Scheduled, Started: s.Started, Ended: s.Ended, RetryAt: s.RetryAt,
		Cost: cost(s.TokensInput, s.TokensCached, s.TokensCacheWrite, s.TokensOutput, s.TokensReasoning, s.Cost, s.Simulated, false),
	}
}

func taskOf(s projections.Step) v1.Task {
	return v1.Task{
		ID: string(s.Run) + "." + string(s.Path), Run: string(s.Run), Workflow: v1.Ref{ID: s.Workflow}, Requested: s.RequestedBy,
		Created: s.Created, Updated: &s.Updated, Priority: s.Priority, Step: stepOf(s),
	}
}

func workflowOf(w projections.Workflow) v1.Workflow {
	out := v1.Workflow{
		ID: w.Name, Version: w.DefinitionVersion, Title: w.Title, Summary: w.Definition.Summary, Archived: w.Archived,
		Hash: w.Hash, Changed: &w.Updated, ETag: v1.Ordinal(w.Version),
	}
	if w.CopiedFrom != nil {
		out.CopiedFrom = &v1.Ref{ID: w.CopiedFrom.ID, Version: w.CopiedFrom.Version}
	}
	return out
}

func faultOf(code, message string) *v1.Fault {
	if code == "" {
		return nil
	}
	return &v1.Fault{Code: code, Message: message}
}

func refOf(id string, version int) *v1.Ref {
	if id == "" {
		return nil
	}
	return &v1.Ref{ID: id, Version: version}
}

// tokenOf is what a caller with the token may do.
func tokenOf(t projections.AccessToken) auth.Token {
	return auth.Token{
		Stream: domain.NewStreamID(t.Tenant, t.Token), SecretHash: t.SecretHash, Tenant: t.Owner,
		Actor: domain.Actor{Kind: t.ActorKind, ID: t.ActorID}, Permissions: t.Permissions, Holder: t.Holder,
	}
}
