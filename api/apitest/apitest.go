// Package apitest serves the API over the real deciders and a store in memory,
// for tests of the API and of its clients.
//
// Its read models are folds over the streams: always up to date, unless a test
// holds them. It must not be imported by anything but tests. Start reading at
// New.
package apitest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/erasure"
	"github.com/hishamos/hishamos/domain/file"
	"github.com/hishamos/hishamos/domain/identity"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/domain/workflow"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/live"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/library"
)

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

// Own is a definition that users may create.
const Own = `{"id":"own","version":0,"title":"Mine","steps":[{"id":"a","kind":"noop"}]}`

// Server is the API with the parts that tests reach into.
type Server struct {
	*httptest.Server
	Store   *memory.Store
	Log     *Buffer
	Models  *Models
	Shelf   *Shelf
	Waiter  *Waiter
	Tokens  *Tokens
	Options api.Options
}

// Buffer keeps what was logged.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *Buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *Buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// The tokens that exist, by name.
const (
	Everything = "everything"
	Reader     = "reader"   // may read runs and the log
	Stranger   = "stranger" // of another tenant
	Operator   = "operator" // of the system's tenant
)

// New serves the API until the test ends. Its library has one agent (writer), one
// template (text.write) and one workflow (stock); changes are made to the options
// before the server starts.
func New(t testing.TB, change ...func(*api.Options)) *Server {
	t.Helper()
	lib, err := library.Load(stock)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Store: memory.New(memory.Options{}), Log: &Buffer{}, Tokens: newTokens()}
	s.Models = &Models{store: s.Store}
	s.Shelf = newShelf(s.Store)
	s.Waiter = &Waiter{store: s.Store}
	hub := live.New(memory.Tenants{Store: s.Store}, live.Options{Poll: time.Hour})
	running, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() { defer close(stopped); hub.Run(running, s.Store.Wake()) }()
	s.Options = api.Options{
		Dispatcher: dispatch.New(s.Store, dispatch.Options{}, dispatch.For(run.Decider), dispatch.For(workflow.Decider), dispatch.For(identity.TokenDecider), dispatch.For(erasure.Decider), dispatch.For(file.Decider)),
		Runs:       s.Models, Tasks: s.Models, Workflows: s.Models, Usage: s.Models, Tokens: s.Models, Files: s.Shelf, Uploads: s.Shelf, Erasures: s.Models, Library: lib, Waiter: s.Waiter, Hub: hub,
		Auth: auth.New(s.Tokens, auth.Options{TTL: -1}), Metrics: telemetry.NewMetrics("test"), DigestKey: bytes.Repeat([]byte{7}, 32),
		Log: telemetry.NewLogger(s.Log, "api", slog.LevelDebug), Version: "test", Wait: 50 * time.Millisecond, Heartbeat: 20 * time.Millisecond,
		Committed: s.committed,
	}
	for _, c := range change {
		c(&s.Options)
	}
	s.Server = httptest.NewServer(api.New(s.Options))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		stop()
		<-stopped
	})
	s.issue(t)
	return s
}

func (s *Server) committed(ctx context.Context, t domain.Tenant, id domain.CommandID) (commands.Receipt, []byte, bool, error) {
	r, body, ok, err := s.Store.Committed(ctx, t, id)
	out := commands.Receipt{First: r.First, Last: r.Last, Recorded: r.Recorded}
	if len(r.Streams) > 0 {
		out.Stream, out.Version = r.Streams[0].Stream, r.Streams[0].Version
	}
	return out, body, ok, err
}

// issue puts the tokens on their streams, as the bootstrap does.
func (s *Server) issue(t testing.TB) {
	t.Helper()
	for _, one := range s.Tokens.all {
		_, err := s.Options.Dispatcher.Do(t.Context(), commands.Request{
			ID: domain.CommandID("issue " + one.Stream), Principal: domain.SystemPrincipal(domain.SystemTenant, "test"),
			Command: commands.IssueToken{Token: one.Stream, Tenant: one.Tenant, Actor: one.Actor, Permissions: one.Permissions, SecretHash: one.SecretHash},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Tokens is a read model of tokens.
type Tokens struct {
	mu      sync.Mutex
	all     []auth.Token
	secrets map[string]string
}

func newTokens() *Tokens {
	t := &Tokens{secrets: map[string]string{}}
	add := func(name string, tenant domain.Tenant, stream domain.Tenant, permissions ...domain.Permission) {
		secret := auth.NewSecret()
		t.secrets[name] = secret
		t.all = append(t.all, auth.Token{
			Stream: domain.NamedStreamID(stream, "token", name), SecretHash: auth.Hash(secret), Tenant: tenant,
			Actor: domain.Actor{ID: name, Kind: domain.Human}, Permissions: permissions,
		})
	}
	add(Everything, domain.DefaultTenant, domain.DefaultTenant, domain.AllPermissions)
	add(Reader, domain.DefaultTenant, domain.DefaultTenant, domain.RunRead, domain.LogRead)
	add(Stranger, "t_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a", "t_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a", domain.AllPermissions)
	add(Operator, domain.SystemTenant, domain.SystemTenant, domain.AllPermissions)
	return t
}

// Secret returns the secret of a token by its name.
func (t *Tokens) Secret(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.secrets[name]
}

// ByHash implements auth.Tokens.
func (t *Tokens) ByHash(_ context.Context, hash string) (auth.Token, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.all {
		if one.SecretHash == hash {
			return one, true, nil
		}
	}
	return auth.Token{}, false, nil
}

// Waiter reflects everything at once, unless it is held.
type Waiter struct {
	store *memory.Store
	mu    sync.Mutex
	held  bool
	asked []string
}

// Hold stops the read models and the relay where they are.
func (w *Waiter) Hold(held bool) {
	w.mu.Lock()
	w.held = held
	w.mu.Unlock()
}

// Asked lists what was waited for, such as `projected 7`.
func (w *Waiter) Asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

func (w *Waiter) wait(ctx context.Context, what string, p domain.Position) error {
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

// Logged implements api.Waiter.
func (w *Waiter) Logged(ctx context.Context, p domain.Position) error {
	return w.wait(ctx, "logged", p)
}

// Projected implements api.Waiter.
func (w *Waiter) Projected(ctx context.Context, p domain.Position) error {
	return w.wait(ctx, "projected", p)
}

// Reached implements api.Waiter.
func (w *Waiter) Reached(ctx context.Context) (domain.Position, error) {
	head, err := w.store.Head(ctx)
	return head.Position, err
}

// At implements api.Waiter.
func (w *Waiter) At(ctx context.Context, instant time.Time) (domain.Position, error) {
	records, err := w.store.ReadAll(ctx, 0, 10_000)
	at := domain.Position(0)
	for _, r := range records {
		if !r.Recorded.After(instant) {
			at = r.Position
		}
	}
	return at, err
}
