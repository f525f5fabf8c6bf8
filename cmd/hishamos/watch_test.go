package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// scrape reads the metrics of a process as Prometheus would.
func (p *process) scrape() string {
	w := httptest.NewRecorder()
	p.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestARunShowsInTheMetricsOfTheProcessThatCarriedItOut(t *testing.T) {
	t.Parallel()
	p := newDrill(t).start((*node).runRelay, (*node).runProjections, (*node).runReactions, func(n *node, ctx context.Context) error { return n.runWorkers(ctx, true) })
	p.runTraced()
	var text string
	p.eventually("the run is counted", func() bool {
		text = p.scrape()
		return strings.Contains(text, `hishamos_runs_total{outcome="completed",workflow="two-step"} 1`)
	})
	head := p.position()
	for _, want := range []string{
		`hishamos_runs_started_total{workflow="two-step"} 1`,
		`hishamos_run_duration_seconds_count{workflow="two-step"} 1`,
		`hishamos_steps_total{agent="business-analyst",outcome="completed"} 1`,
		`hishamos_steps_total{agent="product-owner",outcome="completed"} 1`,
		`hishamos_step_duration_seconds_count{agent="product-owner"} 1`,
		`hishamos_tokens_total{agent="business-analyst",kind="input",`,
		`hishamos_commands_total{command="run.start",outcome="ok"} 1`,
		`hishamos_commands_total{command="run.complete_step",outcome="ok"} 2`,
		`hishamos_append_batch_appends_count `,
		`hishamos_store_up 1`,
		fmt.Sprintf(`hishamos_log_position{mark="committed"} %d`, head),
		fmt.Sprintf(`hishamos_log_position{mark="published"} %d`, head),
		`hishamos_relay_lag_events 0`,
		`hishamos_relay_lag_seconds 0`,
		`hishamos_consumer_lag_events{consumer="advance_run",kind="reaction",partition="hishamos.run.events/0"} `,
		`hishamos_consumer_lag_events{consumer="runs",kind="projection",partition="hishamos.run.events/3"} 0`,
		`hishamos_parked_streams{projection="runs"} 0`,
		`hishamos_dead_letters{reaction="advance_run"} 0`,
		`hishamos_leases{state="offered"} 0`,
		`hishamos_log_level{of="build"} `,
		`hishamos_database_size_bytes{part="events"} `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestAConsumerThatStandsStillShowsItsLag lets events be published while no
// projection runs.
func TestAConsumerThatStandsStillShowsItsLag(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	first := d.start((*node).runRelay, (*node).runProjections)
	first.fill(1)
	first.quiesce()
	first.stop()
	p := d.start((*node).runRelay)
	before := p.position()
	p.fill(20)
	p.eventually("all is published", func() bool { return strings.Contains(p.scrape(), "hishamos_relay_lag_events 0") })
	if behind, want := p.behind(), int(p.position()-before); behind < want {
		t.Errorf("the projection runs is %d events behind, want at least %d", behind, want)
	}
	p.run((*node).runProjections)
	p.eventually("the lag is gone", func() bool { return p.behind() == 0 })
}

// behind adds up the lag of the projection runs over its partitions.
func (p *process) behind() (sum int) {
	for line := range strings.Lines(p.scrape()) {
		var n int
		if name, value, ok := strings.Cut(line, "} "); ok && strings.HasPrefix(name, `hishamos_consumer_lag_events{consumer="runs"`) {
			_, err := fmt.Sscan(value, &n)
			p.must(err)
			sum += n
		}
	}
	return sum
}

func TestALagIsCountedInRecordsWhereOffsetsHold(t *testing.T) {
	t.Parallel()
	at := log.Partition{Topic: "hishamos.run.events", ID: 1}
	mark := log.Mark{Position: 1000, Tails: log.Tails{at: 990}}
	bounds := map[log.Partition]log.Bounds{at: {First: 5, End: 50}}
	for _, tt := range []struct {
		position      domain.Position
		epoch, offset int
		want          int64
	}{
		{990, 1, 47, 0},  // it has the newest record
		{900, 2, 47, 3},  // by offsets
		{900, 0, 47, 3},  // the epoch is not learned yet
		{900, 1, 47, 90}, // offsets of another epoch: positions
		{900, 2, -1, 90}, // no offset
	} {
		c := consumed{partition: at, position: tt.position, epoch: tt.epoch, offset: int64(tt.offset)}
		if got := c.behind(mark, bounds, 2); got != tt.want {
			t.Errorf("%+v: %d behind", tt, got)
		}
	}
	if got := (consumed{partition: at, position: 900, epoch: 2, offset: 47}).behind(mark, nil, 2); got != 90 {
		t.Errorf("without Kafka: %d behind", got)
	}
}

// TestNoSecretAndNoContentReachesTheLog sends canaries everywhere a secret or a
// text of somebody enters, with the log at its most talkative.
func TestNoSecretAndNoContentReachesTheLog(t *testing.T) {
	t.Parallel()
	var got spans
	var out lines
	d := newDrill(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+got.serve(t), "OTEL_EXPORTER_OTLP_HEADERS=authorization=CANARY-HEADER", "HISHAMOS_TOKEN=CANARY-TOKEN",
		"HISHAMOS_LOG_LEVEL=debug")
	d.database = strings.Replace(d.database, "postgres@", "postgres:CANARY-PASSWORD@", 1)
	cfg := d.config()
	n, err := openNode(t.Context(), cfg, telemetry.NewLogger(&out, "hishamos", slog.LevelDebug), func(string, int64, int64) {}, fails)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{node: n, t: t, stop: func() { _ = n.close(context.Background()) }}
	t.Cleanup(func() { p.stop() })
	p.must(p.connect(t.Context()))
	p.logger.Info("settings", "settings", fmt.Sprintf("%+v", cfg))
	p.run((*node).runRelay, (*node).runProjections, (*node).runReactions, func(n *node, ctx context.Context) error { return n.runWorkers(ctx, true) })
	p.runTraced("X-Request-Id", "request-1", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

	api := p.handler()
	for _, r := range [][3]string{
		{"POST", "/api/v1/workflows/two-step/runs", `{"inputs":{"notes": CANARY-BROKEN`},
		{"POST", "/api/v1/workflows/two-step/runs", `{"inputs":{"CANARY-NAME":"CANARY-VALUE"}}`},
		{"GET", "/api/v1/runs/CANARY-PATH?workflow=CANARY-QUERY", ""},
		{"GET", "/CANARY-ROUTE", ""},
	} {
		q := httptest.NewRequest(r[0], r[1], strings.NewReader(r[2]))
		q.Header.Set("Authorization", "Bearer "+tracedSecret)
		q.Header.Set("Content-Type", "application/json")
		api.ServeHTTP(httptest.NewRecorder(), q)
		q = httptest.NewRequest(r[0], r[1], strings.NewReader(r[2]))
		q.Header.Set("Authorization", "Bearer hos_CANARY-BEARER")
		q.Header.Set("Cookie", "CANARY-COOKIE")
		api.ServeHTTP(httptest.NewRecorder(), q)
	}
	p.stop()

	text := out.String()
	for _, secret := range []string{"CANARY", tracedSecret, strings.TrimPrefix(tracedSecret, "hos_"), p.secret} {
		for line := range strings.Lines(text) {
			if strings.Contains(line, secret) {
				t.Errorf("logged: %s", line)
			}
		}
	}
	begun := 0
	for line := range strings.Lines(text) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		for _, key := range []string{"time", "level", "service", "message"} {
			if l[key] == nil {
				t.Errorf("no %s in %s", key, line)
			}
		}
		if l["message"] == "request" && l["request_id"] == "request-1" {
			begun++
			if l["user"] != "amina" || l["status"] != 201.0 || l["route"] != "/api/v1/workflows/:workflow/runs" ||
				l["trace_id"] != "0af7651916cd43dd8448eb211c80319c" || l["duration_ms"] == nil {
				t.Errorf("request: %s", line)
			}
		}
	}
	if begun != 1 {
		t.Errorf("%d lines tell of the request, want 1", begun)
	}
}

func TestMetricsHaveAnAddressOfTheirOwnIfThatIsSet(t *testing.T) {
	t.Parallel()
	p := newDrill(t, "HISHAMOS_METRICS_LISTEN=127.0.0.1:0").open()
	p.must(p.begin(t.Context(), nil, io.Discard))
	stop := p.beside(t.Context(), "metrics", func(ctx context.Context) error { return p.serveMetrics(ctx, p.scraped) })
	defer stop()
	r, err := http.Get("http://" + p.scraped.Addr().String() + "/metrics")
	p.must(err)
	defer r.Body.Close() //nolint:errcheck // read to the end below
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(body), "hishamos_store_up 1") {
		t.Errorf("%d %v: %s", r.StatusCode, err, body)
	}
	if p.listener != nil {
		t.Error("the API listens too")
	}
}
