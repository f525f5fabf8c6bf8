package tracing

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// Of OpenTelemetry's conventions for generative AI. Those that hold prompts or
// answers are left out on purpose.
const (
	genOperation    = attribute.Key("gen_ai.operation.name")
	genProvider     = attribute.Key("gen_ai.provider.name")
	genSystem       = attribute.Key("gen_ai.system") // the same, as it was called before 1.37
	genAgent        = attribute.Key("gen_ai.agent.id")
	genConversation = attribute.Key("gen_ai.conversation.id")
	genModel        = attribute.Key("gen_ai.request.model")
	genTemperature  = attribute.Key("gen_ai.request.temperature")
	genMaxTokens    = attribute.Key("gen_ai.request.max_tokens")
	genAnswered     = attribute.Key("gen_ai.response.model")
	genFinish       = attribute.Key("gen_ai.response.finish_reasons")
	genInput        = attribute.Key("gen_ai.usage.input_tokens")
	genOutput       = attribute.Key("gen_ai.usage.output_tokens")
	genCacheRead    = attribute.Key("gen_ai.usage.cache_read.input_tokens")
	genCacheWrite   = attribute.Key("gen_ai.usage.cache_creation.input_tokens")
)

// Provider traces calls of models.
func Provider(t *telemetry.Tracer, p llm.Provider) llm.Provider {
	if t == nil {
		return p
	}
	return provider{p, t}
}

type provider struct {
	llm.Provider
	t *telemetry.Tracer
}

func (p provider) Complete(ctx context.Context, r llm.Request) (llm.Response, error) {
	name := "chat"
	if r.Model != "" {
		name += " " + r.Model
	}
	ctx, span := p.t.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	resp, err := p.Provider.Complete(ctx, r)
	if !span.IsRecording() {
		return resp, err
	}
	span.SetAttributes(genOperation.String("chat"), genProvider.String(p.Name()), genSystem.String(p.Name()))
	if r.Model != "" {
		span.SetAttributes(genModel.String(r.Model))
	} else if resp.Model != "" { // the provider's default was asked for
		span.SetAttributes(genModel.String(resp.Model))
	}
	if r.Temperature != nil {
		span.SetAttributes(genTemperature.Float64(*r.Temperature))
	}
	if r.MaxTokens > 0 {
		span.SetAttributes(genMaxTokens.Int(r.MaxTokens))
	}
	usage := resp.Usage
	if err != nil {
		code := kindOf(err)
		if e, ok := errors.AsType[*llm.Error](err); ok {
			code = string(e.Code)
			if e.Spent != nil {
				usage = *e.Spent
			}
		}
		telemetry.Fail(span, code)
	} else {
		span.SetAttributes(genAnswered.String(resp.Model), genFinish.StringSlice([]string{string(resp.Finish)}), telemetry.AttrSimulated.Bool(resp.Simulated))
	}
	if usage.Total() > 0 {
		span.SetAttributes(tokens(usage)...)
	}
	return resp, err
}

// tokens states usage as the conventions want it: cached tokens count as input,
// reasoning as output. Ours are disjoint.
func tokens(u domain.Tokens) []attribute.KeyValue {
	return []attribute.KeyValue{
		genInput.Int64(u.Input + u.CachedInput + u.CacheWrite), genOutput.Int64(u.Output + u.Reasoning),
		genCacheRead.Int64(u.CachedInput), genCacheWrite.Int64(u.CacheWrite),
	}
}
