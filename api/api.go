// Package api is the door: it turns HTTP requests into commands and queries,
// and their outcomes into HTTP answers.
//
// It must not decide anything, nor know how events are stored or sent. It
// imports domain, commands, events, projections, library, api/v1 and
// internal/{auth,history,live,telemetry}; what it needs beyond is an interface in
// ports.go.
//
// Start reading at the table in routes.go; run.go is a typical feature.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/live"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/library"
)

// Options are the parts and the settings of the API. Parts are required, the
// zero value of each setting is usable.
type Options struct {
	Dispatcher commands.Dispatcher
	Runs       Runs
	Tasks      Tasks
	Workflows  Workflows
	Usage      Usage
	Files      Files
	Uploads    Uploads
	Tokens     Tokens
	Contents   Contents // nil: nothing is sealed
	Erasures   Erasures
	Library    *library.Library
	Checks     []library.Check // of definitions, beyond what the library knows
	Waiter     Waiter
	Hub        *live.Hub
	Auth       *auth.Authenticator
	Metrics    *telemetry.Metrics
	Tracer     *telemetry.Tracer // nil: no spans
	// DigestKey keys the tags of cursors. It is per log and never changes.
	DigestKey []byte
	// RequestKey returns what keys the digests of a tenant's requests, so that they
	// end with the tenant; nil: DigestKey.
	RequestKey func(context.Context, domain.Tenant) ([]byte, error)

	Log   *slog.Logger // nil: discard
	Clock domain.Clock // nil: the machine's
	IDs   domain.IDs   // nil: random UUIDs, version 7
	// Committed finds a command that was carried out, and the digest of its
	// request; nil: never found.
	Committed func(context.Context, domain.Tenant, domain.CommandID) (r commands.Receipt, body []byte, ok bool, err error)
	// Epoch of the positions in use; nil: always 1. Raised when positions given
	// out before may mean something else, as after a rebuild of the store.
	Epoch func() uint32
	// Missing names the parts that do not answer; nil: none ever.
	Missing func(context.Context) []string
	// Degraded names the parts that fail without keeping the server from working.
	Degraded func() []string
	// Done is closed when the server begins to shut down; event streams then end,
	// and their clients come back elsewhere.
	Done <-chan struct{}

	Version     string   // of the build, for /health
	CORSOrigins []string // origins that browsers may call from; none: closed
	// LoopbackTrusted lets callers from this machine read /metrics, and the
	// missing parts in /ready, without a token. Requests that a proxy passed on
	// are never counted as local.
	LoopbackTrusted bool
	// ScrapeHash is the hash of the secret with which metrics may be collected and
	// nothing else; empty: there is none.
	ScrapeHash string
	// Requests a second, averaged over ten seconds, that one token and one tenant
	// may make; 0: without a limit.
	TokenRate, TenantRate int

	MaxBody      int64         // bytes of a request body; 0: 1 MiB
	UploadLimit  int64         // bytes of a file; 0: 10 GB
	Wait         time.Duration // how long a query waits for its position; 0: 5 s
	Heartbeat    time.Duration // of event streams; 0: 15 s
	WriteTimeout time.Duration // of one write to an event stream; 0: 10 s
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = machine{}
	}
	if o.IDs == nil {
		o.IDs = machine{}
	}
	if o.Epoch == nil {
		o.Epoch = func() uint32 { return 1 }
	}
	if o.Missing == nil {
		o.Missing = func(context.Context) []string { return nil }
	}
	if o.Metrics == nil {
		o.Metrics = telemetry.NewMetrics(o.Version)
	}
	if o.MaxBody == 0 {
		o.MaxBody = 1 << 20
	}
	if o.UploadLimit == 0 {
		o.UploadLimit = 10e9
	}
	if o.Wait == 0 {
		o.Wait = 5 * time.Second
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 10 * time.Second
	}
}

type machine struct{}

func (machine) Now() time.Time { return time.Now().UTC() }
func (machine) NewID() string  { return uuid.Must(uuid.NewV7()).String() }

// server is the API with its parts.
type server struct {
	Options
	huma                huma.API
	router              *gin.Engine
	inFlight            inFlight
	perToken, perTenant *limiter
	bodies              map[string]shape // that operations take, by their names
	streamed            map[string]bool  // bodies that are read as they come, by method and path of gin
	description         []byte           // as /api/openapi.json
}

