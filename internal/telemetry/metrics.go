package telemetry

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Metric is one row of the reference page.
type Metric struct {
	Name, Kind, Help string
	Labels           []string
}

// Metrics are the instruments of one process. No label holds the id of a run, a
// tenant or a person, and what people name is bounded.
type Metrics struct {
	registry *prometheus.Registry
	table    []Metric

	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	streams         *prometheus.GaugeVec
	commands        *prometheus.CounterVec
	commandDuration *prometheus.HistogramVec
	batchAppends    *prometheus.HistogramVec
	batchDuration   *prometheus.HistogramVec
	refusals        *prometheus.CounterVec
	events          *prometheus.CounterVec
	started         *prometheus.CounterVec
	runs            *prometheus.CounterVec
	runDuration     *prometheus.HistogramVec
	steps           *prometheus.CounterVec
	stepDuration    *prometheus.HistogramVec
	tokens          *prometheus.CounterVec
	cost            *prometheus.CounterVec
	expressed       *prometheus.CounterVec
	arrived         *prometheus.HistogramVec
	uploaded        *prometheus.CounterVec

	workflows, agents, models bound
}

// The buckets of durations in seconds: of events on their way, of what a person
// waits for, and of work.
var (
	swift = []float64{.0005, .001, .002, .003, .004, .006, .008, .01, .015, .02, .03, .05, .1, .25, .5, 1, 5, 30}
	quick = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	slow  = []float64{.1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400}
)

// NewMetrics returns instruments in a registry of their own, with those of the
// process and the Go runtime.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), workflows: bound{limit: 200}, agents: bound{limit: 100}, models: bound{limit: 50}}
	m.requests = m.counter("hishamos_http_requests_total", "HTTP requests by route and status.", "method", "route", "status")
	m.requestDuration = m.histogram("hishamos_http_request_duration_seconds", "Time to answer HTTP requests, without event streams.", quick, "method", "route")
	m.streams = m.gauge("hishamos_http_streams", "Open event streams.")
	m.commands = m.counter("hishamos_commands_total", "Commands of people, workers, timers and reactions, by outcome: `ok` or the kind of the error.", "command", "outcome")
	m.commandDuration = m.histogram("hishamos_command_duration_seconds", "Time to carry out a command, its commit included.", quick, "command")
	m.batchAppends = m.histogram("hishamos_append_batch_appends", "Appends that shared a commit.", []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512})
	m.batchDuration = m.histogram("hishamos_append_batch_duration_seconds", "Time to commit a batch of appends.", quick)
	m.refusals = m.counter("hishamos_append_refusals_total", "Appends refused or given up, by the code of the error; conflicts do not count.", "code")
	m.events = m.counter("hishamos_events_total", "Events this process committed, by type.", "type")
	m.started = m.counter("hishamos_runs_started_total", "Runs begun, by workflow.", "workflow")
	m.runs = m.counter("hishamos_runs_total", "Runs ended, by workflow and outcome: `completed`, `failed` or `cancelled`.", "workflow", "outcome")
	m.runDuration = m.histogram("hishamos_run_duration_seconds", "Time from the start of a run to its end, whatever the outcome.", slow, "workflow")
	m.steps = m.counter("hishamos_steps_total", "Attempts at steps that ended, by agent and outcome: `completed`, `failed`, `retried`, `lapsed` or `skipped`.", "agent", "outcome")
	m.stepDuration = m.histogram("hishamos_step_duration_seconds", "Time a worker took for a step that it completed.", slow, "agent")
	m.tokens = m.counter("hishamos_tokens_total", "Tokens of model calls, by kind: `input`, `cached_input`, `cache_write`, `output` or `reasoning`.", "agent", "provider", "model", "kind")
	m.cost = m.counter("hishamos_cost_usd_total", "Amount charged for model calls, in US dollars. The exact amounts are in the events.", "agent", "provider", "model")
	m.expressed = m.counter("hishamos_express_events_total", "Committed events handed to this process's own reactions before Kafka did.")
	m.arrived = m.histogram(ArrivalMetric, "Time from the commit of an event by this process to Kafka's acknowledgement.", swift)
	m.uploaded = m.counter("hishamos_upload_bytes_total", "Bytes of uploaded files that were kept, before they are encrypted.")
	m.gauge("hishamos_build_info", "Always 1; the version is a label.", "version").WithLabelValues(version).Set(1)
	m.streams.WithLabelValues()
	m.expressed.WithLabelValues()
	m.arrived.WithLabelValues()
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) note(kind, name, help string, labels []string) {
	m.table = append(m.table, Metric{name, kind, help, labels})
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	m.note("counter", name, help, labels)
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	m.note("gauge", name, help, labels)
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	m.note("histogram", name, help, labels)
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

// Catalogue lists every metric of ours; those of the process and of Go come
// besides.
func Catalogue() []Metric { return slices.Concat(NewMetrics("").table, anchorMetrics, stateMetrics) }

var anchorMetrics = []Metric{
	{"hishamos_anchor_position", "gauge", "Position of the newest checkpoint that an anchor has.", []string{"anchor"}},
	{"hishamos_anchor_up", "gauge", "1 if an anchor took the last checkpoints, 0 if it does not answer or refuses them.", []string{"anchor"}},
}

// Anchor exports how far an anchor has the checkpoints of the log, and whether
// it took the last ones.
func (m *Metrics) Anchor(name string, state func() (at domain.Position, up bool)) error {
	for i, value := range []func() float64{
		func() float64 { at, _ := state(); return float64(at) },
		func() float64 {
			if _, up := state(); up {
				return 1
			}
			return 0
		},
	} {
		gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: anchorMetrics[i].Name, Help: anchorMetrics[i].Help, ConstLabels: prometheus.Labels{"anchor": name},
		}, value)
		if err := m.registry.Register(gauge); err != nil {
			return fmt.Errorf("register metrics of anchor %s: %w", name, err)
		}
	}
	return nil
}

