package commands

import "github.com/hishamos/hishamos/domain"

// Workflow is what may be asked of a user's own workflow definition.
//
//sumtype:decl
type Workflow interface {
	Command
	isWorkflow()
}

// CreateWorkflow stores the first version of a definition.
type CreateWorkflow struct {
	Workflow   domain.StreamID
	Definition domain.Definition
	CopiedFrom *domain.Ref
}

// ReviseWorkflow stores a further version.
type ReviseWorkflow struct {
	Workflow   domain.StreamID
	Definition domain.Definition
}

// ArchiveWorkflow takes the definition out of use.
type ArchiveWorkflow struct{ Workflow domain.StreamID }

func (CreateWorkflow) CommandName() string  { return "workflow.create" }
func (ReviseWorkflow) CommandName() string  { return "workflow.revise" }
func (ArchiveWorkflow) CommandName() string { return "workflow.archive" }

func (c CreateWorkflow) Target() domain.StreamID  { return c.Workflow }
func (c ReviseWorkflow) Target() domain.StreamID  { return c.Workflow }
func (c ArchiveWorkflow) Target() domain.StreamID { return c.Workflow }

func (CreateWorkflow) Needs() domain.Permission  { return domain.WorkflowWrite }
func (ReviseWorkflow) Needs() domain.Permission  { return domain.WorkflowWrite }
func (ArchiveWorkflow) Needs() domain.Permission { return domain.WorkflowWrite }

// Validate implements Command.
func (c CreateWorkflow) Validate() error { return validStream("workflow", c.Workflow, "workflow") }

// Validate implements Command.
func (c ReviseWorkflow) Validate() error { return validStream("workflow", c.Workflow, "workflow") }

// Validate implements Command.
func (c ArchiveWorkflow) Validate() error { return validStream("workflow", c.Workflow, "workflow") }

func (CreateWorkflow) isWorkflow()  {}
func (ReviseWorkflow) isWorkflow()  {}
func (ArchiveWorkflow) isWorkflow() {}
