package hishamos

import (
	"context"
	"fmt"
	"io"
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

// Page is a part of a list, in an order, as of a point of the past.
type Page struct {
	Limit  int
	Cursor string
	Sort   string // a column, with - before it for descending; empty: the list's own
	At     string // a position or an instant; empty: now
}

func (p Page) values() url.Values {
	q := url.Values{}
	if p.Limit > 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.Cursor != "" {
		q.Set("cursor", p.Cursor)
	}
	set(q, "sort", p.Sort)
	set(q, "at", p.At)
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
	States    []string
	Workflow  string
	StartedBy string
	Since     time.Time
	Until     time.Time
	Oldest    bool // first
}

// Runs lists runs.
func (c *Client) Runs(ctx context.Context, in RunsQuery) (v1.RunList, error) {
	q := in.values()
	set(q, "state", in.States...)
	set(q, "workflow", in.Workflow)
	set(q, "started_by", in.StartedBy)
	if !in.Since.IsZero() {
		q.Set("since", in.Since.UTC().Format(time.RFC3339))
	}
	if !in.Until.IsZero() {
		q.Set("until", in.Until.UTC().Format(time.RFC3339))
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
func (c *Client) WorkflowVersions(ctx context.Context, id string, p Page) (v1.WorkflowVersions, error) {
	var out v1.WorkflowVersions
	_, err := c.get(ctx, escape("workflows", id, "versions"), p.values(), &out)
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
func (c *Client) Agents(ctx context.Context, capability string, p Page) (v1.AgentList, error) {
	q := p.values()
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

// Templates lists the templates of the command library, or those of a category.
func (c *Client) Templates(ctx context.Context, category string, p Page) (v1.TemplateList, error) {
	q := p.values()
	set(q, "category", category)
	var out v1.TemplateList
	_, err := c.get(ctx, escape("templates"), q, &out)
	return out, err
}

// Template reads a template with its parameters.
func (c *Client) Template(ctx context.Context, id string) (v1.Template, error) {
	var out v1.Template
	_, err := c.get(ctx, escape("templates", id), nil, &out)
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
	States   []string
	Agent    string
	Workflow string
	Run      string
}

// Tasks lists tasks.
func (c *Client) Tasks(ctx context.Context, in TasksQuery) (v1.TaskList, error) {
	q := in.values()
	set(q, "state", in.States...)
	set(q, "agent", in.Agent)
	set(q, "workflow", in.Workflow)
	set(q, "run", in.Run)
	var out v1.TaskList
	_, err := c.get(ctx, escape("tasks"), q, &out)
	return out, err
}

// Task reads a task and its result, now or as of a position or an instant.
func (c *Client) Task(ctx context.Context, id, at string) (v1.Task, error) {
	q := url.Values{}
	set(q, "at", at)
	var out v1.Task
	_, err := c.get(ctx, escape("tasks", id), q, &out)
	return out, err
}

// UsageQuery is a period: days such as 2026-11-23, both included; empty: the
// last 30. ID narrows it to one workflow, or one agent.
type UsageQuery struct {
	Page
	From, To string
	ID       string
}

func (u UsageQuery) values(id string) url.Values {
	q := u.Page.values()
	set(q, "from", u.From)
	set(q, "to", u.To)
	set(q, id, u.ID)
	return q
}

// WorkflowAnalytics reads a period by day and workflow.
func (c *Client) WorkflowAnalytics(ctx context.Context, in UsageQuery) (v1.WorkflowAnalytics, error) {
	var out v1.WorkflowAnalytics
	_, err := c.get(ctx, escape("analytics", "workflows"), in.values("workflow"), &out)
	return out, err
}

// AgentAnalytics reads a period by day and agent.
func (c *Client) AgentAnalytics(ctx context.Context, in UsageQuery) (v1.AgentAnalytics, error) {
	var out v1.AgentAnalytics
	_, err := c.get(ctx, escape("analytics", "agents"), in.values("agent"), &out)
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

// Tokens returns a page of the access tokens of the tenant.
func (c *Client) Tokens(ctx context.Context, p Page) (v1.TokenList, error) {
	var out v1.TokenList
	_, err := c.get(ctx, escape("tokens"), p.values(), &out)
	return out, err
}

// Me reads who the token speaks for.
func (c *Client) Me(ctx context.Context) (v1.Me, error) {
	var out v1.Me
	_, err := c.get(ctx, escape("me"), nil, &out)
	return out, err
}

// Ready reads whether the server can serve requests, and if not, what is missing
// as far as the caller may know. Only a server that does not answer is an error.
func (c *Client) Ready(ctx context.Context) (v1.Status, error) {
	var out v1.Status
	response, err := c.send(ctx, request{method: http.MethodGet, path: "/ready", late: true})
	if err != nil {
		return out, err
	}
	return out, decode(response, &out)
}

// Health reads whether the server is alive, and its version.
func (c *Client) Health(ctx context.Context) (v1.Status, error) {
	var out v1.Status
	response, err := c.retry(ctx, request{method: http.MethodGet, path: "/health"})
	if err != nil {
		return out, err
	}
	return out, decode(response, &out)
}

// Document reads a document of the server by its path, such as
// /api/openapi.json or /api/v1/monitoring/prometheus/metrics.
func (c *Client) Document(ctx context.Context, path string) ([]byte, error) {
	response, err := c.retry(ctx, request{method: http.MethodGet, path: path})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}
