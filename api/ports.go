package api

import (
	"context"
	"time"

	"github.com/hishamos/hishamos/api/v1"
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
}

// At is a point of the past: a position, or else an instant, which stands for
// the last event recorded at or before it.
type At struct {
	Position domain.Position
	Instant  time.Time
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
	Since     time.Time // started at or after
	OldestTop bool      // order by start, ascending instead of descending
}

// TaskFilter says which tasks are wanted; empty fields want all.
type TaskFilter struct {
	States []string
	Agent  string
	Run    string
}

// Errors of all: a thing that is not there, or of another tenant, is an
// *domain.Error of kind NotFound; a Page.After that no page returned is one of
// kind Invalid.
type (
	// Runs is what can be read of runs.
	Runs interface {
		Run(ctx context.Context, t domain.Tenant, id string) (v1.Run, error)
		RunAt(ctx context.Context, t domain.Tenant, id string, at At) (v1.Run, error)
		Runs(ctx context.Context, t domain.Tenant, f RunFilter, p Page) (items []v1.Run, next string, err error)
	}
	// Tasks is what can be read of the jobs of agents.
	Tasks interface {
		Task(ctx context.Context, t domain.Tenant, run, path string) (v1.Task, error)
		Tasks(ctx context.Context, t domain.Tenant, f TaskFilter, p Page) (items []v1.Task, next string, err error)
	}
	// Workflows is what can be read of users' own workflows.
	Workflows interface {
		// Workflow returns a version with its definition; 0: the newest.
		Workflow(ctx context.Context, t domain.Tenant, id string, version int) (v1.Workflow, error)
		Workflows(ctx context.Context, t domain.Tenant, archived bool, p Page) (items []v1.Workflow, next string, err error)
		Versions(ctx context.Context, t domain.Tenant, id string) ([]v1.WorkflowVersion, error)
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
	// Usage is what can be read of a period: days from and to, both included.
	Usage interface {
		ByWorkflow(ctx context.Context, t domain.Tenant, from, to time.Time) ([]v1.WorkflowUsage, error)
		ByAgent(ctx context.Context, t domain.Tenant, from, to time.Time) ([]v1.AgentUsage, error)
	}
)
