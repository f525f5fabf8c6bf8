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
	Name     string
	Archived bool            // include those taken out of use
	At       domain.Position // as of a position; 0: now
}

// WorkflowPage is one page of a list. Next is empty on the last.
type WorkflowPage struct {
	Workflows []Workflow
	Next      string
}

const (
	workflowRow = `tenant, workflow, name, title, definition_version, hash, copied_from, archived,
    created, created_by, updated, updated_by, version, position`

	// The content of a version comes from the versions, so that one statement
	// answers as of any position. $2 = 0: now.
	workflowsAsOf = `
with w as (
    select ` + workflowRow + ` from workflows
    where build = live_build('workflows', 1) and tenant = $1 and ($2 = 0 or valid_from <= $2)
    union all
    select ` + workflowRow + ` from workflows_history
    where $2 > 0 and build = live_build('workflows', 1) and tenant = $1 and valid_from <= $2 and valid_to > $2)
select w.*, v.definition from w
join workflow_versions v on v.build = live_build('workflows', 1) and v.tenant = w.tenant
    and v.workflow = w.workflow and v.definition_version = w.definition_version`

	workflowGetSQL = workflowsAsOf + ` where w.workflow = $3`

	workflowListSQL = workflowsAsOf + `
where ($3 = '' or w.name = $3) and ($4 or not w.archived) and ($5 = '' or (w.name, w.workflow) > ($5, $6))
order by w.name, w.workflow limit $7`

	workflowVersionsSQL = `
select tenant, workflow, definition_version, title, hash, definition, recorded, actor, version, position
from workflow_versions
where build = live_build('workflows', 1) and tenant = $1 and workflow = $2 order by definition_version`
)

// ErrWorkflowNotFound is also the answer for another tenant's workflow.
var ErrWorkflowNotFound = &domain.Error{Kind: domain.NotFound, Code: "workflow.not_found", Message: "there is no such workflow"}

// Get returns a workflow as of a position; 0: now.
func (q Workflows) Get(ctx context.Context, tenant domain.Tenant, id string, at domain.Position) (Workflow, error) {
	found, err := collect[Workflow](ctx, q.DB, workflowGetSQL, []any{tenant, at, id})
	if err != nil {
		return Workflow{}, fmt.Errorf("get workflow %s: %w", id, err)
	}
	if len(found) == 0 {
		return Workflow{}, ErrWorkflowNotFound
	}
	return found[0], nil
}

// List returns a page of workflows by name.
func (q Workflows) List(ctx context.Context, tenant domain.Tenant, f WorkflowFilter, after string, limit int) (WorkflowPage, error) {
	last, err := decodeCursor(after, "workflow", 2)
	if err != nil {
		return WorkflowPage{}, err
	}
	if last == nil {
		last = []string{"", ""}
	}
	n := limitOf(limit)
	found, err := collect[Workflow](ctx, q.DB, workflowListSQL, []any{tenant, f.At, f.Name, f.Archived, last[0], last[1], n + 1})
	if err != nil {
		return WorkflowPage{}, fmt.Errorf("list workflows: %w", err)
	}
	page := WorkflowPage{Workflows: found}
	if len(found) > n {
		page.Workflows = found[:n]
		w := found[n-1]
		page.Next = cursor{"workflow", []string{w.Name, w.Workflow}}.encode()
	}
	return page, nil
}

// Versions returns every version of a workflow, the oldest first.
func (q Workflows) Versions(ctx context.Context, tenant domain.Tenant, id string) ([]WorkflowVersion, error) {
	found, err := collect[WorkflowVersion](ctx, q.DB, workflowVersionsSQL, []any{tenant, id})
	if err != nil {
		return nil, fmt.Errorf("list versions of %s: %w", id, err)
	}
	if len(found) == 0 {
		return nil, ErrWorkflowNotFound
	}
	return found, nil
}
