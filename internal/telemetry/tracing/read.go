package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// messaging are the attributes of OpenTelemetry's conventions for messaging.
func messaging(topic string, partition int32) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("messaging.system", "kafka"), attribute.String("messaging.destination.name", topic),
		attribute.Int("messaging.destination.partition.id", int(partition)),
	}
}

// Reactions traces the handling of events, in the trace of the command that led
// to each.
func Reactions(t *telemetry.Tracer, all []reaction.Reaction) []reaction.Reaction {
	if t == nil {
		return all
	}
	out := make([]reaction.Reaction, len(all))
	for i, r := range all {
		handle := r.Handle
		r.Handle = func(ctx context.Context, e events.Recorded[events.Event]) error {
			ctx, span := t.Start(telemetry.WithTraceParent(ctx, e.TraceParent), "react "+r.Name, trace.WithSpanKind(trace.SpanKindConsumer))
			defer span.End()
			err := handle(ctx, e)
			if span.IsRecording() {
				span.SetAttributes(
					telemetry.AttrReaction.String(r.Name), telemetry.AttrEvent.String(e.Type), telemetry.AttrStream.String(string(e.Stream)),
					telemetry.AttrPosition.Int64(int64(e.Position)), attribute.String("messaging.system", "kafka"),
					attribute.String("messaging.destination.name", log.TopicOf(e.Type)),
				)
			}
			if err != nil {
				telemetry.Fail(span, kindOf(err))
			}
			return err
		}
		out[i] = r
	}
	return out
}

// Intents has what a run waits for carry the trace of the reaction that found
// it, to whoever performs the work or fires the timer.
func Intents(t *telemetry.Tracer, find func(context.Context, domain.StreamID, domain.Sequence) (domain.Intents, error)) func(context.Context, domain.StreamID, domain.Sequence) (domain.Intents, error) {
	if t == nil {
		return find
	}
	return func(ctx context.Context, stream domain.StreamID, atLeast domain.Sequence) (domain.Intents, error) {
		in, err := find(ctx, stream, atLeast)
		parent, now := telemetry.TraceParent(ctx), time.Now().UTC()
		for i := range in.Work {
			in.Work[i].TraceParent, in.Work[i].Offered = parent, now
		}
		for i := range in.Timers {
			in.Timers[i].TraceParent = parent
		}
		return in, err
	}
}

// Step traces a lease, from the offer to when a worker took it, and the step
// performed under it; it is for worker.Pool.
func Step(t *telemetry.Tracer) func(context.Context, lease.Lease) (context.Context, func(commands.Run)) {
	if t == nil {
		return nil
	}
	return func(ctx context.Context, l lease.Lease) (context.Context, func(commands.Run)) {
		ctx = telemetry.WithTraceParent(ctx, l.TraceParent)
		own := trace.WithAttributes(telemetry.AttrStream.String(string(l.Stream)), telemetry.AttrStep.String(string(l.Path)),
			telemetry.AttrAttempt.Int(l.Attempt), telemetry.AttrWorker.String(l.Holder))
		if !l.Offered.IsZero() {
			var waited trace.Span
			ctx, waited = t.Start(ctx, "lease", own, trace.WithTimestamp(l.Offered))
			waited.End()
		}
		name := "step " + string(l.Kind)
		if l.Kind == domain.AgentStep {
			name = "invoke_agent " + l.Agent.ID
		}
		ctx, span := t.Start(ctx, name, own)
		if l.Kind == domain.AgentStep {
			span.SetAttributes(genOperation.String("invoke_agent"), genAgent.String(l.Agent.ID), genConversation.String(string(l.Stream)))
		}
		return ctx, func(result commands.Run) {
			if failed, ok := result.(commands.FailStep); ok {
				telemetry.Fail(span, failed.Fault.Code)
			}
			span.End()
		}
	}
}
