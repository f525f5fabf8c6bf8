package tracing

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// Dispatcher traces commands. The events of a command carry the span, so that
// whatever reacts to them continues its trace.
func Dispatcher(t *telemetry.Tracer, d commands.Dispatcher) commands.Dispatcher {
	if t == nil {
		return d
	}
	return dispatcher{t, d}
}

type dispatcher struct {
	t    *telemetry.Tracer
	next commands.Dispatcher
}

func (d dispatcher) Do(ctx context.Context, r commands.Request) (commands.Receipt, error) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = telemetry.WithTraceParent(ctx, r.TraceParent)
	}
	ctx, span := d.t.Start(ctx, "command "+r.Command.CommandName())
	defer span.End()
	r.TraceParent = telemetry.TraceParent(ctx)
	receipt, err := d.next.Do(ctx, r)
	if span.IsRecording() {
		span.SetAttributes(telemetry.AttrCommand.String(r.Command.CommandName()), telemetry.AttrStream.String(string(r.Command.Target())),
			telemetry.AttrPosition.Int64(int64(receipt.Last)), telemetry.AttrReplayed.Bool(receipt.Replayed))
		if err != nil {
			telemetry.Fail(span, kindOf(err))
		}
	}
	return receipt, err
}

// Store traces appends, from when they are queued until they are committed.
func Store(t *telemetry.Tracer, s eventstore.Store) eventstore.Store {
	if t == nil {
		return s
	}
	return store{s, t}
}

type store struct {
	eventstore.Store
	t *telemetry.Tracer
}

func (s store) Append(ctx context.Context, a eventstore.Append) (eventstore.Receipt, error) {
	return s.Submit(ctx, a).Wait()
}

func (s store) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	ctx, span := s.t.Start(ctx, "append", trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		n := 0
		for _, w := range a.Writes {
			n += len(w.Events)
		}
		span.SetAttributes(telemetry.AttrEvents.Int(n))
	}
	return pending{s.Store.Submit(ctx, a), span}
}

type pending struct {
	eventstore.Pending
	span trace.Span
}

func (p pending) Wait() (eventstore.Receipt, error) {
	r, err := p.Pending.Wait()
	if err != nil {
		telemetry.Fail(p.span, kindOf(err))
	}
	p.span.End()
	return r, err
}

// Log traces what is published, from when it is sent until all replicas have
// it: a span for each trace that has events in a batch.
func Log(t *telemetry.Tracer, l log.Log) log.Log {
	if t == nil {
		return l
	}
	return publishing{l, t}
}

type publishing struct {
	log.Log
	t *telemetry.Tracer
}

// Writer implements log.Pipelined over any log.
func (p publishing) Writer(ctx context.Context) (log.Writer, error) {
	w, err := log.NewWriter(ctx, p.Log)
	if err != nil {
		return nil, err
	}
	return writer{w, p.t}, nil
}

type writer struct {
	log.Writer
	t *telemetry.Tracer
}

// headerTraceParent is the header that carries the attribute.
const headerTraceParent = "ce_traceparent"

func (w writer) Send(ctx context.Context, messages []log.Message) (*log.Ack, error) {
	spans := make(map[string]trace.Span)
	for _, m := range messages {
		parent, ok := m.Header(headerTraceParent)
		if _, begun := spans[parent]; !ok || begun {
			continue
		}
		own := telemetry.WithTraceParent(context.WithoutCancel(ctx), parent)
		if !trace.SpanContextFromContext(own).IsSampled() {
			continue
		}
		_, spans[parent] = w.t.Start(own, "publish "+m.Topic, trace.WithSpanKind(trace.SpanKindProducer),
			trace.WithAttributes(messaging(m.Topic, m.ID)...))
	}
	ack, err := w.Writer.Send(ctx, messages)
	switch {
	case len(spans) == 0:
	case err != nil:
		finish(spans, err)
	default:
		go func() { finish(spans, ack.Err()) }()
	}
	return ack, err
}

func finish(spans map[string]trace.Span, err error) {
	for _, s := range spans {
		if err != nil {
			telemetry.Fail(s, kindOf(err))
		}
		s.End()
	}
}
