package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/library"
)

// problemType is the content type of every error.
const problemType = "application/problem+json"

var reflectProblem = reflect.TypeFor[v1.Problem]()

// statuses gives each kind of error its HTTP status and title. Invalid is 422
// when a field is named and 400 when the request as a whole cannot be read.
var statuses = map[domain.ErrorKind]struct {
	status int
	title  string
}{
	domain.Invalid:         {http.StatusUnprocessableEntity, "The request is not valid"},
	domain.Unauthenticated: {http.StatusUnauthorized, "A valid access token is required"},
	domain.Forbidden:       {http.StatusForbidden, "A permission is missing"},
	domain.NotFound:        {http.StatusNotFound, "Not found"},
	domain.Conflict:        {http.StatusConflict, "The state does not allow it"},
	domain.Stale:           {http.StatusPreconditionFailed, "It was changed meanwhile"},
	domain.Exhausted:       {http.StatusTooManyRequests, "A limit is reached"},
	domain.TooLarge:        {http.StatusRequestEntityTooLarge, "The request is too large"},
	domain.Unavailable:     {http.StatusServiceUnavailable, "Try again later"},
	domain.Unknown:         {http.StatusGatewayTimeout, "The outcome is not known"},
	domain.Internal:        {http.StatusInternalServerError, "A fault of ours"},
}

// exceptions are codes with a status of their own.
var exceptions = map[string]int{
	errNoMethod.Code:      http.StatusMethodNotAllowed,
	errNoIfMatch.Code:     http.StatusPreconditionRequired,
	errMediaType.Code:     http.StatusUnsupportedMediaType,
	errNotAcceptable.Code: http.StatusNotAcceptable,
	errBodyCut.Code:       http.StatusRequestTimeout,
	errFuture.Code:        http.StatusBadRequest,
	errUploadType.Code:    http.StatusUnsupportedMediaType,
	errRange.Code:         http.StatusRequestedRangeNotSatisfiable,
	"upload.cut":          http.StatusRequestTimeout,
	"upload.checksum":     statusChecksum,
	"blob.store_full":     http.StatusInsufficientStorage,
}

// statusChecksum is tus's own.
const statusChecksum = 460

// The errors that are born here.
var (
	errNoRoute       = &domain.Error{Kind: domain.NotFound, Code: "route.not_found", Message: "there is nothing at this path", Fix: "see /api/openapi.json"}
	errNoMethod      = &domain.Error{Kind: domain.Invalid, Code: "route.method_not_allowed", Message: "this path does not take this method", Fix: "see the Allow header"}
	errInternal      = &domain.Error{Kind: domain.Internal, Code: "internal", Message: "something went wrong on our side", Fix: "report it with the request id"}
	errTooLarge      = &domain.Error{Kind: domain.TooLarge, Code: "request.too_large", Message: "the body is larger than the server takes", Fix: "send less"}
	errTooDeep       = &domain.Error{Kind: domain.Invalid, Code: "request.too_deep", Message: "the body is nested deeper than 64 levels", Fix: "send a flatter document"}
	errBodyCut       = &domain.Error{Kind: domain.Invalid, Code: "request.cut", Message: "the body did not arrive whole in time", Fix: "send it again"}
	errQuery         = &domain.Error{Kind: domain.Invalid, Code: "request.malformed_query", Message: "the query cannot be read", Fix: "escape % as %25 and ; as %3B"}
	errMalformed     = &domain.Error{Kind: domain.Invalid, Code: "request.malformed", Message: "the body is not valid JSON", Fix: "check the syntax"}
	errInvalid       = &domain.Error{Kind: domain.Invalid, Code: "request.invalid_field", Message: "the request is not valid"}
	errMediaType     = &domain.Error{Kind: domain.Invalid, Code: "request.media_type", Message: "the content type of the body is not supported", Fix: "send application/json"}
	errNotAcceptable = &domain.Error{Kind: domain.Invalid, Code: "request.not_acceptable", Message: "the answer is not available in that form", Fix: "accept application/json"}
	errForbidden     = &domain.Error{Kind: domain.Forbidden, Code: "permission.missing", Message: "a permission is missing", Fix: "ask an administrator for it"}
	errNotFound      = &domain.Error{Kind: domain.NotFound, Code: "not_found", Message: "not found"}
	errNoIfMatch     = &domain.Error{Kind: domain.Stale, Code: "version.required", Field: "If-Match", Message: "say which version you are changing", Fix: `send the ETag you read as If-Match, or "*" for any version`}
	errNotReached    = &domain.Error{Kind: domain.Unavailable, Code: "position.not_reached", Message: "the read models have not reached your position yet", Fix: "try again, or leave the position out to read an older state"}
	errInProgress    = &domain.Error{Kind: domain.Conflict, Code: "command.in_progress", Field: "Idempotency-Key", Message: "a request with this key is being carried out", Fix: "wait for its answer, or send it again in a moment"}
	errAway          = &domain.Error{Kind: domain.Unavailable, Code: "database.away", Message: "the database does not answer now", Fix: "try again later"}
	errRange         = &domain.Error{Kind: domain.Invalid, Code: "file.range", Field: "Range", Message: "names no part of the content", Fix: "ask for bytes before the length that Content-Range states, like bytes=0-99; or leave Range out"}
	errTimeout       = &domain.Error{Kind: domain.Unavailable, Code: "request.timeout", Message: "it took too long", Fix: "try again"}
)

// problem is an error on its way out.
type problem struct {
	v1.Problem
	header http.Header
}

