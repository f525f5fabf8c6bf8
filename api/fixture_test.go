package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/identity"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/domain/workflow"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/live"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/library"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stock is a library of one agent, one template and one workflow.
var stock = fstest.MapFS{
	"types.yaml": {Data: []byte("schema: types/v1\nkind: types\ntypes: {}\n")},
	"agents/writer.yaml": {Data: []byte(`{"schema":"agent/v1","kind":"agent","id":"writer","version":3,"name":"Writer","group":"g","mission":"Write.",
		"capabilities":[{"id":"writing","description":"Writes.","templates":["text.write"]}],"permissions":["document:read"],
		"model":{"temperature":0.5,"max_tokens":100},"prompt":{"mission_and_limits":"Write."},"budget":{"tokens":5,"amount":"7"}}`)},
	"commands/text/text.write.yaml": {Data: []byte(`{"schema":"template/v1","kind":"template","id":"text.write","version":2,"title":"Write a text",
		"parameters":[{"name":"notes","type":"text","required":true,"trust":"untrusted"},{"name":"words","type":"integer","default":5}],
		"prompt":{"task":"{{ .notes }} {{ .words }}"},"output":{"schema":{"type":"object"}}}`)},
	"workflows/stock.yaml": {Data: []byte(`{"schema":"workflow/v1","kind":"workflow","id":"stock","version":4,"title":"Stock workflow",
		"parameters":[{"name":"notes","type":"text","required":true}],
		"steps":[{"id":"write","kind":"agent","agent":"writer","template":"text.write","with":{"notes":"${inputs.notes}"}}]}`)},
}

// own is a definition that users may create.
const own = `{"id":"own","version":0,"title":"Mine","steps":[{"id":"a","kind":"noop"}]}`

// fixture is the API over the real dispatcher and the memory store; read models
// are kept up by hand.
type fixture struct {
	t      *testing.T
	store  *memory.Store
	server *httptest.Server
	log    *syncBuffer
	models *models
	waiter *waiter
	tokens *tokens
	opts   api.Options
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const (
	everything = "everything" // names of tokens
	reader     = "reader"
	stranger   = "stranger" // another tenant
	operator   = "operator" // the system's
)

func setup(t *testing.T, change ...func(*api.Options)) *fixture {
	t.Helper()
	lib, err := library.Load(stock)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, store: memory.New(memory.Options{}), log: &syncBuffer{}, tokens: newTokens()}
	f.models = &models{store: f.store}
	f.waiter = &waiter{store: f.store}
	hub := live.New(f.store, live.Options{Poll: time.Hour})
	running, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); hub.Run(running, f.store.Wake()) }()
	f.opts = api.Options{
		Dispatcher: dispatch.New(f.store, dispatch.Options{}, dispatch.For(run.Decider), dispatch.For(workflow.Decider), dispatch.For(identity.TokenDecider)),
		Runs:       f.models, Tasks: f.models, Workflows: f.models, Usage: f.models, Library: lib, Waiter: f.waiter, Hub: hub,
		Auth: auth.New(f.tokens, auth.Options{TTL: -1}), Metrics: telemetry.NewMetrics(), DigestKey: bytes.Repeat([]byte{7}, 32),
		Log: telemetry.NewLogger(f.log, "api", slog.LevelDebug), Version: "test", Wait: 50 * time.Millisecond, Heartbeat: 20 * time.Millisecond,
		Committed: func(ctx context.Context, t domain.Tenant, id domain.CommandID) (commands.Receipt, []byte, bool, error) {
			r, body, ok, err := f.store.Committed(ctx, t, id)
			out := commands.Receipt{First: r.First, Last: r.Last, Recorded: r.Recorded}
			if len(r.Streams) > 0 {
				out.Stream, out.Version = r.Streams[0].Stream, r.Streams[0].Version
			}
			return out, body, ok, err
		},
	}
	for _, c := range change {
		c(&f.opts)
	}
	f.server = httptest.NewServer(api.New(f.opts))
	t.Cleanup(func() {
		f.server.CloseClientConnections()
		f.server.Close()
		stop()
		<-stopped
		http.DefaultClient.CloseIdleConnections()
	})
	f.issue()
	return f
}

