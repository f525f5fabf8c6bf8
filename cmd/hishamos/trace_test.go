package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
)

// span is one span as the collector got it.
type span struct {
	*trace.Span
	process string
	attrs   map[string]string
}

// spans is a collector that speaks OTLP over HTTP.
type spans struct {
	mu  sync.Mutex
	got []span
}

func (s *spans) serve(t *testing.T) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var batch collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &batch)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range batch.ResourceSpans {
			process := texts(resource.Resource.Attributes)["service.instance.id"]
			for _, scope := range resource.ScopeSpans {
				for _, one := range scope.Spans {
					s.got = append(s.got, span{one, process, texts(one.Attributes)})
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func texts(attrs []*common.KeyValue) map[string]string {
	out := make(map[string]string, len(attrs))
	for _, a := range attrs {
		switch v := a.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			out[a.Key] = v.StringValue
		default:
			out[a.Key] = fmt.Sprint(a.Value)
		}
	}
	return out
}

// of returns the spans whose name begins with a text.
func (s *spans) of(name string) (out []span) {
	for _, one := range s.got {
		if strings.HasPrefix(one.Name, name) {
			out = append(out, one)
		}
	}
	return out
}

var tracedSecret = auth.NewSecret()

// admitTraced issues a token to enter by.
func (p *process) admitTraced() {
	p.t.Helper()
	p.do(commands.IssueToken{
		Token: domain.NamedStreamID(domain.DefaultTenant, "token", "traced"), Tenant: domain.DefaultTenant,
		Actor:       domain.Actor{Kind: domain.Operator, ID: "amina"},
		Permissions: []domain.Permission{domain.AllPermissions}, SecretHash: auth.Hash(tracedSecret),
	})
}

// call asks a node's API.
func call(t *testing.T, api http.Handler, method, path, body string, header ...string) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+tracedSecret)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w, out
}

// handler is the API of a process, with a reader to enter by.
func (p *process) handler() http.Handler {
	p.t.Helper()
	h, err := p.api(p.t.Context())
	p.must(err)
	return h
}

const runOfTwoSteps = `{"inputs":{"notes":"CANARY-CONTENT: depot north gets six vans on 1 June."}}`

// runTraced runs the two-step workflow to its end and returns the answer to the
// request that began it.
func (p *process) runTraced(header ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	api := p.handler()
	p.admitTraced()
	p.quiesce()
	answer, body := call(p.t, api, "POST", "/api/v1/workflows/two-step/runs", runOfTwoSteps, header...)
	if answer.Code != http.StatusCreated {
		p.t.Fatalf("start: %d %v", answer.Code, body)
	}
	p.eventually("the run completes", func() bool {
		_, run := call(p.t, api, "GET", fmt.Sprint("/api/v1/runs/", body["id"]), "")
		if run["state"] == "failed" {
			p.t.Fatalf("run: %v", run)
		}
		return run["state"] == "completed"
	})
	p.quiesce()
	return answer
}

func roleWorkersElsewhere(n *node, ctx context.Context) error { return n.runWorkers(ctx, false) }

