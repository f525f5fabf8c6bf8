package v1

import (
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Workflow is a workflow definition, stock or your own.
type Workflow struct {
	ID         string             `json:"id"`
	Version    int                `json:"version"`
	Title      string             `json:"title"`
	Summary    string             `json:"summary,omitempty"`
	Stock      bool               `json:"stock" doc:"Comes with the product and is read-only: copy it to change it"`
	Archived   bool               `json:"archived,omitempty"`
	Hash       string             `json:"hash,omitempty" doc:"Content hash"`
	CopiedFrom *Ref               `json:"copied_from,omitempty"`
	Changed    *time.Time         `json:"changed,omitempty"`
	ETag       Ordinal            `json:"etag" doc:"Version to send as If-Match; 0 for stock ones"`
	Definition *domain.Definition `json:"definition,omitempty" doc:"Left out in lists"`
}

// WorkflowList is one page of workflows.
type WorkflowList struct {
	Items []Workflow `json:"items" nullable:"false"`
	Next  string     `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}

// WorkflowVersion is one version of a definition.
type WorkflowVersion struct {
	Version  int       `json:"version"`
	Hash     string    `json:"hash"`
	Recorded time.Time `json:"recorded,omitzero"`
	By       string    `json:"by,omitempty"`
}

// WorkflowVersions is one page of the versions of a workflow.
type WorkflowVersions struct {
	Items []WorkflowVersion `json:"items" nullable:"false"`
	Next  string            `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}

// CopyWorkflow is the body of a request to copy a workflow.
type CopyWorkflow struct {
	ID    string `json:"id" minLength:"1" maxLength:"80" pattern:"^[a-z0-9]+(-[a-z0-9]+)*$" doc:"Identifier of the copy"`
	Title string `json:"title,omitempty" maxLength:"200" doc:"Title of the copy; that of the original if left out"`
}
