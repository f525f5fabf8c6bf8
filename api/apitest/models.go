package apitest

import (
	"context"
	"time"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/workflow"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
)

// Models answers queries by folding streams of the store.
type Models struct {
	store *memory.Store
	Asked []any  // what lists were asked for
	Next  string // what lists answer as the place of their next page
}

func (m *Models) runOf(ctx context.Context, t domain.Tenant, id string, upTo domain.Position) (v1.Run, error) {
	records, err := m.store.ReadStream(ctx, domain.RunID(id).Stream(t), 0, 1000)
	if err != nil {
		return v1.Run{}, err
	}
	r := v1.Run{ID: id, State: v1.RunRunning, Progress: v1.Progress{Current: []string{}}}
	for _, rec := range records {
		if upTo != 0 && rec.Position > upTo {
			break
		}
		r.Version = v1.Ordinal(rec.Sequence)
		e, err := rec.Decode()
		if err != nil {
			return r, err
		}
		switch e := e.Event.(type) {
		case events.RunStarted:
			r.Workflow, r.Title, r.Inputs, r.Priority, r.Started = v1.Ref{ID: e.Workflow.ID, Version: e.Workflow.Version}, e.Definition.Title, e.Inputs, e.Priority, rec.Time
			r.Progress.Total = len(e.Definition.Steps)
			for _, s := range e.Definition.Steps {
				r.Steps = append(r.Steps, v1.Step{Path: s.ID, State: v1.StepWaiting, Agent: &v1.Ref{ID: s.Agent}})
			}
		case events.StepScheduled:
			change(r.Steps, e.Path, func(s *v1.Step) { s.State, s.Attempt, s.Scheduled = v1.StepScheduled, e.Attempt, &rec.Time })
		case events.StepCompleted:
			change(r.Steps, e.Path, func(s *v1.Step) {
				s.State, s.Output, s.Simulated, s.Ended = v1.StepCompleted, e.Output, e.Simulated, &rec.Time
			})
			r.Progress.Done++
		case events.StepFailed:
			change(r.Steps, e.Path, func(s *v1.Step) {
				s.State, s.Fault, s.Ended = v1.StepFailed, &v1.Fault{Code: e.Fault.Code, Message: e.Fault.Message}, &rec.Time
			})
		case events.RunCompleted:
			r.State, r.Outputs, r.Ended = v1.RunCompleted, e.Outputs, &rec.Time
		case events.RunFailed:
			r.State, r.Fault, r.Ended = v1.RunFailed, &v1.Fault{Code: e.Fault.Code, Message: e.Fault.Message}, &rec.Time
		case events.RunCancelled:
			r.State, r.Reason, r.Ended = v1.RunCancelled, e.Reason, &rec.Time
		}
	}
	if r.Version == 0 {
		return r, &domain.Error{Kind: domain.NotFound, Code: "run.not_found", Message: "there is no such run"}
	}
	return r, nil
}

func change(steps []v1.Step, path domain.StepPath, f func(*v1.Step)) {
	for i := range steps {
		if steps[i].Path == string(path) {
			f(&steps[i])
		}
	}
}

// Run implements api.Runs.
func (m *Models) Run(ctx context.Context, t domain.Tenant, id string, at domain.Position) (v1.Run, error) {
	return m.runOf(ctx, t, id, at)
}

// Runs implements api.Runs.
func (m *Models) Runs(_ context.Context, _ domain.Tenant, f api.RunFilter, p api.Page) ([]v1.Run, string, error) {
	m.Asked = append(m.Asked, f, p)
	return nil, m.Next, nil
}

// Task implements api.Tasks.
func (m *Models) Task(ctx context.Context, t domain.Tenant, id, path string, at domain.Position) (v1.Task, error) {
	r, err := m.runOf(ctx, t, id, at)
	if err != nil {
		return v1.Task{}, err
	}
	return v1.Task{ID: id + "." + path, Run: id, Workflow: r.Workflow, Step: v1.Step{Path: path, State: v1.StepScheduled}}, nil
}

// Tasks implements api.Tasks.
func (m *Models) Tasks(_ context.Context, _ domain.Tenant, f api.TaskFilter, p api.Page) ([]v1.Task, string, error) {
	m.Asked = append(m.Asked, f, p)
	return nil, m.Next, nil
}

