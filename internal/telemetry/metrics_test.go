package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// began is the instant in the id of the run.
var began = time.UnixMilli(0x01_9a_00_00_00_00).UTC()

const runStream = domain.StreamID("default/run_019a0000-0000-7000-8000-000000000001")

// told is an event as it was committed, some time after the run began.
func told(e events.Event, after time.Duration) events.Recorded[events.Event] {
	return events.Recorded[events.Event]{Event: e, Envelope: events.Envelope{
		Type: e.EventType(), Stream: runStream, Time: began.Add(after), Recorded: began.Add(after),
	}}
}

// everything touches every metric there is.
func everything(t *testing.T) *telemetry.Metrics {
	t.Helper()
	m := telemetry.NewMetrics("1.2")
	retry := began
	for _, e := range []events.Event{
		events.RunStarted{},
		events.StepCompleted{Path: "s", Started: began},
		events.StepFailed{RetryAt: &retry},
		events.StepFailed{},
		events.StepLapsed{},
		events.StepSkipped{},
		events.RunCompleted{},
		events.RunFailed{},
		events.RunCancelled{},
		events.TokensSpent{Path: "s", Usage: domain.Usage{Provider: "p", Model: "m", Tokens: domain.Tokens{Input: 7, Output: 5}, Amount: 1_500_000_000}},
	} {
		if _, tells := telemetry.Of(e); !tells {
			t.Errorf("%s is not counted", e.EventType())
		}
		r := told(e, 4*time.Second)
		m.Committed([]events.Record{{Envelope: r.Envelope}})
		m.Told(r, telemetry.Subject{Workflow: "w", Agent: "a"})
	}
	m.Request("GET", "/api/v1/runs", 200, time.Millisecond)
	m.Request("PROPFIND", "none", 404, time.Millisecond)
	m.Command("run.start", "ok", time.Millisecond)
	m.Batch(3, time.Millisecond)
	m.Refused("append.busy")
	m.Expressed(3)
	m.Uploaded(5)
	if err := m.Anchor("file", func() (domain.Position, bool) { return 40, true }); err != nil {
		t.Fatal(err)
	}
	m.Scraped(time.Second, func(context.Context) telemetry.State {
		return telemetry.State{
			StoreUp: true, PartsUp: map[string]bool{"kafka": true, "blobs": false}, Committed: 42, Published: 40, Projected: 39, RelayLagEvents: 2, RelayLag: 1500 * time.Millisecond,
			Consumers:   []telemetry.ConsumerLag{{Kind: "projection", Consumer: "runs", Partition: "hishamos.run.events/3", Events: 4}},
			Parked:      map[string]int64{"runs": 1},
			DeadLetters: map[string]int64{"advance_run": 2},
			Level:       1, BuildLevel: 2, Database: 100, EventsTable: 60, Queue: 5, Offered: 1, Leased: 2, Partitions: 4,
		}
	})
	return m
}

func scrape(m *telemetry.Metrics) string {
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	body, _ := io.ReadAll(answer.Body)
	return string(body)
}

func TestWhatHappensIsCounted(t *testing.T) {
	t.Parallel()
	text := scrape(everything(t))
	for _, want := range []string{
		`hishamos_events_total{type="run.completed"} 1`,
		`hishamos_runs_started_total{workflow="w"} 1`,
		`hishamos_runs_total{outcome="failed",workflow="w"} 1`,
		`hishamos_run_duration_seconds_sum{workflow="w"} 12`,
		`hishamos_steps_total{agent="a",outcome="retried"} 1`,
		`hishamos_steps_total{agent="a",outcome="failed"} 1`,
		`hishamos_steps_total{agent="a",outcome="lapsed"} 1`,
		`hishamos_step_duration_seconds_sum{agent="a"} 4`,
		`hishamos_tokens_total{agent="a",kind="input",model="m",provider="p"} 7`,
		`hishamos_cost_usd_total{agent="a",model="m",provider="p"} 1.5`,
		`hishamos_http_requests_total{method="GET",route="/api/v1/runs",status="200"} 1`,
		`hishamos_http_requests_total{method="other",route="none",status="404"} 1`,
		`hishamos_append_batch_appends_sum 3`,
		`hishamos_append_refusals_total{code="append.busy"} 1`,
		`hishamos_part_up{part="kafka"} 1`,
		`hishamos_part_up{part="blobs"} 0`,
		`hishamos_log_position{mark="published"} 40`,
		`hishamos_relay_lag_seconds 1.5`,
		`hishamos_consumer_lag_events{consumer="runs",kind="projection",partition="hishamos.run.events/3"} 4`,
		`hishamos_dead_letters{reaction="advance_run"} 2`,
		`hishamos_leases{state="leased"} 2`,
		`hishamos_build_info{version="1.2"} 1`,
		`hishamos_express_events_total 3`,
		`hishamos_anchor_position{anchor="file"} 40`,
		`hishamos_anchor_up{anchor="file"} 1`,
		`go_goroutines `,
		`process_start_time_seconds `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestNamesFollowTheConventionsOfPrometheus(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(everything(t).Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range slices.DeleteFunc(problems, func(p promlint.Problem) bool { return !strings.HasPrefix(p.Metric, "hishamos_") }) {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestTheCatalogueIsWhatIsServed(t *testing.T) {
	t.Parallel()
	families, err := everything(t).Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var served, listed []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "hishamos_") {
			var labels []string
			for _, l := range f.Metric[0].Label {
				labels = append(labels, l.GetName())
			}
			served = append(served, fmt.Sprint(f.GetName(), " ", strings.ToLower(f.GetType().String()), " ", labels))
		}
	}
	for _, m := range telemetry.Catalogue() {
		labels := slices.Sorted(slices.Values(m.Labels))
		listed = append(listed, fmt.Sprint(m.Name, " ", m.Kind, " ", labels))
	}
	slices.Sort(listed)
	if !slices.Equal(served, listed) {
		t.Errorf("served\n%s\nlisted\n%s", strings.Join(served, "\n"), strings.Join(listed, "\n"))
	}
}

func TestALabelHasABoundedNumberOfValues(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("")
	for i := range 1000 {
		m.Told(told(events.RunStarted{}, 0), telemetry.Subject{Workflow: fmt.Sprint("w", i)})
	}
	text := scrape(m)
	if n := strings.Count(text, "hishamos_runs_started_total{"); n != 201 || !strings.Contains(text, `hishamos_runs_started_total{workflow="other"} 800`) {
		t.Errorf("%d series of 1000 workflows", n)
	}
}

func TestAStoreThatDoesNotAnswerIsSaidAndNothingIsInvented(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("")
	m.Scraped(time.Second, func(context.Context) telemetry.State { return telemetry.State{Queue: 9} })
	text := scrape(m)
	if !strings.Contains(text, "hishamos_store_up 0") || !strings.Contains(text, "hishamos_append_queue_length 9") {
		t.Errorf("got %s", text)
	}
	if strings.Contains(text, "hishamos_log_position") || strings.Contains(text, "hishamos_relay_lag") {
		t.Error("a lag is stated that nobody knows")
	}
}
