package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

// Route is one row of the routing table.
type Route struct {
	Method     string
	Path       string
	Permission domain.Permission // what the caller must hold
	// Open says that the row has no permission on purpose: it is for everybody
	// (Open: "public"), or for everybody with a valid token ("token").
	Open    string
	Name    string // operation id
	Summary string
}

// row is a route and how it is carried out.
type row struct {
	Route
	status  int  // of success; 0: 200
	fresh   bool // waits for the caller's position and states its own
	command bool // carries out a command
	body    bool // takes a body
	tus     bool // speaks the protocol of uploads
	// streamed says that the endpoint reads the body as it comes, within limits of
	// its own.
	streamed bool
	mount    func(*server, huma.Operation)
}

// The values of Route.Open.
const (
	public    = "public"
	tokenOnly = "token"
)

// Routes returns the routing table.
func Routes() []Route {
	rows := table()
	routes := make([]Route, len(rows))
	for i, r := range rows {
		routes[i] = r.Route
	}
	return routes
}

// table is every route of the API, in the order of the reference page.
func table() []row {
	const base = "/api/v1"
	get := func(path string, p domain.Permission, name, summary string, mount func(*server, huma.Operation)) row {
		return row{Route: Route{http.MethodGet, base + path, p, "", name, summary}, fresh: true, mount: mount}
	}
	stream := func(path string, p domain.Permission, name, summary string, mount func(*server, huma.Operation)) row {
		return row{Route: Route{http.MethodGet, base + path, p, "", name, summary}, mount: mount}
	}
	do := func(method, path string, status int, p domain.Permission, name, summary string, mount func(*server, huma.Operation)) row {
		return row{
			Route: Route{method, base + path, p, "", name, summary}, status: status, fresh: true, command: true,
			body: method != http.MethodDelete, mount: mount,
		}
	}
	open := func(path, open, name, summary string, mount func(*server, huma.Operation)) row {
		return row{Route: Route{http.MethodGet, path, "", open, name, summary}, mount: mount}
	}
	tus := func(r row) row { r.tus, r.body = true, false; return r }
	const created, ok = http.StatusCreated, http.StatusOK
	return []row{
		do(http.MethodPost, "/workflows/{workflow}/runs", created, domain.RunStart, "start-run", "Start a run", endpoint((*server).startRun)),
		get("/runs", domain.RunRead, "list-runs", "List runs", endpoint((*server).listRuns)),
		stream("/runs/stream", domain.RunRead, "stream-runs", "Follow the list of runs", streaming((*server).streamRuns)),
		get("/runs/{run}", domain.RunRead, "get-run", "Read a run, now or as of a point of the past", endpoint((*server).getRun)),
		get("/runs/{run}/events", domain.RunRead, "list-run-events", "Read the timeline of a run", endpoint((*server).listRunEvents)),
		stream("/runs/{run}/stream", domain.RunRead, "stream-run", "Follow a run", streaming((*server).streamRun)),
		do(http.MethodPost, "/runs/{run}/cancel", ok, domain.RunCancel, "cancel-run", "Cancel a run", endpoint((*server).cancelRun)),

		do(http.MethodPost, "/runs/{run}/erase", ok, domain.ContentErase, "erase-run", "Erase the content of a run that has ended, for ever", endpoint((*server).eraseRun)),
		do(http.MethodPost, "/people/{person}/erase", ok, domain.ContentErase, "erase-person", "Erase the names of a person, for ever", endpoint((*server).erasePerson)),

		get("/workflows", domain.WorkflowRead, "list-workflows", "List workflows", endpoint((*server).listWorkflows)),
		do(http.MethodPost, "/workflows", created, domain.WorkflowWrite, "create-workflow", "Create a workflow", withDefinition((*server).createWorkflow)),
		get("/workflows/{workflow}", domain.WorkflowRead, "get-workflow", "Read a workflow", endpoint((*server).getWorkflow)),
		do(http.MethodPut, "/workflows/{workflow}", ok, domain.WorkflowWrite, "revise-workflow", "Store a new version of a workflow", withDefinition((*server).reviseWorkflow)),
		do(http.MethodDelete, "/workflows/{workflow}", ok, domain.WorkflowWrite, "archive-workflow", "Take a workflow out of use", endpoint((*server).archiveWorkflow)),
		do(http.MethodPost, "/workflows/{workflow}/copy", created, domain.WorkflowWrite, "copy-workflow", "Copy a workflow to make it your own", endpoint((*server).copyWorkflow)),
		get("/workflows/{workflow}/versions", domain.WorkflowRead, "list-workflow-versions", "List the versions of a workflow", endpoint((*server).listVersions)),

		get("/agents", domain.AgentRead, "list-agents", "List agents", endpoint((*server).listAgents)),
		get("/agents/{agent}", domain.AgentRead, "get-agent", "Read an agent", endpoint((*server).getAgent)),
		get("/templates", domain.AgentRead, "list-templates", "List templates", endpoint((*server).listTemplates)),
		get("/templates/{template}", domain.AgentRead, "get-template", "Read a template", endpoint((*server).getTemplate)),

		do(http.MethodPost, "/tasks", created, domain.TaskCreate, "create-task", "Give an agent one task", endpoint((*server).createTask)),
		get("/tasks", domain.TaskRead, "list-tasks", "List tasks", endpoint((*server).listTasks)),
		stream("/tasks/stream", domain.TaskRead, "stream-tasks", "Follow the list of tasks", streaming((*server).streamTasks)),
		get("/tasks/{task}", domain.TaskRead, "get-task", "Read a task and its result", endpoint((*server).getTask)),

		tus(row{Route: Route{http.MethodOptions, base + "/uploads", "", public, "upload-options", "Read what uploads may be"}, status: http.StatusNoContent, mount: endpoint((*server).uploadOptions)}),
		tus(do(http.MethodPost, "/uploads", created, domain.FileWrite, "create-upload", "Begin to upload a file", endpoint((*server).createUpload))),
		tus(stream("/uploads/{file}", domain.FileWrite, "get-upload", "Read how far an upload is", endpoint((*server).getUpload))),
		tus(row{Route: Route{http.MethodPatch, base + "/uploads/{file}", domain.FileWrite, "", "append-upload", "Send content of a file"}, status: http.StatusNoContent, streamed: true, mount: appendUpload}),
		tus(do(http.MethodDelete, "/uploads/{file}", http.StatusNoContent, domain.FileWrite, "end-upload", "Give an upload up", endpoint((*server).endUpload))),
		get("/files", domain.FileRead, "list-files", "List files", endpoint((*server).listFiles)),
		get("/files/{file}", domain.FileRead, "get-file", "Read about a file", endpoint((*server).getFile)),
		stream("/files/{file}/content", domain.FileRead, "get-file-content", "Read the content of a file", fileContent),
		do(http.MethodPost, "/files/{file}/erase", ok, domain.ContentErase, "erase-file", "Erase a file, for ever", endpoint((*server).eraseFile)),

		get("/analytics/workflows", domain.AnalyticsRead, "workflow-analytics", "Runs, durations, tokens and cost by workflow and day", endpoint((*server).workflowAnalytics)),
		get("/analytics/agents", domain.AnalyticsRead, "agent-analytics", "Steps, durations, tokens and cost by agent and day", endpoint((*server).agentAnalytics)),

		stream("/log", domain.LogRead, "read-log", "Read the log", endpoint((*server).readLog)),
		stream("/log/stream", domain.LogRead, "stream-log", "Follow the log", streaming((*server).streamLog)),
		stream("/log/head", domain.LogRead, "log-head", "Read the end of the log", endpoint((*server).logHead)),

		get("/tokens", domain.TokenManage, "list-tokens", "List access tokens, without their secrets", endpoint((*server).listTokens)),
		do(http.MethodPost, "/tokens/rotate", ok, domain.TokenManage, "rotate-token", "Replace the secret of the token in use", endpoint((*server).rotateToken)),
		open(base+"/me", tokenOnly, "me", "Read who you are", endpoint((*server).me)),
		stream("/monitoring/prometheus/metrics", domain.AnalyticsRead, "metrics-v1", "Metrics in the Prometheus text format", raw((*server).metrics)),

		open("/health", public, "health", "Whether the process is alive", endpoint((*server).health)),
		open(readyRoute, public, "ready", "Whether requests can be served", endpoint((*server).ready)),
		open("/metrics", public, "metrics", "Metrics in the Prometheus text format, for local or permitted callers", raw((*server).metrics)),
		open("/api/openapi.json", public, "openapi", "This description", document(typeOpenAPI, (*server).openapi)),
		open("/api/asyncapi.yaml", public, "asyncapi", "The topics on Kafka, as AsyncAPI", document(yamlType, (*server).asyncapi)),
		open("/schema/events/{name}", public, "event-schema", "The JSON Schema of one version of an event", document(typeSchema, (*server).eventSchema)),
		open("/api/docs", public, "docs", "A page to read and try the API", document(typeHTML, (*server).docsPage)),
		open("/api/docs/{name}", public, "docs-file", "What the page loads", document("text/javascript", (*server).docsFile)),
		open("/problems", public, "problems", "Every problem there is", document(typeHTML, (*server).problemsPage)),
		open("/problems/{name}", public, "problem", "What a problem means and what to do", document(typeHTML, (*server).problemOne)),
	}
}