// issue puts the tokens on their streams, as the bootstrap does.
func (f *fixture) issue() {
	f.t.Helper()
	for _, t := range f.tokens.all {
		_, err := f.opts.Dispatcher.Do(f.t.Context(), commands.Request{
			ID: domain.CommandID("issue " + t.Stream), Principal: domain.SystemPrincipal(domain.SystemTenant, "test"),
			Command: commands.IssueToken{Token: t.Stream, Tenant: t.Tenant, Actor: t.Actor, Permissions: t.Permissions, SecretHash: t.SecretHash}})
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

func (a answer) problem(t *testing.T) v1.Problem {
	t.Helper()
	var p v1.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("status %d is not a problem: %s %s", a.StatusCode, a.Header.Get("Content-Type"), a.body)
	}
	return p
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("status %d: %v: %s", a.StatusCode, err, a.body)
	}
	return v
}

// call sends a request with the token of everything; headers are name, value.
func (f *fixture) call(method, path, body string, headers ...string) answer {
	f.t.Helper()
	return f.as(everything, method, path, body, headers...)
}

func (f *fixture) as(token, method, path, body string, headers ...string) answer {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.server.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+f.tokens.secrets[token])
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := f.server.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{response, string(text)}
}

// want fails unless the status is as expected, and returns the problem's code.
func (f *fixture) want(a answer, status int, code string) {
	f.t.Helper()
	if a.StatusCode != status {
		f.t.Errorf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.body)
		return
	}
	if code != "" {
		if p := a.problem(f.t); p.Code != code || p.Status != status || p.Type != "/problems/"+code || p.Title == "" {
			f.t.Errorf("%s %s: problem %+v, want code %s", a.Request.Method, a.Request.URL.Path, p, code)
		}
	}
}

// start starts a run of the stock workflow and returns its id.
func (f *fixture) start(headers ...string) v1.Receipt {
	f.t.Helper()
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, headers...)
	f.want(a, http.StatusCreated, "")
	return decode[v1.Receipt](f.t, a)
}

// tokens is a read model of tokens.
type tokens struct {
	mu      sync.Mutex
	all     []auth.Token
	secrets map[string]string
}

func newTokens() *tokens {
	t := &tokens{secrets: map[string]string{}}
	add := func(name string, tenant domain.Tenant, stream domain.Tenant, permissions ...domain.Permission) {
		secret := auth.NewSecret()
		t.secrets[name] = secret
		t.all = append(t.all, auth.Token{Stream: domain.NamedStreamID(stream, "token", name), SecretHash: auth.Hash(secret), Tenant: tenant,
			Actor: domain.Actor{ID: name, Kind: domain.Human}, Permissions: permissions})
	}
	add(everything, domain.DefaultTenant, domain.DefaultTenant, domain.AllPermissions)
	add(reader, domain.DefaultTenant, domain.DefaultTenant, domain.RunRead, domain.LogRead)
	add(stranger, "t_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a", "t_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a", domain.AllPermissions)
	add(operator, domain.SystemTenant, domain.SystemTenant, domain.AllPermissions)
	return t
}

func (t *tokens) ByHash(_ context.Context, hash string) (auth.Token, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.all {
		if one.SecretHash == hash {
			return one, true, nil
		}
	}
	return auth.Token{}, false, nil
}

// waiter reflects everything at once, unless it is held.
type waiter struct {
	store *memory.Store
	mu    sync.Mutex
	held  bool
	asked []string
}

func (w *waiter) hold(held bool) { w.mu.Lock(); w.held = held; w.mu.Unlock() }

