// Package telemetry says how the program is watched: the one list of log
// attributes, and the one list of metrics.
//
// It must not know what is logged or counted for. It imports domain, events and
// the Prometheus client.
//
// Start reading at the attribute names below; metrics.go holds the metrics.
package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
)

// The attributes of log lines. There are no others, so that a query written for
// one part works for all; packages that may not import this one write the name
// out, and a test of the whole module compares them. No value may be personal or
// content: ids only.
const (
	Service   = "service"    // which role of the program
	Request   = "request_id" // one HTTP request
	User      = "user"       // id of the actor who asks
	Tenant    = "tenant"
	Stream    = "stream"
	Position  = "position"
	Command   = "command" // command id
	Handler   = "handler" // reaction or projection
	Run       = "run"
	Partition = "partition"
	Method    = "method"
	Route     = "route"
	Status    = "status"
	Bytes     = "bytes"
	Duration  = "duration_ms"
	Remote    = "remote"
	Error     = "error"
	Trace     = "trace_id"

	Step     = "step"
	Attempt  = "attempt"
	Template = "template"
	Rule     = "rule"  // of an answer that was not kept
	Code     = "code"  // of a fault
	Final    = "final" // whether a fault is
	Provider = "provider"
	Worker   = "worker" // who holds a lease
	Node     = "node"   // address of a process
	Timer    = "timer"

	Part       = "part"  // of a process
	Roles      = "roles" // of a process
	Address    = "address"
	Epoch      = "epoch"
	From       = "from" // a position
	Head       = "head" // a position
	Offset     = "offset"
	Topic      = "topic"
	Build      = "build" // of a read model
	Partitions = "partitions"
	Events     = "events"  // how many
	Appends    = "appends" // how many
	Spans      = "spans"   // how many
	Took       = "took"
	RetryIn    = "retry_in"
	Panic      = "panic"
	Stack      = "stack"
)

// NewLogger logs one JSON object per line: time, level, service, message, the
// trace, and whatever With put into the context, such as request id and user.
func NewLogger(w io.Writer, service string, level slog.Leveler) *slog.Logger {
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.MessageKey {
			a.Key = "message"
		}
		return a
	}})
	return slog.New(contextHandler{h}).With(Service, service)
}

// NewTextLogger logs the same for people who watch a terminal.
func NewTextLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(contextHandler{slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})})
}

type contextKey struct{}

// With returns a context whose log lines carry further attributes.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	return context.WithValue(ctx, contextKey{}, append(slices.Clone(attrsOf(ctx)), attrs...))
}

// Value returns the text of an attribute that With put into the context.
func Value(ctx context.Context, name string) string {
	attrs := attrsOf(ctx)
	for i := len(attrs) - 1; i >= 0; i-- {
		if attrs[i].Key == name {
			return attrs[i].Value.String()
		}
	}
	return ""
}

func attrsOf(ctx context.Context) []slog.Attr {
	attrs, _ := ctx.Value(contextKey{}).([]slog.Attr)
	return attrs
}

// contextHandler adds the context's attributes to every line.
type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	attrs, id := attrsOf(ctx), traceID(ctx)
	if len(attrs) > 0 || id != "" {
		r = r.Clone()
		r.AddAttrs(attrs...)
	}
	if id != "" {
		r.AddAttrs(slog.String(Trace, id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
