package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/projection"
)

// Workflow is a user's own definition as it stands: its newest version.
type Workflow struct {
	Tenant            domain.Tenant     `db:"tenant,key"`
	Workflow          string            `db:"workflow,key"` // workflow_<uuid>
	Name              string            `db:"name"`         // the definition's id
	Title             string            `db:"title"`
	DefinitionVersion int               `db:"definition_version"`
	Hash              string            `db:"hash"`
	CopiedFrom        *domain.Ref       `db:"copied_from"`
	Archived          bool              `db:"archived"`
	Created           time.Time         `db:"created"`
	CreatedBy         string            `db:"created_by"`
	Updated           time.Time         `db:"updated"`
	UpdatedBy         string            `db:"updated_by"`
	Version           domain.Sequence   `db:"version"`
	Position          domain.Position   `db:"position"`
	Definition        domain.Definition `db:"definition,live"`
}

// WorkflowVersion is one version of a definition, kept for ever.
type WorkflowVersion struct {
	Tenant            domain.Tenant     `db:"tenant,key"`
	Workflow          string            `db:"workflow,key"`
	DefinitionVersion int               `db:"definition_version,key"`
	Title             string            `db:"title"`
	Hash              string            `db:"hash"`
	Definition        domain.Definition `db:"definition"`
	Recorded          time.Time         `db:"recorded"`
	Actor             string            `db:"actor"`
	Version           domain.Sequence   `db:"version"`
	Position          domain.Position   `db:"position"`
}

var (
	workflows        = projection.NewHistoryTable[Workflow]("workflows")
	workflowVersions = projection.NewTable[WorkflowVersion]("workflow_versions")
)

// WorkflowsDefinition fills workflows and workflow_versions.
func WorkflowsDefinition() *projection.Definition {
	return &projection.Definition{
		Name: "workflows", Version: 1,
		Tables:   []*projection.Schema{workflows.Schema, workflowVersions.Schema},
		Handlers: []projection.Handler{projection.On(workflowCreated), projection.On(workflowRevised), projection.On(workflowArchived)},
	}
}

func workflowKey(e events.Envelope) Workflow {
	return Workflow{Tenant: e.Stream.Tenant(), Workflow: e.Stream.Entity()}
}

// keepVersion writes a version of a definition and makes it the current one.
func keepVersion(w *projection.Rows, e events.Envelope, row *Workflow, d domain.Definition, hash string) {
	actor := actorID(e.Actor)
	row.Name, row.Title, row.DefinitionVersion, row.Hash, row.Definition = d.ID, d.Title, d.Version, hash, d
	row.Updated, row.UpdatedBy, row.Version, row.Position = e.Time, actor, e.Sequence, e.Position
	workflowVersions.Put(w, WorkflowVersion{
		Tenant: row.Tenant, Workflow: row.Workflow, DefinitionVersion: d.Version, Title: d.Title, Hash: hash,
		Definition: d, Recorded: e.Time, Actor: actor, Version: e.Sequence, Position: e.Position,
	})
}

func workflowCreated(w *projection.Rows, r events.Recorded[events.WorkflowCreated]) {
	row := workflowKey(r.Envelope)
	row.CopiedFrom, row.Created, row.CreatedBy = r.Event.CopiedFrom, r.Time, actorID(r.Actor)
	keepVersion(w, r.Envelope, &row, r.Event.Definition, r.Event.Hash)
	workflows.Insert(w, row)
}

func workflowRevised(w *projection.Rows, r events.Recorded[events.WorkflowRevised]) {
	row, ok := workflows.Get(w, workflowKey(r.Envelope))
	if !ok {
		w.Fail(errNoWorkflow)
		return
	}
	keepVersion(w, r.Envelope, &row, r.Event.Definition, r.Event.Hash)
	workflows.Put(w, row)
}

func workflowArchived(w *projection.Rows, r events.Recorded[events.WorkflowArchived]) {
	row, ok := workflows.Get(w, workflowKey(r.Envelope))
	if !ok {
		w.Fail(errNoWorkflow)
		return
	}
	row.Archived, row.Updated, row.UpdatedBy = true, r.Time, actorID(r.Actor)
	row.Version, row.Position = r.Sequence, r.Position
	workflows.Put(w, row)
}

var errNoWorkflow = errors.New("the workflow has no row: its first event was not applied")

// Workflows are the queries over user workflows.
type Workflows struct{ DB DB }

// WorkflowFilter narrows a list; zero fields do not.
type WorkflowFilter struct {
	Name       string
	Archived   bool            // include those taken out of use
	Descending bool            // the last name first
	At         domain.Position // as of a position; 0: now
}

