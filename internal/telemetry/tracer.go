package telemetry

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes the spans of this process. Nil means that tracing is off: then
// nothing is made, and what package tracing would wrap is left as it is.
type Tracer struct{ trace.Tracer }

// The names of span attributes that no convention has. No value may be
// personal, a secret or content.
const (
	AttrCommand   = attribute.Key("hishamos.command")
	AttrStream    = attribute.Key("hishamos.stream")
	AttrPosition  = attribute.Key("hishamos.position")
	AttrReplayed  = attribute.Key("hishamos.replayed") // the command id had been carried out before
	AttrEvents    = attribute.Key("hishamos.events")
	AttrEvent     = attribute.Key("hishamos.event_type")
	AttrReaction  = attribute.Key("hishamos.reaction")
	AttrStep      = attribute.Key("hishamos.step")
	AttrAttempt   = attribute.Key("hishamos.attempt")
	AttrWorker    = attribute.Key("hishamos.worker")
	AttrSimulated = attribute.Key("hishamos.simulated") // no model was called
)

// Of OpenTelemetry's conventions for all spans, HTTP and errors.
const (
	attrMethod = attribute.Key("http.request.method")
	attrRoute  = attribute.Key("http.route")
	attrStatus = attribute.Key("http.response.status_code")
	attrError  = attribute.Key("error.type")
)

// Fail marks a span as failed. It states the kind of failure and never its
// text, which may quote what somebody wrote.
func Fail(s trace.Span, kind string) {
	s.SetAttributes(attrError.String(kind))
	s.SetStatus(codes.Error, "")
}

// Request begins the span of an HTTP request that is being answered since
// began. The function it returns ends it.
func (t *Tracer) Request(ctx context.Context, method, route string, began time.Time) (context.Context, func(status int)) {
	if t == nil {
		return ctx, nil
	}
	ctx, span := t.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began),
		trace.WithAttributes(attrMethod.String(method), attrRoute.String(route)))
	return ctx, func(status int) {
		span.SetAttributes(attrStatus.Int(status))
		if status >= http.StatusInternalServerError {
			Fail(span, http.StatusText(status))
		}
		span.End()
	}
}

// Transport lets outgoing requests carry the trace of their context. It makes
// no spans.
func (t *Tracer) Transport(next http.RoundTripper) http.RoundTripper {
	if t == nil {
		return next
	}
	return carrier{next}
}

type carrier struct{ next http.RoundTripper }

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	if parent := TraceParent(r.Context()); parent != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Traceparent", parent)
	}
	return c.next.RoundTrip(r)
}
