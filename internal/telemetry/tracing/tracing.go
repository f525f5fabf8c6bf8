// Package tracing puts spans around the parts of the system: commands, appends,
// publishing, reactions, leases, steps and calls of models. Each function takes
// a part and gives it back wrapped; without a tracer it gives back the part
// itself, so that tracing costs nothing when it is off.
//
// It must not change what a part does, and no span holds content, a secret or
// the text of an error. It imports the contracts of the parts, internal/telemetry
// and OpenTelemetry.
//
// Start reading at Open; one trace runs from the request through the traceparent
// attribute of its events (Kafka header ce_traceparent) to the call of a model.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// scope names the instrumentation in spans.
const scope = "github.com/hishamos/hishamos"

// Options say how spans leave the process.
type Options struct {
	URL                        string // of the collector, whole
	Service, Version, Instance string
	Sampler                    string  // as OTEL_TRACES_SAMPLER
	Ratio                      float64 // of traces kept, for the samplers that have one
	Logger                     *slog.Logger
}

// Open returns a tracer that exports by OTLP over HTTP, with headers, time-outs
// and certificates as the standard variables OTEL_EXPORTER_OTLP_… say, and a function that sends what is left.
func Open(ctx context.Context, o Options) (*telemetry.Tracer, func(context.Context) error, error) {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(o.URL))
	if err != nil {
		return nil, nil, fmt.Errorf("open OTLP exporter: %w", err)
	}
	t, stop := New(trace.NewBatchSpanProcessor(reporting{exporter, o.Logger}), o)
	return t, stop, nil
}

// New returns a tracer whose spans go to a processor.
func New(p trace.SpanProcessor, o Options) (*telemetry.Tracer, func(context.Context) error) {
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(p), trace.WithSampler(sampler(o)), trace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", o.Service), attribute.String("service.version", o.Version),
		attribute.String("service.instance.id", o.Instance),
	)))
	return &telemetry.Tracer{Tracer: provider.Tracer(scope)}, provider.Shutdown
}

func sampler(o Options) trace.Sampler {
	name, follow := strings.CutPrefix(o.Sampler, "parentbased_")
	s := trace.TraceIDRatioBased(o.Ratio)
	switch name {
	case "always_on":
		s = trace.AlwaysSample()
	case "always_off":
		s = trace.NeverSample()
	}
	if follow {
		return trace.ParentBased(s)
	}
	return s
}

// reporting logs failures of an exporter in our own form instead of the
// library's.
type reporting struct {
	trace.SpanExporter
	log *slog.Logger
}

func (r reporting) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	if err := r.SpanExporter.ExportSpans(ctx, spans); err != nil {
		r.log.WarnContext(ctx, "spans are lost: the trace collector does not take them", "spans", len(spans), telemetry.Error, err)
	}
	return nil
}

// kindOf is an error as a span states it: its code, never its text.
func kindOf(err error) string {
	var known *domain.Error
	switch {
	case errors.As(err, &known):
		return known.Code
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "internal"
}