// New returns the API as a handler. It panics if a digest key shorter than 32
// bytes is given: that is a fault of the program, not of a user.
func New(opts Options) http.Handler {
	if len(opts.DigestKey) < 32 {
		panic("api: the digest key has fewer than 32 bytes")
	}
	return newServer(opts).handler()
}

// OpenAPI returns the OpenAPI 3.1 description of the API as indented JSON.
func OpenAPI() ([]byte, error) {
	spec, err := json.MarshalIndent(newServer(Options{}).huma.OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write OpenAPI: %w", err)
	}
	return append(spec, '\n'), nil
}

func newServer(opts Options) *server {
	opts.setDefaults()
	gin.SetMode(gin.ReleaseMode)
	s := &server{
		Options: opts, router: gin.New(),
		perToken: newLimiter("token", opts.TokenRate), perTenant: newLimiter("tenant", opts.TenantRate),
		bodies: make(map[string]shape), streamed: make(map[string]bool),
	}
	s.router.HandleMethodNotAllowed = true
	s.router.RedirectTrailingSlash = false
	s.router.Use(s.guard)
	s.router.NoRoute(func(c *gin.Context) { s.fail(c, errNoRoute) })
	s.router.NoMethod(func(c *gin.Context) { s.fail(c, errNoMethod) })

	config := huma.DefaultConfig("HishamOS", "1")
	config.Info.Description = "Workflows of agents over one log of events. Errors are RFC 9457 problems; writes take an " +
		"Idempotency-Key and answer with a Hishamos-Position, which queries accept to read your own writes."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", "" // the bundled pages load scripts from elsewhere
	config.CreateHooks = nil                                             // no $schema in bodies
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "An access token: hos_..."}}
	config.RejectUnknownQueryParameters = true
	config.Transformers = []huma.Transformer{ownProblems}
	s.huma = humagin.New(s.router, config)
	for _, r := range table() {
		s.mount(r)
	}
	tidy(config.Components.Schemas.Map())
	for _, r := range table() {
		s.bodies[r.Name] = bodyShape(operationOf(s.huma.OpenAPI(), r.Method, r.Path), config.Components.Schemas)
		s.streamed[r.Method+" "+ginPath.Replace(r.Path)] = r.streamed
	}
	s.description = describe(s.huma)
	return s
}

// ginPath writes a path as gin does.
var ginPath = strings.NewReplacer("{", ":", "}", "")

// tidy drops huma's own form of errors, which ownProblems replaces, and says that
// no list is ever null.
func tidy(schemas map[string]*huma.Schema) {
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	for _, s := range schemas {
		for _, p := range s.Properties {
			p.Nullable = p.Nullable && p.Type != huma.TypeArray
		}
	}
}

// schemaName tells the steps of a definition from the steps of a run.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if strings.HasSuffix(t.PkgPath(), "/domain") && (name == "Step" || name == "Retry" || name == "Limits" || name == "Parameter") {
		return "Definition" + name
	}
	return name
}

// handler tolerates a trailing slash and answers HEAD as GET without a body,
// before any route is looked up.
func (s *server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trimmed := r.URL.Path
		if len(trimmed) > 1 {
			trimmed = strings.TrimSuffix(trimmed, "/")
		}
		if trimmed != r.URL.Path || r.Method == http.MethodHead {
			u := *r.URL
			u.Path, u.RawPath = trimmed, ""
			clone := *r
			clone.URL = &u
			if r.Method == http.MethodHead {
				clone = *r.WithContext(context.WithValue(r.Context(), headKey{}, true))
				clone.Method, clone.URL = http.MethodGet, &u
				w = headOnly{w}
			}
			r = &clone
		}
		s.router.ServeHTTP(w, r)
	})
}

type headKey struct{}

// asksHead reports whether a request that is carried out as GET came as HEAD.
func asksHead(ctx context.Context) bool { return ctx.Value(headKey{}) != nil }

// headOnly drops the body.
type headOnly struct{ http.ResponseWriter }

func (h headOnly) Write(b []byte) (int, error) { return len(b), nil }

// Unwrap serves http.ResponseController.
func (h headOnly) Unwrap() http.ResponseWriter { return h.ResponseWriter }
