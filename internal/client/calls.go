package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hishamos/hishamos/api/v1"
)

// Document is a workflow definition as text, with its media type.
type Document struct {
	Text  []byte
	Media string
}

// Page is a part of a list.
type Page struct {
	Limit  int
	Cursor string
}

func (p Page) values() url.Values {
	q := url.Values{}
	if p.Limit > 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.Cursor != "" {
		q.Set("cursor", p.Cursor)
	}
	return q
}

func set(q url.Values, name string, values ...string) {
	if joined := strings.Join(values, ","); joined != "" {
		q.Set(name, joined)
	}
}

// StartRun starts a run. With o.After "ended" the answer says how it ended, if it
// did within o.Wait.
func (c *Client) StartRun(ctx context.Context, workflow string, body v1.StartRun, o Command) (v1.Started, error) {
	var out v1.Started
	return out, c.command(ctx, http.MethodPost, escape("workflows", workflow, "runs"), body, o, &out)
}

// Run reads a run, now or as of a position or an instant.
func (c *Client) Run(ctx context.Context, id, at string) (v1.Run, error) {
	q := url.Values{}
	set(q, "at", at)
	var out v1.Run
	_, err := c.get(ctx, escape("runs", id), q, &out)
	return out, err
}

// RunsQuery says which runs are wanted; empty fields want all.
type RunsQuery struct {
	Page
	States   []string
	Workflow string
	Since    time.Time
	Oldest   bool // first
}

// Runs lists runs.
func (c *Client) Runs(ctx context.Context, in RunsQuery) (v1.RunList, error) {
	q := in.values()
	set(q, "state", in.States...)
	set(q, "workflow", in.Workflow)
	if !in.Since.IsZero() {
		q.Set("since", in.Since.UTC().Format(time.RFC3339))
	}
	if in.Oldest {
		q.Set("sort", "started")
	}
	var out v1.RunList
	_, err := c.get(ctx, escape("runs"), q, &out)
	return out, err
}

// RunEvents reads the timeline of a run after a sequence.
func (c *Client) RunEvents(ctx context.Context, id string, after v1.Ordinal, limit int) (v1.EventList, error) {
	q := Page{Limit: limit}.values()
	q.Set("after", after.String())
	var out v1.EventList
	_, err := c.get(ctx, escape("runs", id, "events"), q, &out)
	return out, err
}

// CancelRun cancels a run.
func (c *Client) CancelRun(ctx context.Context, id, reason string, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodPost, escape("runs", id, "cancel"), v1.CancelRun{Reason: reason}, o, &out)
}

// EraseRun erases the content of a run for ever.
func (c *Client) EraseRun(ctx context.Context, id, reason string, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodPost, escape("runs", id, "erase"), v1.Erase{Reason: reason}, o, &out)
}

// ErasePerson erases the names of a person for ever.
func (c *Client) ErasePerson(ctx context.Context, id, reason string, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodPost, escape("people", id, "erase"), v1.Erase{Reason: reason}, o, &out)
}

// Workflows lists workflows.
func (c *Client) Workflows(ctx context.Context, p Page, archived bool) (v1.WorkflowList, error) {
	q := p.values()
	if archived {
		q.Set("archived", "true")
	}
	var out v1.WorkflowList
	_, err := c.get(ctx, escape("workflows"), q, &out)
	return out, err
}

// Workflow reads a version of a workflow; 0: the newest.
func (c *Client) Workflow(ctx context.Context, id string, version int) (v1.Workflow, error) {
	q := url.Values{}
	if version > 0 {
		q.Set("version", strconv.Itoa(version))
	}
	var out v1.Workflow
	_, err := c.get(ctx, escape("workflows", id), q, &out)
	return out, err
}

// WorkflowVersions lists the versions of a workflow.
func (c *Client) WorkflowVersions(ctx context.Context, id string) (v1.WorkflowVersions, error) {
	var out v1.WorkflowVersions
	_, err := c.get(ctx, escape("workflows", id, "versions"), nil, &out)
	return out, err
}

// CreateWorkflow stores a workflow.
func (c *Client) CreateWorkflow(ctx context.Context, d Document, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodPost, escape("workflows"), d, o, &out)
}

