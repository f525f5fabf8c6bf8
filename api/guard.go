package api

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// The headers of our own.
const (
	headerPosition = "Hishamos-Position"
	headerCommand  = "Hishamos-Command"
	headerRequest  = "X-Request-Id"
	headerTrace    = "Traceresponse" // of W3C Trace Context: the trace that the request became part of
)

// bodyTimeout bounds how slowly a body may arrive.
const bodyTimeout = 10 * time.Second

// call is what is known of the request being answered.
type call struct {
	principal   domain.Principal
	token       domain.StreamID
	holder      string // of the token, sealed
	body        []byte
	header      http.Header // of the answer
	method      string
	path        string
	contentType string
	trace       string
	mayKnow     bool // of a public route: may see more than others
	began       time.Time
	traced      func(status int) // ends the span of the request; nil: there is none
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

var (
	requestID   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	traceParent = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
)

// guard is the outermost layer of every route: request id, access log, metrics,
// security headers, CORS, recovery, and the limits of the body.
func (s *server) guard(g *gin.Context) {
	began, r := time.Now(), g.Request
	id := r.Header.Get(headerRequest)
	if !requestID.MatchString(id) {
		id = s.IDs.NewID()
	}
	c := &call{header: g.Writer.Header(), method: r.Method, path: r.URL.Path, contentType: r.Header.Get("Content-Type"), began: began}
	if t := r.Header.Get("Traceparent"); traceParent.MatchString(t) {
		c.trace = t
	}
	ctx := telemetry.With(context.WithValue(r.Context(), callKey{}, c), slog.String(telemetry.Request, id))
	g.Request = r.WithContext(ctx)
	s.secure(g, id)
	defer s.account(g, began)
	defer func() {
		if p := recover(); p != nil {
			s.recovered(g, p)
		}
	}()
	if s.cors(g) {
		return
	}
	if !s.streamed[r.Method+" "+g.FullPath()] {
		if err := s.readBody(g, c); err != nil {
			s.fail(g, err)
			return
		}
	}
	g.Next()
}

// secure sets the headers that every answer carries.
func (s *server) secure(g *gin.Context, id string) {
	h := g.Writer.Header()
	h.Set(headerRequest, id)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if strings.HasPrefix(g.Request.URL.Path, "/api/docs") {
		h.Set("Content-Security-Policy", docsPolicy)
	}
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// cors answers preflight requests and lets listed origins read answers. It
// reports whether the request is answered.
func (s *server) cors(g *gin.Context) bool {
	origin := g.GetHeader("Origin")
	if origin == "" || !slices.Contains(s.CORSOrigins, origin) {
		return false
	}
	h := g.Writer.Header()
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", strings.Join([]string{headerPosition, headerCommand, headerRequest, "ETag", "Location", "Preference-Applied", headerTus, headerOffset, headerLength, headerExpires, "RateLimit", "RateLimit-Policy", "Retry-After"}, ", "))
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if g.Request.Method != http.MethodOptions || g.GetHeader("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, Traceparent, Range, "+headerTus+", "+headerOffset+", "+headerLength+", "+headerMetadata+", "+headerChecksum+", "+headerPosition+", "+headerRequest)
	h.Set("Access-Control-Max-Age", "600")
	g.AbortWithStatus(http.StatusNoContent)
	return true
}

// readBody reads the whole body within its limits and puts it back.
func (s *server) readBody(g *gin.Context, c *call) error {
	r := g.Request
	control := http.NewResponseController(g.Writer)
	if r.Body != nil && r.Body != http.NoBody {
		if r.ContentLength > s.MaxBody {
			return errTooLarge
		}
		setDeadline(control.SetReadDeadline, time.Now().Add(bodyTimeout))
		data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, s.MaxBody))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			return errTooLarge
		case err != nil:
			return errBodyCut
		}
		c.body = data
	}
	// A deadline left over would end long answers together with their request.
	setDeadline(control.SetReadDeadline, time.Time{})
	g.Request.Body = io.NopCloser(bytes.NewReader(c.body))
	return nil
}

// setDeadline ignores connections that have no deadlines, as in tests.
func setDeadline(set func(time.Time) error, at time.Time) {
	if err := set(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return // the connection is gone; reading or writing says so next
	}
}

