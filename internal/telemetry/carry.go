package telemetry

import (
	"context"
	"encoding/hex"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// TraceParent is the span of a context in the form of the W3C header of that
// name; empty when there is none.
func TraceParent(ctx context.Context) string {
	s := trace.SpanContextFromContext(ctx)
	if !s.IsValid() {
		return ""
	}
	id, span := s.TraceID(), s.SpanID()
	b := make([]byte, 0, traceParentLen)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, id[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, span[:])
	b = append(b, '-')
	return string(hex.AppendEncode(b, []byte{byte(s.TraceFlags())}))
}

const traceParentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2

// WithTraceParent returns a context whose spans continue the trace that a W3C
// traceparent names; the context itself if it names none.
func WithTraceParent(ctx context.Context, traceParent string) context.Context {
	if s, ok := parseTraceParent(traceParent); ok {
		return trace.ContextWithRemoteSpanContext(ctx, s)
	}
	return ctx
}

// parseTraceParent reads version 00, which is the only one there is: digits in
// lower case, neither id zero.
func parseTraceParent(text string) (trace.SpanContext, bool) {
	if len(text) != traceParentLen || text[:3] != "00-" || text[35] != '-' || text[52] != '-' || strings.ToLower(text) != text {
		return trace.SpanContext{}, false
	}
	id, err := trace.TraceIDFromHex(text[3:35])
	if err != nil {
		return trace.SpanContext{}, false
	}
	span, err := trace.SpanIDFromHex(text[36:52])
	if err != nil {
		return trace.SpanContext{}, false
	}
	var flags [1]byte
	if _, err := hex.Decode(flags[:], []byte(text[53:])); err != nil {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags[0]) & trace.FlagsSampled, Remote: true,
	}), true
}

// traceID is the trace of a context as log lines name it; empty without one.
func traceID(ctx context.Context) string {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		return s.TraceID().String()
	}
	return ""
}