// Expressed counts events that took the express lane.
func (m *Metrics) Expressed(events int) { m.expressed.WithLabelValues().Add(float64(events)) }

// ArrivalMetric is the name of the histogram that Arrived fills.
const ArrivalMetric = "hishamos_relay_duration_seconds"

// Arrived counts events that Kafka has acknowledged, so long after their commit.
func (m *Metrics) Arrived(events int, after time.Duration) {
	h, seconds := m.arrived.WithLabelValues(), after.Seconds()
	for range events {
		h.Observe(seconds)
	}
}

// Handler serves the metrics in the Prometheus text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Gatherer reads all metrics.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Request counts one answered HTTP request. Route is the pattern, never the
// path, so that the number of series is bounded.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if route == "none" { // and so may the method be anything
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.requestDuration.WithLabelValues(method, route).Observe(took.Seconds())
}

// Streaming counts one open event stream until the function it returns is called.
func (m *Metrics) Streaming() func() {
	g := m.streams.WithLabelValues()
	g.Inc()
	return g.Dec
}

// Uploaded counts bytes of a file that are kept.
func (m *Metrics) Uploaded(bytes int64) { m.uploaded.WithLabelValues().Add(float64(max(0, bytes))) }

// Command counts one command. Outcome is `ok`, or the kind of the error.
func (m *Metrics) Command(name, outcome string, took time.Duration) {
	m.commands.WithLabelValues(name, outcome).Inc()
	m.commandDuration.WithLabelValues(name).Observe(took.Seconds())
}

// Batch counts one commit of several appends.
func (m *Metrics) Batch(appends int, took time.Duration) {
	m.batchAppends.WithLabelValues().Observe(float64(appends))
	m.batchDuration.WithLabelValues().Observe(took.Seconds())
}

// Refused counts one append that was not carried out.
func (m *Metrics) Refused(code string) { m.refusals.WithLabelValues(code).Inc() }

// Committed counts fresh events. It is given every commit of this process once.
func (m *Metrics) Committed(records []events.Record) {
	for i := range records {
		m.events.WithLabelValues(records[i].Type).Inc()
	}
}