// enter is the layer between the guard and an endpoint: who asks, may they, and
// which position do they want to see.
func (s *server) enter(r row) func(huma.Context, func(huma.Context)) {
	return func(h huma.Context, next func(huma.Context)) {
		g := humagin.Unwrap(h)
		err := s.admit(g, r)
		s.trace(g, r, err)
		if err == nil {
			err = checkRequest(g.Request, callOf(g.Request.Context()).body, r, s.bodies[r.Name])
		}
		if r.tus {
			err = errors.Join(err, speaksTus(g))
		}
		if err == nil && r.fresh {
			err = s.reflect(g.Request.Context(), g.GetHeader(headerPosition), !r.command)
		}
		if err != nil {
			s.fail(g, err)
			return
		}
		next(h)
	}
}

// trace begins the span of a request. It continues the caller's trace only if
// the caller was let in by a token: nobody else may write into a trace.
func (s *server) trace(g *gin.Context, r row, refused error) {
	c, ctx := callOf(g.Request.Context()), g.Request.Context()
	if refused != nil || c.token == "" {
		c.trace = ""
	}
	ctx, c.traced = s.Tracer.Request(telemetry.WithTraceParent(ctx, c.trace), r.Method, r.Path, c.began)
	if own := telemetry.TraceParent(ctx); own != "" && c.token != "" {
		c.header.Set(headerTrace, own)
	}
	g.Request = g.Request.WithContext(ctx)
}

// admit authenticates the caller and checks the permission.
func (s *server) admit(g *gin.Context, r row) error {
	if r.Open == public {
		callOf(g.Request.Context()).mayKnow = s.mayKnow(g)
		return nil
	}
	secret, ok := auth.Bearer(g.GetHeader("Authorization"))
	if !ok {
		return auth.ErrUnauthenticated
	}
	token, err := s.Auth.Authenticate(g.Request.Context(), secret)
	if err != nil {
		return err
	}
	c := callOf(g.Request.Context())
	c.principal, c.token, c.holder = token.Principal(), token.Stream, token.Holder
	g.Request = g.Request.WithContext(telemetry.With(g.Request.Context(), slog.String(telemetry.User, token.Actor.ID)))
	if err := s.limit(g.Request.Context(), c); err != nil {
		return err
	}
	if r.Permission != "" && !c.principal.May(r.Permission) {
		return errForbidden.With("permission %s is missing", r.Permission)
	}
	return nil
}

// mayKnow reports whether a caller of a public route may see more than others:
// from this machine, with the token of whoever collects metrics, or with a
// permission.
func (s *server) mayKnow(g *gin.Context) bool {
	if s.LoopbackTrusted && isLocal(g.Request) {
		return true
	}
	secret, ok := auth.Bearer(g.GetHeader("Authorization"))
	if !ok {
		return false
	}
	if s.ScrapeHash != "" && subtle.ConstantTimeCompare([]byte(auth.Hash(secret)), []byte(s.ScrapeHash)) == 1 {
		return true
	}
	token, err := s.Auth.Authenticate(g.Request.Context(), secret)
	return err == nil && token.Principal().May(domain.AnalyticsRead)
}

// isLocal reports whether a request began on this machine: it came over
// loopback and no proxy passed it on.
func isLocal(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// recovered answers a panic. What was already sent cannot be taken back: the
// connection is cut so that the client does not take a half answer for whole.
func (s *server) recovered(g *gin.Context, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	s.Log.ErrorContext(g.Request.Context(), "panic", telemetry.Error, p, "stack", string(debug.Stack()))
	if g.Writer.Written() {
		panic(http.ErrAbortHandler)
	}
	s.fail(g, errInternal)
}

// readyRoute answers 503 while it is not ready: that is its answer, no fault.
const readyRoute = "/ready"

// account logs and counts one answered request.
func (s *server) account(g *gin.Context, began time.Time) {
	took, status, route := time.Since(began), g.Writer.Status(), g.FullPath()
	if route == "" {
		route = "none"
	}
	if !strings.HasPrefix(g.Writer.Header().Get("Content-Type"), sseType) {
		s.Metrics.Request(g.Request.Method, route, status, took)
	}
	if c := callOf(g.Request.Context()); c.traced != nil {
		c.traced(status)
	}
	level := slog.LevelInfo
	switch {
	case status >= http.StatusInternalServerError && route == readyRoute:
		level = slog.LevelWarn
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	s.Log.LogAttrs(g.Request.Context(), level, "request", slog.String(telemetry.Method, g.Request.Method),
		slog.String(telemetry.Route, route), slog.Int(telemetry.Status, status), slog.Int(telemetry.Bytes, max(0, g.Writer.Size())),
		slog.Int64(telemetry.Duration, took.Milliseconds()), slog.String(telemetry.Remote, g.Request.RemoteAddr))
}
