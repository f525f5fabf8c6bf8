package tracing_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/logbook"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/log"
	logmemory "github.com/hishamos/hishamos/internal/log/memory"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/internal/telemetry/tracing"
)

var began = time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func kept(t *testing.T, sampler string) (*telemetry.Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	tracer, stop := tracing.New(r, tracing.Options{Sampler: sampler, Ratio: 1})
	t.Cleanup(func() {
		if err := stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tracer, r
}

func named(spans []trace.ReadOnlySpan) (names []string) {
	for _, s := range spans {
		names = append(names, s.Name())
	}
	return names
}

func request(id string) commands.Request {
	return commands.Request{
		ID: domain.CommandID(id), Principal: domain.SystemPrincipal(domain.SystemTenant, "test"),
		Command: commands.SetLogLevel{Level: events.Level},
	}
}

func dispatcher(t *telemetry.Tracer) (commands.Dispatcher, *memory.Store) {
	store := memory.New(memory.Options{})
	return tracing.Dispatcher(t, dispatch.New(tracing.Store(t, store), dispatch.Options{}, dispatch.For(logbook.Decider))), store
}

func TestWithoutATracerEveryPartIsItself(t *testing.T) {
	t.Parallel()
	store, l := memory.New(memory.Options{}), logmemory.New()
	d := dispatch.New(store, dispatch.Options{})
	if tracing.Store(nil, store) != eventstore.Store(store) || tracing.Log(nil, l) != log.Log(l) || tracing.Dispatcher(nil, d) != commands.Dispatcher(d) ||
		tracing.Provider(nil, silent{}) != llm.Provider(silent{}) || tracing.Step(nil) != nil || tracing.Intents(nil, nil) != nil || tracing.Reactions(nil, nil) != nil {
		t.Error("a part was wrapped although nothing is traced")
	}
	ctx, done := (*telemetry.Tracer)(nil).Request(t.Context(), "GET", "/", began)
	if ctx != t.Context() || done != nil {
		t.Error("a request was wrapped although nothing is traced")
	}
}

type silent struct{ llm.Provider }

func TestTheAppendPathAllocatesNothingForTracesThatAreOff(t *testing.T) {
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() { telemetry.TraceParent(telemetry.WithTraceParent(ctx, "")) }); n != 0 {
		t.Errorf("carrying no trace allocates %v times", n)
	}
}

func TestEventsCarryTheSpanOfTheirCommand(t *testing.T) {
	t.Parallel()
	tracer, spans := kept(t, "parentbased_always_on")
	d, store := dispatcher(tracer)
	r := request("a")
	r.TraceParent = parent
	if _, err := d.Do(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ended := spans.Ended()
	if got := named(ended); !slices.Equal(got, []string{"append", "command log.set_level"}) {
		t.Fatalf("spans %v", got)
	}
	command := ended[1].SpanContext()
	if ended[1].Parent().SpanID().String() != "b7ad6b7169203331" || ended[0].Parent().SpanID() != command.SpanID() {
		t.Error("the spans do not hang together")
	}
	records, err := store.ReadAll(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range records {
		if want := "00-0af7651916cd43dd8448eb211c80319c-" + command.SpanID().String() + "-01"; e.TraceParent != want {
			t.Errorf("%s carries %q, want %q", e.Type, e.TraceParent, want)
		}
	}
}

func TestATraceThatIsNotKeptIsCarriedOnButMakesNoSpans(t *testing.T) {
	t.Parallel()
	tracer, spans := kept(t, "parentbased_always_off")
	d, store := dispatcher(tracer)
	if _, err := d.Do(t.Context(), request("a")); err != nil {
		t.Fatal(err)
	}
	records, err := store.ReadAll(t.Context(), 0, 1)
	if err != nil || !strings.HasSuffix(records[0].TraceParent, "-00") {
		t.Errorf("the event carries %q (%v): nobody after it must decide anew", records[0].TraceParent, err)
	}
	react := tracing.Reactions(tracer, []reaction.Reaction{{Name: "r", Handle: func(context.Context, events.Recorded[events.Event]) error { return nil }}})
	if err := react[0].Handle(t.Context(), events.Recorded[events.Event]{Envelope: records[0].Envelope}); err != nil {
		t.Fatal(err)
	}
	if got := named(spans.Ended()); len(got) > 0 {
		t.Errorf("spans %v", got)
	}
}

// failing is a provider whose error quotes what it was asked.
type failing struct{}

func (failing) Name() string { return "p" }
func (failing) Complete(_ context.Context, r llm.Request) (llm.Response, error) {
	return llm.Response{}, &llm.Error{Provider: "p", Code: llm.Refused, Message: r.System, Spent: &domain.Tokens{Input: 3, CachedInput: 4, Output: 5, Reasoning: 6}}
}

func TestAFailedCallStatesItsCodeAndTokensButNoText(t *testing.T) {
	t.Parallel()
	tracer, spans := kept(t, "always_on")
	_, err := tracing.Provider(tracer, failing{}).Complete(t.Context(), llm.Request{Model: "m", System: "SECRET", Messages: []llm.Message{{Text: "SECRET"}}})
	if err == nil {
		t.Fatal("no error")
	}
	s := spans.Ended()[0]
	got := map[string]string{}
	for _, a := range s.Attributes() {
		got[string(a.Key)] = a.Value.String()
	}
	for key, want := range map[string]string{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "p", "gen_ai.request.model": "m", "error.type": "provider.refused",
		"gen_ai.usage.input_tokens": "7", "gen_ai.usage.output_tokens": "11", "gen_ai.usage.cache_read.input_tokens": "4",
	} {
		if got[key] != want {
			t.Errorf("%s = %q, want %q", key, got[key], want)
		}
	}
	if s.Name() != "chat m" || strings.Contains(s.Status().Description, "SECRET") || strings.Contains(strings.Join(values(got), " "), "SECRET") {
		t.Errorf("span %s: %v %v", s.Name(), got, s.Status())
	}
}

func values(m map[string]string) (out []string) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func TestPublishingEndsWithTheAcknowledgementOfEachTrace(t *testing.T) {
	t.Parallel()
	tracer, spans := kept(t, "parentbased_always_on")
	l := logmemory.New()
	if err := l.Create(t.Context(), []log.Topic{{Name: "hishamos.x.events", Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	w, err := log.NewWriter(t.Context(), tracing.Log(tracer, l))
	if err != nil {
		t.Fatal(err)
	}
	p := log.Partition{Topic: "hishamos.x.events"}
	header := []log.Header{{Key: "ce_traceparent", Value: parent}}
	ack, err := w.Send(t.Context(), []log.Message{{Partition: p, Headers: header}, {Partition: p, Headers: header}, {Partition: p}})
	if err := errors.Join(err, ack.Err()); err != nil {
		t.Fatal(err)
	}
	for len(spans.Ended()) == 0 { // ended by whoever waits for the acknowledgement
		if t.Context().Err() != nil {
			t.Fatal("no span")
		}
		runtime.Gosched()
	}
	if got := named(spans.Ended()); !slices.Equal(got, []string{"publish hishamos.x.events"}) {
		t.Errorf("spans %v", got)
	}
}

func TestACollectorThatRefusesIsLoggedAndNothingElse(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	tracer, stop, err := tracing.Open(t.Context(), tracing.Options{URL: server.URL, Sampler: "always_on", Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	_, end := tracer.Request(t.Context(), "GET", "/", began)
	end(200)
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "spans are lost") {
		t.Errorf("logged %q", out.String())
	}
}

// BenchmarkAppend measures a command on a store in memory, with traces off and
// on.
func BenchmarkAppend(b *testing.B) {
	for _, kept := range []bool{false, true} {
		name := "off"
		var tracer *telemetry.Tracer
		if kept {
			name = "on"
			tracer, _ = tracing.New(tracetest.NewSpanRecorder(), tracing.Options{Sampler: "always_on"})
		}
		b.Run(name, func(b *testing.B) {
			store := tracing.Store(tracer, memory.New(memory.Options{}))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				a := eventstore.Append{
					Command: domain.CommandID(string(rune('a'+i%26)) + string(rune(i))), Tenant: domain.DefaultTenant, Actor: "[]",
					Writes: []eventstore.Write{{
						Stream: domain.NamedStreamID(domain.DefaultTenant, "token", "b"), Expected: eventstore.Any,
						Events: []eventstore.Proposed{{Type: "token.revoked", Version: 1, Data: []byte(`{}`), Time: began}},
					}},
				}
				if _, err := store.Append(b.Context(), a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