// ReviseWorkflow stores a new version of a workflow; o.Match is required.
func (c *Client) ReviseWorkflow(ctx context.Context, id string, d Document, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodPut, escape("workflows", id), d, o, &out)
}

// ArchiveWorkflow takes a workflow out of use; o.Match is required.
func (c *Client) ArchiveWorkflow(ctx context.Context, id string, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodDelete, escape("workflows", id), nil, o, &out)
}

// CopyWorkflow copies a workflow.
func (c *Client) CopyWorkflow(ctx context.Context, id string, body v1.CopyWorkflow, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodPost, escape("workflows", id, "copy"), body, o, &out)
}

// Agents lists the agents, or those that can do something.
func (c *Client) Agents(ctx context.Context, capability string) (v1.AgentList, error) {
	q := url.Values{}
	set(q, "capability", capability)
	var out v1.AgentList
	_, err := c.get(ctx, escape("agents"), q, &out)
	return out, err
}

// Agent reads an agent.
func (c *Client) Agent(ctx context.Context, id string) (v1.Agent, error) {
	var out v1.Agent
	_, err := c.get(ctx, escape("agents", id), nil, &out)
	return out, err
}

// CreateTask gives an agent a task.
func (c *Client) CreateTask(ctx context.Context, body v1.CreateTask, o Command) (v1.Receipt, error) {
	var out v1.Receipt
	return out, c.command(ctx, http.MethodPost, escape("tasks"), body, o, &out)
}

// TasksQuery says which tasks are wanted; empty fields want all.
type TasksQuery struct {
	Page
	States []string
	Agent  string
	Run    string
}

// Tasks lists tasks.
func (c *Client) Tasks(ctx context.Context, in TasksQuery) (v1.TaskList, error) {
	q := in.values()
	set(q, "state", in.States...)
	set(q, "agent", in.Agent)
	set(q, "run", in.Run)
	var out v1.TaskList
	_, err := c.get(ctx, escape("tasks"), q, &out)
	return out, err
}

// Task reads a task and its result.
func (c *Client) Task(ctx context.Context, id string) (v1.Task, error) {
	var out v1.Task
	_, err := c.get(ctx, escape("tasks", id), nil, &out)
	return out, err
}

// WorkflowAnalytics reads a period (days such as 2026-11-23; empty: the last 30
// days) by workflow and day.
func (c *Client) WorkflowAnalytics(ctx context.Context, from, to string) (v1.WorkflowAnalytics, error) {
	q := url.Values{}
	set(q, "from", from)
	set(q, "to", to)
	var out v1.WorkflowAnalytics
	_, err := c.get(ctx, escape("analytics", "workflows"), q, &out)
	return out, err
}

// AgentAnalytics reads a period by agent and day.
func (c *Client) AgentAnalytics(ctx context.Context, from, to string) (v1.AgentAnalytics, error) {
	q := url.Values{}
	set(q, "from", from)
	set(q, "to", to)
	var out v1.AgentAnalytics
	_, err := c.get(ctx, escape("analytics", "agents"), q, &out)
	return out, err
}

// Log reads the log after a position.
func (c *Client) Log(ctx context.Context, after v1.Ordinal, limit int, types ...string) (v1.EventList, error) {
	q := Page{Limit: limit}.values()
	q.Set("sealed", "true")
	q.Set("after", after.String())
	set(q, "type", types...)
	var out v1.EventList
	_, err := c.get(ctx, escape("log"), q, &out)
	return out, err
}

// Head reads the end of the log.
func (c *Client) Head(ctx context.Context) (v1.Head, error) {
	var out v1.Head
	_, err := c.get(ctx, escape("log", "head"), nil, &out)
	return out, err
}

// RotateToken replaces the secret of the token in use by the one with a hash.
func (c *Client) RotateToken(ctx context.Context, secretHash string, o Command) (v1.RotatedToken, error) {
	var out v1.RotatedToken
	return out, c.command(ctx, http.MethodPost, escape("tokens", "rotate"), v1.RotateToken{SecretHash: secretHash}, o, &out)
}

// Me reads who the token speaks for.
func (c *Client) Me(ctx context.Context) (v1.Me, error) {
	var out v1.Me
	_, err := c.get(ctx, escape("me"), nil, &out)
	return out, err
}
