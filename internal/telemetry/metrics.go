package telemetry

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// The names of all metrics.
const (
	metricRequests        = "hishamos_http_requests_total"
	metricRequestDuration = "hishamos_http_request_duration_seconds"
	metricStreams         = "hishamos_http_streams"
	metricCommands        = "hishamos_commands_total"
	metricCommandDuration = "hishamos_command_duration_seconds"
	metricEvents          = "hishamos_events_total"
	metricTokens          = "hishamos_tokens_total"
	metricCost            = "hishamos_cost_nano_usd_total"
	metricPosition        = "hishamos_log_position"
	metricAnchorPosition  = "hishamos_anchor_position"
	metricAnchorUp        = "hishamos_anchor_up"
	metricExpressed       = "hishamos_express_events_total"
	metricUndecodable     = "hishamos_events_undecodable_total"
)

// Metrics are the instruments of one process.
type Metrics struct {
	registry        *prometheus.Registry
	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	streams         prometheus.Gauge
	commands        *prometheus.CounterVec
	commandDuration *prometheus.HistogramVec
	events          *prometheus.CounterVec
	tokens          *prometheus.CounterVec
	cost            *prometheus.CounterVec
	expressed       prometheus.Counter
	undecodable     prometheus.Counter
}

// NewMetrics returns instruments in a registry of their own, with those of the
// process and the Go runtime.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help,
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, labels)
	}
	m := &Metrics{
		registry:        prometheus.NewRegistry(),
		requests:        counter(metricRequests, "HTTP requests by route and status.", "method", "route", "status"),
		requestDuration: histogram(metricRequestDuration, "Time to answer HTTP requests, without event streams.", "method", "route"),
		streams:         prometheus.NewGauge(prometheus.GaugeOpts{Name: metricStreams, Help: "Open event streams."}),
		commands:        counter(metricCommands, "Commands asked for over HTTP, by outcome.", "command", "outcome"),
		commandDuration: histogram(metricCommandDuration, "Time to carry out commands asked for over HTTP.", "command"),
		events:          counter(metricEvents, "Events this process committed, by type.", "type"),
		tokens:          counter(metricTokens, "Tokens of model calls, by kind.", "provider", "model", "kind"),
		cost:            counter(metricCost, "Amount charged for model calls, in nano-USD.", "provider", "model"),
		expressed:       prometheus.NewCounter(prometheus.CounterOpts{Name: metricExpressed, Help: "Committed events handed to this process's own reactions before Kafka did."}),
		undecodable:     prometheus.NewCounter(prometheus.CounterOpts{Name: metricUndecodable, Help: "Committed events whose data could not be counted."}),
	}
	m.registry.MustRegister(m.requests, m.requestDuration, m.streams, m.commands, m.commandDuration, m.events, m.tokens, m.cost,
		m.expressed, m.undecodable, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in the Prometheus text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Register adds a collector of another part.
func (m *Metrics) Register(c prometheus.Collector) error {
	if err := m.registry.Register(c); err != nil {
		return fmt.Errorf("register metric: %w", err)
	}
	return nil
}

// Mark exports a position of the log, such as `committed`, `published` or
// `projected`; their differences are the lags.
func (m *Metrics) Mark(mark string, at func() domain.Position) error {
	return m.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricPosition, Help: "Position of the log that a part has reached.", ConstLabels: prometheus.Labels{"mark": mark},
	}, func() float64 { return float64(at()) }))
}

// Anchor exports how far an anchor has the checkpoints of the log, and whether
// it took the last ones.
func (m *Metrics) Anchor(name string, state func() (at domain.Position, up bool)) error {
	labels := prometheus.Labels{"anchor": name}
	err := m.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricAnchorPosition, Help: "Position of the newest checkpoint that an anchor has.", ConstLabels: labels,
	}, func() float64 { at, _ := state(); return float64(at) }))
	if err != nil {
		return err
	}
	return m.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricAnchorUp, Help: "1 if an anchor took the last checkpoints, 0 if it does not answer or refuses them.", ConstLabels: labels,
	}, func() float64 {
		if _, up := state(); up {
			return 1
		}
		return 0
	}))
}

// Request counts one answered HTTP request. Route is the pattern, never the
// path, so that the number of series is bounded.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.requestDuration.WithLabelValues(method, route).Observe(took.Seconds())
}

// Streaming counts one open event stream until the function it returns is called.
func (m *Metrics) Streaming() func() { m.streams.Inc(); return m.streams.Dec }

// Command counts one command. Outcome is `ok`, or the kind of the error.
func (m *Metrics) Command(name, outcome string, took time.Duration) {
	m.commands.WithLabelValues(name, outcome).Inc()
	m.commandDuration.WithLabelValues(name).Observe(took.Seconds())
}

// Expressed counts events that took the express lane.
func (m *Metrics) Expressed(events int) { m.expressed.Add(float64(events)) }

// Committed counts fresh events: runs and steps by their outcomes (the event
// types), tokens and cost. It is given every commit of this process once.
func (m *Metrics) Committed(records []events.Record) {
	for _, r := range records {
		m.events.WithLabelValues(r.Type).Inc()
		if r.Type != (events.TokensSpent{}).EventType() {
			continue
		}
		decoded, err := r.Decode()
		spent, ok := decoded.Event.(events.TokensSpent)
		if err != nil || !ok {
			m.undecodable.Inc()
			continue
		}
		u := spent.Usage
		for _, k := range [...]struct {
			kind string
			n    int64
		}{
			{"input", u.Tokens.Input},
			{"cached_input", u.Tokens.CachedInput},
			{"cache_write", u.Tokens.CacheWrite},
			{"output", u.Tokens.Output},
			{"reasoning", u.Tokens.Reasoning},
		} {
			if k.n > 0 {
				m.tokens.WithLabelValues(u.Provider, u.Model, k.kind).Add(float64(k.n))
			}
		}
		if u.Amount > 0 {
			m.cost.WithLabelValues(u.Provider, u.Model).Add(float64(u.Amount))
		}
	}
}