const (
	workflowRow = `tenant, workflow, name, title, definition_version, hash, copied_from, archived,
    created, created_by, updated, updated_by, version, position`

	workflowColumns = `tenant, w.workflow, w.name, w.title, w.definition_version, w.hash, w.copied_from, w.archived,
    w.created, w.created_by, w.updated, w.updated_by, w.version, w.position`

	// The content of a version comes from the versions, so that the history needs
	// no copy of it.
	workflowContent = `
join workflow_versions d on d.build = live_build('workflows', 1) and d.tenant = w.tenant
    and d.workflow = w.workflow and d.definition_version = w.definition_version`

	// L is the live row, w the version that is asked for. Id and name are those of
	// both, for they never change: by the live row a workflow is found, and ordered.
	workflowsNow = `
select w.` + workflowColumns + `, d.definition
from workflows l cross join lateral (select l.*) w` + workflowContent + `
where l.build = live_build('workflows', 1) and l.tenant = $1`

	// $2 is the position.
	workflowsAsOf = `
select w.` + workflowColumns + `, d.definition
from workflows l cross join lateral (
    select ` + workflowRow + ` from (select l.*) n where n.valid_from <= $2
    union all
    select ` + workflowRow + ` from workflows_history h
    where l.valid_from > $2 and h.build = l.build and h.tenant = l.tenant and h.workflow = l.workflow and h.valid_from <= $2 and h.valid_to > $2
) w` + workflowContent + `
where l.build = live_build('workflows', 1) and l.tenant = $1`

	workflowVersionsSQL = `
select v.tenant, v.workflow, v.definition_version, v.title, v.hash, v.definition, v.recorded, v.actor, v.version, v.position
from workflow_versions v
where v.build = live_build('workflows', 1) and v.tenant = $1 and v.workflow = $2`
)

// ErrWorkflowNotFound is also the answer for another tenant's workflow.
var ErrWorkflowNotFound = &domain.Error{Kind: domain.NotFound, Code: "workflow.not_found", Message: "there is no such workflow"}

// Get returns a workflow as of a position; 0: now.
func (q Workflows) Get(ctx context.Context, tenant domain.Tenant, id string, at domain.Position) (Workflow, error) {
	p := source(tenant, at, workflowsNow, workflowsAsOf)
	p.where("l.workflow = %s", id)
	found, err := collect[Workflow](ctx, q.DB, p.sql, p.args)
	if err != nil {
		return Workflow{}, fmt.Errorf("get workflow %s: %w", id, err)
	}
	if len(found) == 0 {
		return Workflow{}, ErrWorkflowNotFound
	}
	return found[0], nil
}

// List returns a page of workflows by name.
func (q Workflows) List(ctx context.Context, tenant domain.Tenant, f WorkflowFilter, after string, limit int) (Page[Workflow], error) {
	p := source(tenant, f.At, workflowsNow, workflowsAsOf)
	if f.Name != "" {
		p.where("l.name = %s", f.Name)
	}
	if !f.Archived {
		p.where("not w.archived")
	}
	byName := order[Workflow]{
		"workflows", f.Descending,
		[]string{"l.name", "l.workflow"},
		func(w *Workflow) []any { return []any{&w.Name, &w.Workflow} },
	}
	return page(ctx, q.DB, p, byName, after, limit)
}

// Version returns one version of a workflow, if it was stored by a position; 0: by
// now.
func (q Workflows) Version(ctx context.Context, tenant domain.Tenant, id string, number int, at domain.Position) (WorkflowVersion, error) {
	p := &query{workflowVersionsSQL, []any{tenant, id}}
	p.where("v.definition_version = %s", number)
	if at != 0 {
		p.where("v.position <= %s", at)
	}
	found, err := collect[WorkflowVersion](ctx, q.DB, p.sql, p.args)
	if err != nil {
		return WorkflowVersion{}, fmt.Errorf("get version %d of %s: %w", number, id, err)
	}
	if len(found) == 0 {
		return WorkflowVersion{}, ErrWorkflowNotFound
	}
	return found[0], nil
}

// VersionFilter narrows the list of a workflow's versions.
type VersionFilter struct {
	NewestFirst bool
	At          domain.Position // stored by then; 0: now
}

// VersionPage returns a page of the versions of a workflow.
func (q Workflows) VersionPage(ctx context.Context, tenant domain.Tenant, id string, f VersionFilter, after string, limit int) (Page[WorkflowVersion], error) {
	p := &query{workflowVersionsSQL, []any{tenant, id}}
	if f.At != 0 {
		p.where("v.position <= %s", f.At)
	}
	byNumber := order[WorkflowVersion]{
		"versions", f.NewestFirst,
		[]string{"v.definition_version"},
		func(v *WorkflowVersion) []any { return []any{&v.DefinitionVersion} },
	}
	found, err := page(ctx, q.DB, p, byNumber, after, limit)
	if err == nil && len(found.Rows) == 0 && after == "" {
		return found, ErrWorkflowNotFound
	}
	return found, err
}