// endpoint adapts a method of the server to huma, and its error to a problem.
func endpoint[I, O any](f func(*server, context.Context, *I) (*O, error)) func(*server, huma.Operation) {
	return func(s *server, op huma.Operation) {
		huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
			out, err := f(s, ctx, in)
			if err != nil {
				return nil, s.problemOf(ctx, err)
			}
			return out, nil
		})
	}
}

// body is an answer without headers of its own; those are set on the call.
type body[T any] struct{ Body T }

func answer[T any](v T) *body[T] { return &body[T]{v} }

// operationOf finds what was registered.
func operationOf(spec *huma.OpenAPI, method, path string) *huma.Operation {
	item := spec.Paths[path]
	switch method {
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodDelete:
		return item.Delete
	case http.MethodPatch:
		return item.Patch
	case http.MethodOptions:
		return item.Options
	}
	return item.Get
}

// me answers with who asks.
func (s *server) me(ctx context.Context, _ *struct{}) (*body[v1.Me], error) {
	c := callOf(ctx)
	me := v1.Me{Tenant: string(c.principal.Tenant), Token: c.token.Entity(), Permissions: []string{}}
	if n := len(c.principal.Chain); n > 0 {
		me.Actor, me.Kind = c.principal.Chain[0].ID, c.principal.Chain[0].Kind
	}
	opens := s.opens(ctx)
	opens.may = true // it is the caller's own
	me.Name = opens.text(c.token, typeIssued, "holder", c.holder)
	if me.Erased = opens.erased; opens.err != nil {
		return nil, opens.err
	}
	for _, p := range c.principal.Permissions {
		me.Permissions = append(me.Permissions, string(p))
	}
	return answer(me), nil
}
