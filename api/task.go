package api

import (
	"context"
	"strings"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

// A task that is asked for by itself is a run of a workflow with this id, whose
// one step has the same name.
const taskWorkflow = "task"

type createTaskInput struct {
	CommandHeaders
	Body v1.CreateTask
}

func (s *server) createTask(ctx context.Context, in *createTaskInput) (*created, error) {
	d, err := s.taskDefinition(in.Body.Agent, in.Body.Template)
	var r done
	if err == nil {
		r, err = s.start(ctx, in.CommandHeaders, d, v1.StartRun{Inputs: in.Body.Input, Priority: in.Body.Priority})
	} else {
		r, err = s.refused(ctx, in.CommandHeaders, err)
	}
	if err != nil {
		return nil, err
	}
	r.ID += "." + taskWorkflow
	return &created{Location: "/api/v1/tasks/" + r.ID, Body: r.Receipt}, nil
}

// taskDefinition is a workflow of one step. The input reaches the template
// through the workflow's parameters, never as literals, so that a text like
// ${...} in it stays a text.
func (s *server) taskDefinition(agent, template string) (domain.Definition, error) {
	if _, ok := s.Library.Agent(agent); !ok {
		return domain.Definition{}, domain.InvalidField("body.agent", "is not an agent", "see GET /api/v1/agents")
	}
	t, ok := s.Library.Template(template)
	if !ok {
		return domain.Definition{}, domain.InvalidField("body.template", "is not a template", "see the capabilities of the agent")
	}
	with := make(map[string]any, len(t.Parameters))
	for _, p := range t.Parameters {
		with[p.Name] = "${inputs." + p.Name + "}"
	}
	return domain.Definition{
		ID: taskWorkflow, Version: 1, Title: t.Title, Parameters: t.Parameters,
		Steps:   []domain.Step{{ID: taskWorkflow, Title: t.Title, Kind: domain.AgentStep, Agent: agent, Template: template, With: with}},
		Outputs: map[string]string{"result": "${steps." + taskWorkflow + ".output}"},
	}, nil
}

type listTasksInput struct {
	PageQuery
	AtQuery
	State    []string `query:"state" nullable:"false" enum:"waiting,scheduled,retrying,completed,failed,skipped,cancelled" doc:"Any of these states"`
	Agent    string   `query:"agent" maxLength:"128" doc:"Of this agent"`
	Workflow string   `query:"workflow" maxLength:"128" doc:"Of runs of this workflow"`
	Run      string   `query:"run" maxLength:"80" doc:"Of this run"`
	Sort     string   `query:"sort" enum:"created,-created" default:"-created" doc:"Order; - is descending"`
}

func (s *server) listTasks(ctx context.Context, in *listTasksInput) (*body[v1.TaskList], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	f := TaskFilter{States: in.State, Agent: in.Agent, Workflow: in.Workflow, Run: in.Run, OldestTop: in.Sort == "created", At: at}
	p, err := s.page(in.PageQuery, "tasks", f)
	if err != nil {
		return nil, err
	}
	items, next, err := s.Tasks.Tasks(ctx, callOf(ctx).principal.Tenant, f, p)
	if err != nil {
		return nil, err
	}
	opens := s.opens(ctx)
	for i := range items {
		if err := opens.fresh(ctx).task(callOf(ctx).principal.Tenant, &items[i]); err != nil {
			return nil, err
		}
	}
	return answer(v1.TaskList{Items: list(items), Next: s.cursor("tasks", f, next)}), nil
}

type taskInput struct {
	AtQuery
	Task string `path:"task" maxLength:"256" doc:"Id of the task: that of its run, a dot, and the path of its step" example:"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a.task"`
}

func (s *server) getTask(ctx context.Context, in *taskInput) (*body[v1.Task], error) {
	run, path, ok := strings.Cut(in.Task, ".")
	if !ok || path == "" {
		return nil, errNotFound
	}
	if _, err := s.runStream(ctx, run); err != nil {
		return nil, err
	}
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	t, err := s.Tasks.Task(ctx, callOf(ctx).principal.Tenant, run, path, at)
	if err == nil {
		err = s.opens(ctx).task(callOf(ctx).principal.Tenant, &t)
	}
	if err != nil {
		return nil, err
	}
	return answer(t), nil
}