func (w *waiter) wait(ctx context.Context, what string, p domain.Position) error {
	w.mu.Lock()
	w.asked = append(w.asked, fmt.Sprint(what, " ", p))
	held := w.held
	w.mu.Unlock()
	head, err := w.store.Head(ctx)
	if err != nil {
		return err
	}
	if held || p > head.Position {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (w *waiter) Logged(ctx context.Context, p domain.Position) error {
	return w.wait(ctx, "logged", p)
}
func (w *waiter) Projected(ctx context.Context, p domain.Position) error {
	return w.wait(ctx, "projected", p)
}

func (w *waiter) Reached(ctx context.Context) (domain.Position, error) {
	head, err := w.store.Head(ctx)
	return head.Position, err
}

// models answers queries by folding streams of the store.
type models struct {
	store *memory.Store
	asked []any // what lists were asked for
	next  string
}

func (m *models) runOf(ctx context.Context, t domain.Tenant, id string, upTo domain.Position) (v1.Run, error) {
	records, err := m.store.ReadStream(ctx, domain.RunID(id).Stream(t), 0, 1000)
	if err != nil {
		return v1.Run{}, err
	}
	r := v1.Run{ID: id, State: v1.RunRunning, Progress: v1.Progress{Current: []string{}}}
	for _, rec := range records {
		if upTo != 0 && rec.Position > upTo {
			break
		}
		r.Version = v1.Ordinal(rec.Sequence)
		e, err := rec.Decode()
		if err != nil {
			return r, err
		}
		switch e := e.Event.(type) {
		case events.RunStarted:
			r.Workflow, r.Title, r.Inputs, r.Priority, r.Started = v1.Ref{ID: e.Workflow.ID, Version: e.Workflow.Version}, e.Definition.Title, e.Inputs, e.Priority, rec.Time
			for _, s := range e.Definition.Steps {
				r.Steps = append(r.Steps, v1.Step{Path: s.ID, State: v1.StepWaiting, Agent: &v1.Ref{ID: s.Agent}})
			}
		case events.RunCancelled:
			r.State, r.Reason = v1.RunCancelled, e.Reason
		}
	}
	if r.Version == 0 {
		return r, &domain.Error{Kind: domain.NotFound, Code: "run.not_found", Message: "there is no such run"}
	}
	return r, nil
}

func (m *models) Run(ctx context.Context, t domain.Tenant, id string) (v1.Run, error) {
	return m.runOf(ctx, t, id, 0)
}

func (m *models) RunAt(ctx context.Context, t domain.Tenant, id string, at api.At) (v1.Run, error) {
	if at.Position == 0 {
		return v1.Run{ID: id, State: "running", Reason: at.Instant.Format(time.RFC3339)}, nil
	}
	return m.runOf(ctx, t, id, at.Position)
}

func (m *models) Runs(_ context.Context, _ domain.Tenant, f api.RunFilter, p api.Page) ([]v1.Run, string, error) {
	m.asked = append(m.asked, f, p)
	return nil, m.next, nil
}

func (m *models) Task(ctx context.Context, t domain.Tenant, id, path string) (v1.Task, error) {
	r, err := m.runOf(ctx, t, id, 0)
	if err != nil {
		return v1.Task{}, err
	}
	return v1.Task{ID: id + "." + path, Run: id, Workflow: r.Workflow, Step: v1.Step{Path: path, State: v1.StepScheduled}}, nil
}

func (m *models) Tasks(_ context.Context, _ domain.Tenant, f api.TaskFilter, p api.Page) ([]v1.Task, string, error) {
	m.asked = append(m.asked, f, p)
	return nil, m.next, nil
}

func (m *models) Workflow(ctx context.Context, t domain.Tenant, id string, version int) (v1.Workflow, error) {
	records, err := m.store.ReadStream(ctx, domain.NamedStreamID(t, "workflow", id), 0, 1000)
	if err != nil {
		return v1.Workflow{}, err
	}
	w := v1.Workflow{ID: id}
	for _, rec := range records {
		e, err := rec.Decode()
		if err != nil {
			return w, err
		}
		set := func(d domain.Definition) {
			w.ETag = v1.Ordinal(rec.Sequence)
			if version == 0 || d.Version == version {
				w.Version, w.Title, w.Hash, w.Definition = d.Version, d.Title, d.Hash(), &d
			}
		}
		switch e := e.Event.(type) {
		case events.WorkflowCreated:
			set(e.Definition)
			if e.CopiedFrom != nil {
				w.CopiedFrom = &v1.Ref{ID: e.CopiedFrom.ID, Version: e.CopiedFrom.Version}
			}
		case events.WorkflowRevised:
			set(e.Definition)
		case events.WorkflowArchived:
			w.Archived, w.ETag = true, v1.Ordinal(rec.Sequence)
		}
	}
	if w.Definition == nil {
		return w, workflow.ErrNotFound
	}
	return w, nil
}

func (m *models) Workflows(_ context.Context, _ domain.Tenant, archived bool, p api.Page) ([]v1.Workflow, string, error) {
	m.asked = append(m.asked, archived, p)
	return []v1.Workflow{{ID: "own"}}, m.next, nil
}

func (m *models) Versions(context.Context, domain.Tenant, string) ([]v1.WorkflowVersion, error) {
	return []v1.WorkflowVersion{{Version: 2}, {Version: 1}}, nil
}

func (m *models) ByWorkflow(_ context.Context, _ domain.Tenant, from, to time.Time) ([]v1.WorkflowUsage, error) {
	return []v1.WorkflowUsage{{Workflow: "w", Day: from.Format(time.DateOnly) + " " + to.Format(time.DateOnly)}}, nil
}

func (m *models) ByAgent(context.Context, domain.Tenant, time.Time, time.Time) ([]v1.AgentUsage, error) {
	return nil, nil
}
