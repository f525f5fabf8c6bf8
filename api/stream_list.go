package api

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/live"
)

// Resume is where a stream over the log begins. It is exported only because huma
// reads exported fields alone.
type Resume struct {
	After  string `query:"after" pattern:"^[0-9]{1,19}$" doc:"Position to begin after; the end of the log if left out"`
	LastID string `header:"Last-Event-ID" pattern:"^[0-9]{1,19}$" doc:"Where an earlier stream broke off"`
}

// begin is the position after which a stream over the log begins.
func (s *server) begin(ctx context.Context, in Resume) (domain.Position, error) {
	head, err := s.Hub.Head(ctx)
	if err != nil {
		return 0, err
	}
	after := domain.Position(resumeAt(resumeAt(v1.Ordinal(head.Position), in.After), in.LastID))
	if after > head.Position {
		return 0, errBehindEnd
	}
	return after, nil
}

var errBehindEnd = &domain.Error{
	Kind: domain.Conflict, Code: "stream.behind_end", Field: "Last-Event-ID", Message: "is behind the end of what is followed", Fix: "begin without it",
}

// change is a thing of a list after it changed.
type change struct {
	key  string
	view func(context.Context) (any, bool, error) // not ok: it is not wanted
}

// changes sends every thing of a list that changes, as it then is. What changed
// several times within one batch is sent once. The id moves on behind the batch,
// so that whoever comes back misses nothing.
func (s *server) changes(ctx context.Context, in Resume, name string, about string, of func(events.Record) []change) (func(context.Context, *sse) error, error) {
	after, err := s.begin(ctx, in)
	if err != nil {
		return nil, err
	}
	filter := live.Filter{Tenant: callOf(ctx).principal.Tenant, Types: []string{about}}
	return func(ctx context.Context, out *sse) error {
		f := s.Hub.Follow(filter, after)
		defer f.Close()
		mark := func() error { return out.mark(strconv.FormatUint(uint64(f.Reached()), 10)) }
		return s.follow(ctx, f, func(records []events.Record) error {
			if err := s.projected(ctx, records[len(records)-1].Position); err != nil {
				return err
			}
			for _, c := range changed(records, of) {
				v, wanted, err := c.view(ctx)
				if err != nil {
					return err
				}
				if !wanted {
					continue
				}
				if err := out.event(name, "", v); err != nil {
					return err
				}
			}
			return mark()
		}, mark)
	}, nil
}

// changed are the things that records are about, each once, in the order of
// their last change.
func changed(records []events.Record, of func(events.Record) []change) []change {
	var out []change
	for _, r := range records {
		for _, c := range of(r) {
			out = append(slices.DeleteFunc(out, func(o change) bool { return o.key == c.key }), c)
		}
	}
	return out
}

// shown turns the read of a thing into a view. A thing that is not there is one
// whose events could not be applied.
func shown[T any](v T, err error, wanted bool) (any, bool, error) {
	if e, ok := errors.AsType[*domain.Error](err); ok && e.Kind == domain.NotFound {
		return nil, false, nil
	}
	return v, wanted, err
}

type streamRunsInput struct {
	Resume
	State    []string `query:"state" nullable:"false" enum:"running,completed,failed,cancelled" doc:"Any of these states"`
	Workflow string   `query:"workflow" maxLength:"128" doc:"Of this workflow"`
}

// streamRuns sends every run that changes (run).
func (s *server) streamRuns(ctx context.Context, in *streamRunsInput) (func(context.Context, *sse) error, error) {
	tenant, opens := callOf(ctx).principal.Tenant, s.opens(ctx)
	return s.changes(ctx, in.Resume, "run", "run", func(r events.Record) []change {
		id := r.Stream.Entity()
		return []change{{id, func(ctx context.Context) (any, bool, error) {
			run, err := s.Runs.Run(ctx, tenant, id, 0)
			run.Steps, run.Inputs, run.Outputs = nil, nil, nil
			if err == nil {
				err = opens.fresh(ctx).run(tenant, &run)
			}
			return shown(run, err, (len(in.State) == 0 || slices.Contains(in.State, run.State)) && (in.Workflow == "" || in.Workflow == run.Workflow.ID))
		}}}
	})
}

type streamTasksInput struct {
	Resume
	Agent string `query:"agent" maxLength:"128" doc:"Of this agent"`
}

// streamTasks sends every task that changes (task).
func (s *server) streamTasks(ctx context.Context, in *streamTasksInput) (func(context.Context, *sse) error, error) {
	tenant, opens := callOf(ctx).principal.Tenant, s.opens(ctx)
	return s.changes(ctx, in.Resume, "task", "run", func(r events.Record) []change {
		var step struct {
			Path string `json:"path"`
		}
		if json.Unmarshal(r.Data, &step) != nil || step.Path == "" {
			return nil // of the run as a whole
		}
		run := r.Stream.Entity()
		return []change{{run + "." + step.Path, func(ctx context.Context) (any, bool, error) {
			t, err := s.Tasks.Task(ctx, tenant, run, step.Path, 0)
			t.Output = nil
			if err == nil {
				err = opens.fresh(ctx).task(tenant, &t)
			}
			return shown(t, err, in.Agent == "" || t.Agent != nil && t.Agent.ID == in.Agent)
		}}}
	})
}