// TestARunIsOneTraceFromTheRequestToTheModelAcrossProcesses runs the real parts
// in three nodes that share Postgres and Kafka only: one answers requests, one
// publishes and reacts, one works.
func TestARunIsOneTraceFromTheRequestToTheModelAcrossProcesses(t *testing.T) {
	t.Parallel()
	var got spans
	d := newDrill(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+got.serve(t), "HISHAMOS_EXPRESS=off")
	door := d.start()
	middle := d.start((*node).runRelay, (*node).runProjections, (*node).runReactions, (*node).runOffice)
	work := d.start(roleWorkersElsewhere)

	const id = "0af7651916cd43dd8448eb211c80319c"
	answer := door.runTraced("Traceparent", "00-"+id+"-b7ad6b7169203331-01")
	if h := answer.Header().Get("Traceresponse"); !strings.HasPrefix(h, "00-"+id+"-") {
		t.Errorf("Traceresponse is %q", h)
	}
	ids := map[string]string{door.id: "door", middle.id: "middle", work.id: "work"}
	for _, p := range []*process{work, middle, door} {
		p.stop() // sends what is left
	}

	got.mu.Lock()
	defer got.mu.Unlock()
	parents := map[string]span{}
	for _, s := range got.got {
		parents[string(s.SpanId)] = s
	}
	var calls int
	for _, s := range got.of("chat") {
		calls++
		var path []string
		top := s
		for {
			path = append(path, ids[top.process]+":"+strings.Fields(top.Name)[0])
			next, ok := parents[string(top.ParentSpanId)]
			if !ok {
				break
			}
			top = next
		}
		slices.Reverse(path)
		if fmt.Sprintf("%x", s.TraceId) != id || fmt.Sprintf("%x", top.ParentSpanId) != "b7ad6b7169203331" {
			t.Errorf("%v is in trace %x and begins below %x", path, s.TraceId, top.ParentSpanId)
		}
		chain := strings.Join(path, " ")
		const first = "door:POST door:command middle:react work:lease work:invoke_agent work:chat"
		if s.attrs["gen_ai.provider.name"] != "simulated" || s.attrs["hishamos.simulated"] == "" || s.attrs["gen_ai.operation.name"] != "chat" ||
			s.attrs["gen_ai.request.model"] == "" || s.attrs["gen_ai.usage.input_tokens"] == "" || s.attrs["gen_ai.usage.output_tokens"] == "" {
			t.Errorf("call of a model: %v", s.attrs)
		}
		if !strings.HasPrefix(chain, "door:POST door:command middle:react work:lease work:invoke_agent ") {
			t.Errorf("a call of a model hangs below %s, want it to begin like %s", chain, first)
		}
		if strings.Count(chain, "invoke_agent") == 2 && !strings.HasSuffix(chain, " middle:command middle:react work:lease work:invoke_agent work:chat") {
			t.Errorf("the second step hangs below %s", chain)
		}
	}
	if calls != 2 {
		t.Errorf("%d calls of models are traced, want one per step", calls)
	}
	for _, name := range []string{"publish hishamos.run.events", "append", "command run.complete_step"} {
		in := 0
		for _, s := range got.of(name) {
			if fmt.Sprintf("%x", s.TraceId) == id {
				in++
			}
		}
		if in == 0 {
			t.Errorf("no span %q in the trace", name)
		}
	}
	for _, s := range got.got {
		if text := fmt.Sprint(s.Span); strings.Contains(text, "CANARY") || strings.Contains(text, "hos_") {
			t.Errorf("a span holds content or a secret: %s", text)
		}
	}
}

func TestOnlyACallerWithATokenMayContinueItsTrace(t *testing.T) {
	t.Parallel()
	var got spans
	d := newDrill(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+got.serve(t))
	p := d.start()
	api := p.handler()
	const header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, path := range []string{"/api/v1/runs", "/health"} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Traceparent", header)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if h := w.Header().Get("Traceresponse"); h != "" {
			t.Errorf("%s answered %q to a stranger", path, h)
		}
	}
	p.stop()
	got.mu.Lock()
	defer got.mu.Unlock()
	if n := len(got.of("GET ")); n != 2 {
		t.Errorf("%d requests are traced, want 2", n)
	}
	for _, s := range got.got {
		if strings.Contains(header, fmt.Sprintf("%x", s.TraceId)) {
			t.Errorf("%s wrote into a stranger's trace", s.Name)
		}
	}
}

func TestWithoutACollectorNothingIsTraced(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay, (*node).runProjections, (*node).runReactions, roleWorkersElsewhere, (*node).runOffice)
	if p.tracer != nil {
		t.Error("there is a tracer")
	}
	if h := p.runTraced().Header().Get("Traceresponse"); h != "" {
		t.Errorf("Traceresponse is %q", h)
	}
	records, err := p.store.ReadAll(t.Context(), 0, 1000)
	p.must(err)
	for _, r := range records {
		if r.TraceParent != "" {
			t.Errorf("%s carries %s", r.Type, r.TraceParent)
		}
	}
}
