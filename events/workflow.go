package events

import "github.com/hishamos/hishamos/domain"

// Workflow is what can happen to a user's own workflow definition.
//
//sumtype:decl
type Workflow interface {
	Event
	isWorkflow()
}

// WorkflowCreated is the first version of a definition.
type WorkflowCreated struct {
	Definition domain.Definition `json:"definition"`
	Hash       string            `json:"hash"`
	CopiedFrom *domain.Ref       `json:"copied_from,omitempty"`
}

// WorkflowRevised is a further version; runs keep the version they began with.
type WorkflowRevised struct {
	Definition domain.Definition `json:"definition"`
	Hash       string            `json:"hash"`
}

// WorkflowArchived takes the definition out of use; its history stays.
type WorkflowArchived struct{}

func (WorkflowCreated) EventType() string  { return "workflow.created" }
func (WorkflowRevised) EventType() string  { return "workflow.revised" }
func (WorkflowArchived) EventType() string { return "workflow.archived" }

func (WorkflowCreated) isWorkflow()  {}
func (WorkflowRevised) isWorkflow()  {}
func (WorkflowArchived) isWorkflow() {}

var workflowTypes = []Type{of[WorkflowCreated](), of[WorkflowRevised](), of[WorkflowArchived](closes)}
