package api

import (
	"context"
	"io"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

// Waiter knows how far the log has been carried.
type Waiter interface {
	// Logged waits until Kafka has everything up to a position.
	Logged(ctx context.Context, p domain.Position) error
	// Projected waits until every read model of the API reflects a position.
	Projected(ctx context.Context, p domain.Position) error
	// Reached is the position that every read model of the API reflects now.
	Reached(ctx context.Context) (domain.Position, error)
	// At is the position of the last event recorded at or before an instant; 0:
	// there was none yet.
	At(ctx context.Context, instant time.Time) (domain.Position, error)
}

// Page is a part of a list. After is empty for the first page, else what the
// page before returned as next.
type Page struct {
	Limit int
	After string
}

// RunFilter says which runs are wanted; empty fields want all.
type RunFilter struct {
	States    []string
	Workflow  string
	StartedBy string
	Since     time.Time // started at or after
	Until     time.Time // started before
	OldestTop bool      // order by start, ascending instead of descending
	At        domain.Position
}

// TaskFilter says which tasks are wanted; empty fields want all.
type TaskFilter struct {
	States    []string
	Agent     string
	Workflow  string
	Run       string
	OldestTop bool // order by creation, ascending instead of descending
	At        domain.Position
}

// WorkflowFilter says which of the users' own workflows are wanted.
type WorkflowFilter struct {
	Archived   bool // those out of use too
	Descending bool // order by id, the last first
	At         domain.Position
}

// VersionFilter says which versions of a workflow are wanted.
type VersionFilter struct {
	OldestTop bool // order by version, ascending instead of descending
	At        domain.Position
}

// FileFilter says which files are wanted.
type FileFilter struct {
	State     string // empty: those that were not removed
	OldestTop bool   // order by creation, ascending instead of descending
	At        domain.Position
}

// UsageFilter is a period: days from and to, both included, and what is wanted
// of it.
type UsageFilter struct {
	From, To  time.Time
	ID        string // of one workflow, or one agent; empty: all
	NewestTop bool   // order by day, descending instead of ascending
	At        domain.Position
}

// TokenFilter says in which order tokens are wanted.
type TokenFilter struct {
	Descending bool // by id, the last first
}

// A position of 0 stands for now. Errors of all: a thing that is not there, or of another tenant, is an
// *domain.Error of kind NotFound; a Page.After that no page returned is one of
// kind Invalid.
type (
	// Runs is what can be read of runs.
	Runs interface {
		Run(ctx context.Context, t domain.Tenant, id string, at domain.Position) (v1.Run, error)
		Runs(ctx context.Context, t domain.Tenant, f RunFilter, p Page) (items []v1.Run, next string, err error)
	}
	// Tasks is what can be read of the jobs of agents.
	Tasks interface {
		Task(ctx context.Context, t domain.Tenant, run, path string, at domain.Position) (v1.Task, error)
		Tasks(ctx context.Context, t domain.Tenant, f TaskFilter, p Page) (items []v1.Task, next string, err error)
	}
	// Workflows is what can be read of users' own workflows.
	Workflows interface {
		// Workflow returns a version with its definition; 0: the newest.
		Workflow(ctx context.Context, t domain.Tenant, id string, version int, at domain.Position) (v1.Workflow, error)
		Workflows(ctx context.Context, t domain.Tenant, f WorkflowFilter, p Page) (items []v1.Workflow, next string, err error)
		Versions(ctx context.Context, t domain.Tenant, id string, f VersionFilter, p Page) (items []v1.WorkflowVersion, next string, err error)
	}
	// Contents opens sealed values.
	Contents interface {
		// Sealed reports whether a text is a sealed value.
		Sealed(text string) bool
		// Open opens one that an event of a stream holds in a field. Erased says that
		// it is gone for ever; that it cannot be read now is an error.
		Open(ctx context.Context, stream domain.StreamID, event, field, text string) (plain []byte, erased bool, err error)
	}
	// Erasures knows what there is to erase.
	Erasures interface {
		// RunKeys returns the keys of a run's content; a run that goes on is a conflict.
		RunKeys(ctx context.Context, run domain.StreamID) ([]string, error)
		// PersonKey returns the key of a person's names.
		PersonKey(ctx context.Context, t domain.Tenant, person string) (string, error)
	}
	// Files is what can be read of files.
	Files interface {
		File(ctx context.Context, t domain.Tenant, id string, at domain.Position) (v1.File, error)
		Files(ctx context.Context, t domain.Tenant, f FileFilter, p Page) (items []v1.File, next string, err error)
	}
	// Uploads takes the content of files, and gives it back.
	Uploads interface {
		// Begin makes room for a file, and the key of its content.
		Begin(ctx context.Context, file domain.StreamID, size int64) (key string, expires time.Time, err error)
		// GiveBack undoes Begin.
		GiveBack(ctx context.Context, file domain.StreamID) error
		// State is how far an upload is; a file that was removed is not found.
		State(ctx context.Context, file domain.StreamID) (UploadState, error)
		// Append keeps what a body brings and returns how much is kept then.
		Append(ctx context.Context, file domain.StreamID, offset int64, body io.Reader, check *domain.Checksum) (int64, error)
		// Finish returns the command that completes a file of which all is kept.
		Finish(ctx context.Context, file domain.StreamID) (commands.CompleteUpload, error)
		// Open opens a complete file.
		Open(ctx context.Context, file domain.StreamID) (*FileContent, error)
		// Keys returns the keys of a complete file.
		Keys(ctx context.Context, file domain.StreamID) ([]string, error)
	}
	// Tokens is what can be read of access tokens.
	Tokens interface {
		Tokens(ctx context.Context, t domain.Tenant, f TokenFilter, p Page) (items []v1.Token, next string, err error)
	}
	// Usage is what can be read of a period.
	Usage interface {
		ByWorkflow(ctx context.Context, t domain.Tenant, f UsageFilter, p Page) (items []v1.WorkflowUsage, next string, err error)
		ByAgent(ctx context.Context, t domain.Tenant, f UsageFilter, p Page) (items []v1.AgentUsage, next string, err error)
	}
)