func (p *problem) Error() string           { return p.Detail }
func (p *problem) GetStatus() int          { return p.Status }
func (p *problem) GetHeaders() http.Header { return p.header }
func (p *problem) ContentType(ct string) string {
	return strings.Replace(ct, "application/json", problemType, 1)
}

// problemOf maps any error to what the caller may see of it. It is the only
// place that knows which status an error has.
func (s *server) problemOf(ctx context.Context, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	e, ok := errors.AsType[*domain.Error](err)
	switch {
	case ok && e.Kind != domain.Internal:
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e = errTimeout
	case isAway(err):
		s.Log.WarnContext(ctx, "the database does not answer", telemetry.Error, err)
		e = errAway
	default:
		s.Log.ErrorContext(ctx, "internal error", telemetry.Error, err)
		e = errInternal
	}
	p := newProblem(e)
	if all, ok := errors.AsType[library.Problems](err); ok {
		p.Errors = nil
		for _, one := range all {
			p.Errors = append(p.Errors, v1.FieldError{Field: one.Path, Message: one.Error()})
		}
	}
	p.Request = telemetry.Value(ctx, telemetry.Request)
	if c := callOf(ctx); c != nil && (e.Kind == domain.Unknown || e.Kind == domain.Internal || e.Kind == domain.Unavailable) {
		p.Command = strings.TrimPrefix(c.header.Get(headerCommand), keyPrefix)
	}
	return p
}

func newProblem(e *domain.Error) *problem {
	row, ok := statuses[e.Kind]
	if !ok {
		row = statuses[domain.Internal]
	}
	p := &problem{header: http.Header{}, Problem: v1.Problem{
		Type: "/problems/" + e.Code, Title: row.title, Status: row.status, Detail: sentence(e), Code: e.Code, Field: e.Field, Fix: e.Fix,
	}}
	if status, ok := exceptions[e.Code]; ok {
		p.Status = status
	} else if e.Kind == domain.Invalid && e.Field == "" {
		p.Status = http.StatusBadRequest
	}
	if e.Kind == domain.Invalid && e.Field != "" {
		p.Errors = []v1.FieldError{{Field: e.Field, Message: e.Message}}
	}
	switch e.Kind {
	case domain.Unauthenticated:
		p.header.Set("WWW-Authenticate", "Bearer")
	case domain.Unavailable, domain.Exhausted, domain.Unknown:
		p.header.Set("Retry-After", "1")
	}
	if e.Code == errInProgress.Code {
		p.header.Set("Retry-After", "1")
	}
	return p
}

// sentence is an error's message with the field it speaks of.
func sentence(e *domain.Error) string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + " " + e.Message
}

// isAway reports whether an error is that of a database that cannot be reached,
// starts, shuts down, or has no room on its disk or for a connection: it will be back, and nothing is wrong with the request.
func isAway(err error) bool {
	if state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return slices.ContainsFunc([]string{"08", "53", "57P", "58030"}, func(class string) bool { return strings.HasPrefix(state.SQLState(), class) })
	}
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// fail answers a request that did not get as far as an endpoint.
func (s *server) fail(g *gin.Context, err error) {
	p := s.problemOf(g.Request.Context(), err)
	for name, values := range p.header {
		g.Writer.Header()[name] = values
	}
	body, err := json.Marshal(p.Problem)
	if err != nil { // text and numbers: cannot fail
		panic(err)
	}
	g.Abort()
	g.Data(p.Status, problemType, append(body, '\n'))
}

// ownProblems gives the errors that huma finds the same form as all others.
func ownProblems(h huma.Context, _ string, v any) (any, error) {
	if p, ok := v.(*problem); ok {
		return p.Problem, nil
	}
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	e := errInternal
	switch m.Status {
	case http.StatusBadRequest:
		e = errMalformed
		if m.Detail == "request body is required" {
			e = errMalformed.With("the request needs a body")
		}
	case http.StatusRequestEntityTooLarge:
		e = errTooLarge
	case http.StatusUnsupportedMediaType:
		e = errMediaType
	case http.StatusNotAcceptable:
		e = errNotAcceptable
	case http.StatusRequestTimeout:
		e = errBodyCut
	case http.StatusUnprocessableEntity:
		e = errInvalid
		if slices.ContainsFunc(m.Errors, asksForNoPast) {
			e = errNoPast
		}
	}
	p := newProblem(e)
	p.Status = m.Status
	p.Request = telemetry.Value(h.Context(), telemetry.Request)
	if e == errInvalid {
		fieldErrors(&p.Problem, m.Errors)
	}
	return p.Problem, nil
}

// asksForNoPast reports whether at= was sent to a read that does not take it.
func asksForNoPast(d *huma.ErrorDetail) bool {
	return d.Location == "query.at" && d.Message == "unknown query parameter"
}

// fieldErrors lists what is wrong with which field, without echoing values.
func fieldErrors(p *v1.Problem, found []*huma.ErrorDetail) {
	for _, d := range found {
		p.Errors = append(p.Errors, v1.FieldError{Field: d.Location, Message: d.Message})
	}
	switch len(p.Errors) {
	case 0:
	case 1:
		p.Field, p.Detail = p.Errors[0].Field, p.Errors[0].Field+": "+p.Errors[0].Message
	default:
		p.Field, p.Detail = p.Errors[0].Field, p.Errors[0].Field+": "+p.Errors[0].Message+", and "+strconv.Itoa(len(p.Errors)-1)+" more"
	}
}