// Workflow implements api.Workflows.
func (m *Models) Workflow(ctx context.Context, t domain.Tenant, id string, version int, at domain.Position) (v1.Workflow, error) {
	records, err := m.store.ReadStream(ctx, domain.NamedStreamID(t, "workflow", id), 0, 1000)
	if err != nil {
		return v1.Workflow{}, err
	}
	w := v1.Workflow{ID: id}
	for _, rec := range records {
		if at != 0 && rec.Position > at {
			break
		}
		e, err := rec.Decode()
		if err != nil {
			return w, err
		}
		set := func(d domain.Definition) {
			w.ETag = v1.Ordinal(rec.Sequence)
			if version == 0 || d.Version == version {
				w.Version, w.Title, w.Hash, w.Definition = d.Version, d.Title, d.Hash(), &d
			}
		}
		switch e := e.Event.(type) {
		case events.WorkflowCreated:
			set(e.Definition)
			if e.CopiedFrom != nil {
				w.CopiedFrom = &v1.Ref{ID: e.CopiedFrom.ID, Version: e.CopiedFrom.Version}
			}
		case events.WorkflowRevised:
			set(e.Definition)
		case events.WorkflowArchived:
			w.Archived, w.ETag = true, v1.Ordinal(rec.Sequence)
		}
	}
	if w.Definition == nil {
		return w, workflow.ErrNotFound
	}
	return w, nil
}

// Workflows implements api.Workflows.
func (m *Models) Workflows(_ context.Context, _ domain.Tenant, f api.WorkflowFilter, p api.Page) ([]v1.Workflow, string, error) {
	m.Asked = append(m.Asked, f, p)
	return []v1.Workflow{{ID: "own"}}, m.Next, nil
}

// Versions implements api.Workflows.
func (m *Models) Versions(_ context.Context, _ domain.Tenant, _ string, f api.VersionFilter, p api.Page) ([]v1.WorkflowVersion, string, error) {
	m.Asked = append(m.Asked, f, p)
	return []v1.WorkflowVersion{{Version: 2}, {Version: 1}}, m.Next, nil
}

// ByWorkflow implements api.Usage.
func (m *Models) ByWorkflow(_ context.Context, _ domain.Tenant, f api.UsageFilter, p api.Page) ([]v1.WorkflowUsage, string, error) {
	m.Asked = append(m.Asked, f, p)
	return []v1.WorkflowUsage{{Workflow: "w", Day: f.From.Format(time.DateOnly) + " " + f.To.Format(time.DateOnly)}}, m.Next, nil
}

// ByAgent implements api.Usage.
func (m *Models) ByAgent(_ context.Context, _ domain.Tenant, f api.UsageFilter, p api.Page) ([]v1.AgentUsage, string, error) {
	m.Asked = append(m.Asked, f, p)
	return nil, m.Next, nil
}

// Tokens implements api.Tokens.
func (m *Models) Tokens(ctx context.Context, t domain.Tenant, f api.TokenFilter, p api.Page) ([]v1.Token, string, error) {
	m.Asked = append(m.Asked, f, p)
	var out []v1.Token
	for _, name := range []string{Everything, Reader} {
		stream := domain.NamedStreamID(t, "token", name)
		records, err := m.store.ReadStream(ctx, stream, 0, 1000)
		if err != nil {
			return nil, "", err
		}
		one := v1.Token{ID: stream.Entity(), State: v1.TokenValid}
		for _, rec := range records {
			e, err := rec.Decode()
			if err != nil {
				return nil, "", err
			}
			one.Changed = rec.Time
			switch e := e.Event.(type) {
			case events.TokenIssued:
				one.Tenant, one.Actor, one.Kind, one.Name, one.Issued = string(e.Tenant), e.Actor.ID, e.Actor.Kind, e.Holder, rec.Time
				for _, p := range e.Permissions {
					one.Permissions = append(one.Permissions, string(p))
				}
			case events.TokenRevoked:
				one.State = v1.TokenRevoked
			}
		}
		if len(records) > 0 {
			out = append(out, one)
		}
	}
	return out, m.Next, nil
}

// RunKeys implements api.Erasures: a run has one key, which nothing is sealed
// with.
func (m *Models) RunKeys(_ context.Context, run domain.StreamID) ([]string, error) {
	return []string{"key of " + run.Entity()}, nil
}

// PersonKey implements api.Erasures.
func (m *Models) PersonKey(_ context.Context, _ domain.Tenant, person string) (string, error) {
	return "key of " + person, nil
}
