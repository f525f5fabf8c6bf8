package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hishamos/hishamos/domain"
)

// State is what the system looks like at the moment of a scrape. Every process
// states the same of what all share; queries take the maximum.
type State struct {
	StoreUp bool            // if not, all that comes from the store is left out
	PartsUp map[string]bool // the other parts that the program stands on

	Committed, Published, Projected domain.Position
	RelayLagEvents                  int64
	RelayLag                        time.Duration // age of the oldest event that is not on Kafka
	Consumers                       []ConsumerLag
	Parked                          map[string]int64 // streams, by projection
	DeadLetters                     map[string]int64 // by reaction; nil: Kafka does not answer
	Level, BuildLevel               int
	Database, EventsTable           int64 // bytes

	Queue           int // of this process, as are those below
	Offered, Leased int
	Partitions      int
}

// ConsumerLag is how much of a partition a consumer has not handled.
type ConsumerLag struct {
	Kind      string // projection or reaction
	Consumer  string
	Partition string
	Events    int64
}

// The names of the metrics of State.
const (
	stateUp          = "hishamos_store_up"
	statePartUp      = "hishamos_part_up"
	statePosition    = "hishamos_log_position"
	stateRelayEvents = "hishamos_relay_lag_events"
	stateRelayAge    = "hishamos_relay_lag_seconds"
	stateConsumer    = "hishamos_consumer_lag_events"
	stateParked      = "hishamos_parked_streams"
	stateDead        = "hishamos_dead_letters"
	stateLevel       = "hishamos_log_level"
	stateDatabase    = "hishamos_database_size_bytes"
	stateQueue       = "hishamos_append_queue_length"
	stateLeases      = "hishamos_leases"
	statePartitions  = "hishamos_reaction_partitions"
)

var stateMetrics = []Metric{
	{stateUp, "gauge", "1 if the event store answered this scrape, else 0; what the store knows is then missing.", nil},
	{statePartUp, "gauge", "1 if a part answered this scrape, else 0: `kafka`, the `keys` that content is sealed with, the `blobs` of files and large values.", []string{"part"}},
	{statePosition, "gauge", "Position of the log that a part has reached: `committed`, `published` or `projected`.", []string{"mark"}},
	{stateRelayEvents, "gauge", "Events committed and not yet on Kafka.", nil},
	{stateRelayAge, "gauge", "Age of the oldest event that is not yet on Kafka; 0 if all are.", nil},
	{stateConsumer, "gauge", "Events of a partition that a projection or reaction has not handled. After a change of epoch, until its next event, positions instead.", []string{"kind", "consumer", "partition"}},
	{stateParked, "gauge", "Streams that a projection has parked because of an event it cannot apply.", []string{"projection"}},
	{stateDead, "gauge", "Records in the dead-letter topic of a reaction.", []string{"reaction"}},
	{stateLevel, "gauge", "Level of event types: `log` may be written now, `build` is what this build knows.", []string{"of"}},
	{stateDatabase, "gauge", "Size on disk: `all` of the database, `events` with their indexes.", []string{"part"}},
	{stateQueue, "gauge", "Appends of this process that wait to be committed.", nil},
	{stateLeases, "gauge", "Work on the board of this process: `offered` or `leased`. Leases that lapsed are events of type run.step_lapsed.", []string{"state"}},
	{statePartitions, "gauge", "Partitions whose events this process reacts to.", nil},
}

// Scraped has every scrape ask for the state, within a time.
func (m *Metrics) Scraped(within time.Duration, ask func(context.Context) State) {
	c := &stateCollector{ask: ask, within: within, descs: make(map[string]*prometheus.Desc, len(stateMetrics))}
	for _, s := range stateMetrics {
		c.descs[s.Name] = prometheus.NewDesc(s.Name, s.Help, s.Labels, nil)
	}
	m.registry.MustRegister(c)
}

type stateCollector struct {
	ask    func(context.Context) State
	within time.Duration
	descs  map[string]*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), c.within)
	defer cancel()
	s := c.ask(ctx)
	emit := func(name string, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.descs[name], prometheus.GaugeValue, v, labels...)
	}
	emit(stateQueue, float64(s.Queue))
	emit(stateLeases, float64(s.Offered), "offered")
	emit(stateLeases, float64(s.Leased), "leased")
	emit(statePartitions, float64(s.Partitions))
	emit(stateLevel, float64(s.BuildLevel), "build")
	for reaction, n := range s.DeadLetters {
		emit(stateDead, float64(n), reaction)
	}
	for part, up := range s.PartsUp {
		value := 0.0
		if up {
			value = 1
		}
		emit(statePartUp, value, part)
	}
	if !s.StoreUp {
		emit(stateUp, 0)
		return
	}
	emit(stateUp, 1)
	emit(statePosition, float64(s.Committed), "committed")
	emit(statePosition, float64(s.Published), "published")
	emit(statePosition, float64(s.Projected), "projected")
	emit(stateRelayEvents, float64(s.RelayLagEvents))
	emit(stateRelayAge, s.RelayLag.Seconds())
	for _, l := range s.Consumers {
		emit(stateConsumer, float64(l.Events), l.Kind, l.Consumer, l.Partition)
	}
	for projection, n := range s.Parked {
		emit(stateParked, float64(n), projection)
	}
	emit(stateLevel, float64(s.Level), "log")
	emit(stateDatabase, float64(s.Database), "all")
	emit(stateDatabase, float64(s.EventsTable), "events")
}
