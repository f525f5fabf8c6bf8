package api

import (
	"context"
	"fmt"
	"regexp"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

var (
	errReadOnly = &domain.Error{Kind: domain.Conflict, Code: "workflow.read_only", Message: "workflows that come with the product cannot be changed", Fix: "copy it and change the copy"}
	errTaken    = &domain.Error{Kind: domain.Conflict, Code: "workflow.exists", Field: "id", Message: "is the id of a workflow that comes with the product", Fix: "choose another id"}
	errArchived = &domain.Error{Kind: domain.Conflict, Code: "workflow.archived", Message: "the workflow is archived", Fix: "copy it to use it again"}
)

// ownID is what users may name their workflows: it goes into paths.
var ownID = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func unknownItem(step int, what, id string) error {
	return domain.InvalidDefinition(fmt.Sprintf("steps[%d].%s", step, what), fmt.Sprintf("there is no %s %q", what, id), "see the list of "+what+"s")
}

// workflowStream is the stream of a user's own workflow: one per tenant and id.
func (s *server) workflowStream(ctx context.Context, id string) domain.StreamID {
	return domain.NamedStreamID(callOf(ctx).principal.Tenant, "workflow", id)
}

func (s *server) stock(id string) (domain.Definition, bool) {
	w, ok := s.Library.Workflow(id)
	if !ok {
		return domain.Definition{}, false
	}
	return w.ToDefinition(), true
}

// workflow finds a workflow, stock or the tenant's own.
func (s *server) workflow(ctx context.Context, id string, version int, at domain.Position) (v1.Workflow, error) {
	if d, ok := s.stock(id); ok {
		if version != 0 && version != d.Version {
			return v1.Workflow{}, errNotFound.With("this build has version %d of the workflow", d.Version)
		}
		w := stockView(d)
		w.Definition = &d
		return w, nil
	}
	return s.Workflows.Workflow(ctx, callOf(ctx).principal.Tenant, id, version, at)
}

// startable finds the definition that a run is to follow.
func (s *server) startable(ctx context.Context, id string, version int) (domain.Definition, error) {
	w, err := s.workflow(ctx, id, version, 0)
	switch {
	case err != nil:
		return domain.Definition{}, err
	case w.Archived:
		return domain.Definition{}, errArchived
	case w.Definition == nil:
		return domain.Definition{}, fmt.Errorf("workflow %s version %d has no definition", id, version)
	}
	return *w.Definition, nil
}

func stockView(d domain.Definition) v1.Workflow {
	return v1.Workflow{ID: d.ID, Version: d.Version, Title: d.Title, Summary: d.Summary, Stock: true, Hash: d.Hash()}
}

type listWorkflowsInput struct {
	PageQuery
	AtQuery
	Archived bool   `query:"archived" doc:"Archived ones too"`
	Sort     string `query:"sort" enum:"id,-id" default:"id" doc:"Order of your own ones; - is descending"`
}

// listWorkflows puts the stock ones on the first page, before the pages of the
// tenant's own. As of the past, too: they are those of this build.
func (s *server) listWorkflows(ctx context.Context, in *listWorkflowsInput) (*body[v1.WorkflowList], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	f := WorkflowFilter{Archived: in.Archived, Descending: in.Sort == "-id", At: at}
	p, err := s.page(in.PageQuery, "workflows", f)
	if err != nil {
		return nil, err
	}
	out := v1.WorkflowList{Items: []v1.Workflow{}}
	if p.After == "" {
		for _, id := range s.Library.WorkflowIDs() {
			if d, ok := s.stock(id); ok {
				out.Items = append(out.Items, stockView(d))
			}
		}
	}
	items, next, err := s.Workflows.Workflows(ctx, callOf(ctx).principal.Tenant, f, p)
	if err != nil {
		return nil, err
	}
	out.Items = append(out.Items, items...)
	out.Next = s.cursor("workflows", f, next)
	return answer(out), nil
}

type workflowInput struct {
	AtQuery
	Conditional
	Workflow string `path:"workflow" maxLength:"128" doc:"Id of the workflow" example:"two-step"`
	Version  int    `query:"version" minimum:"1" doc:"The newest if left out"`
}

func (s *server) getWorkflow(ctx context.Context, in *workflowInput) (*versioned[v1.Workflow], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	w, err := s.workflow(ctx, in.Workflow, in.Version, at)
	if err != nil {
		return nil, err
	}
	tag := etag(uint64(w.ETag))
	if w.Stock {
		tag = `"` + w.Hash + `"` // it changes with the build only
	}
	return unlessKnown(in.Conditional, tag, w)
}

type versionsInput struct {
	PageQuery
	AtQuery
	Sort     string `query:"sort" enum:"version,-version" default:"-version" doc:"Order; - is descending"`
	Workflow string `path:"workflow" maxLength:"128" doc:"Id of the workflow" example:"two-step"`
}

func (s *server) listVersions(ctx context.Context, in *versionsInput) (*body[v1.WorkflowVersions], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	f := VersionFilter{OldestTop: in.Sort == "version", At: at}
	name := "versions of " + in.Workflow
	p, err := s.page(in.PageQuery, name, f)
	if err != nil {
		return nil, err
	}
	if d, ok := s.stock(in.Workflow); ok {
		return answer(v1.WorkflowVersions{Items: []v1.WorkflowVersion{{Version: d.Version, Hash: d.Hash()}}}), nil
	}
	items, next, err := s.Workflows.Versions(ctx, callOf(ctx).principal.Tenant, in.Workflow, f, p)
	if err != nil {
		return nil, err
	}
	return answer(v1.WorkflowVersions{Items: list(items), Next: s.cursor(name, f, next)}), nil
}

type createWorkflowInput struct{ CommandHeaders }

func (s *server) createWorkflow(ctx context.Context, in *createWorkflowInput) (*created, error) {
	d, err := s.readDefinition(ctx)
	if err != nil {
		return nil, err
	}
	return s.create(ctx, in.CommandHeaders, d, nil)
}

func (s *server) create(ctx context.Context, in CommandHeaders, d domain.Definition, from *domain.Ref) (*created, error) {
	if _, ok := s.stock(d.ID); ok {
		return nil, errTaken
	}
	d.Version = 1
	r, err := s.do(ctx, in, commands.CreateWorkflow{Workflow: s.workflowStream(ctx, d.ID), Definition: d, CopiedFrom: from}, nil)
	if err != nil {
		return nil, err
	}
	return &created{Location: "/api/v1/workflows/" + d.ID, Body: named(r, d.ID)}, nil
}

// named is a receipt that speaks of a workflow by the id users gave it.
func named(r done, id string) v1.Receipt {
	r.ID = id
	return r.Receipt
}

type reviseWorkflowInput struct {
	MatchHeaders
	Workflow string `path:"workflow" maxLength:"128" doc:"Id of the workflow" example:"two-step"`
}

func (s *server) reviseWorkflow(ctx context.Context, in *reviseWorkflowInput) (*body[v1.Receipt], error) {
	expected, err := s.changeable(in.Workflow, in.MatchHeaders)
	if err != nil {
		return nil, err
	}
	d, err := s.readDefinition(ctx)
	if err != nil {
		return nil, err
	}
	if d.ID != in.Workflow {
		return nil, domain.InvalidField("id", "is not the id in the path", "send "+in.Workflow+", or create a workflow of its own")
	}
	r, err := s.do(ctx, in.CommandHeaders, commands.ReviseWorkflow{Workflow: s.workflowStream(ctx, in.Workflow), Definition: d}, expected)
	if err != nil {
		return nil, err
	}
	return answer(named(r, in.Workflow)), nil
}

// changeable checks what a change of a workflow needs whatever the change is.
func (s *server) changeable(id string, in MatchHeaders) (*domain.Sequence, error) {
	if _, ok := s.stock(id); ok {
		return nil, errReadOnly
	}
	if !ownID.MatchString(id) {
		return nil, errNotFound
	}
	return in.expected()
}

type archiveWorkflowInput struct {
	MatchHeaders
	Workflow string `path:"workflow" maxLength:"128" doc:"Id of the workflow" example:"two-step"`
}

func (s *server) archiveWorkflow(ctx context.Context, in *archiveWorkflowInput) (*body[v1.Receipt], error) {
	expected, err := s.changeable(in.Workflow, in.MatchHeaders)
	if err != nil {
		return nil, err
	}
	r, err := s.do(ctx, in.CommandHeaders, commands.ArchiveWorkflow{Workflow: s.workflowStream(ctx, in.Workflow)}, expected)
	if err != nil {
		return nil, err
	}
	return answer(named(r, in.Workflow)), nil
}

type copyWorkflowInput struct {
	CommandHeaders
	Workflow string `path:"workflow" maxLength:"128" doc:"Id of the workflow" example:"two-step"`
	Body     v1.CopyWorkflow
}

func (s *server) copyWorkflow(ctx context.Context, in *copyWorkflowInput) (*created, error) {
	w, err := s.workflow(ctx, in.Workflow, 0, 0)
	if err == nil && w.Definition == nil {
		err = fmt.Errorf("workflow %s has no definition", in.Workflow)
	}
	if err != nil {
		r, err := s.refused(ctx, in.CommandHeaders, err)
		if err != nil {
			return nil, err
		}
		return &created{Location: "/api/v1/workflows/" + in.Body.ID, Body: named(r, in.Body.ID)}, nil
	}
	d := *w.Definition
	from := domain.Ref{ID: d.ID, Version: d.Version, Hash: d.Hash()}
	d.ID = in.Body.ID
	if in.Body.Title != "" {
		d.Title = in.Body.Title
	}
	return s.create(ctx, in.CommandHeaders, d, &from)
}
