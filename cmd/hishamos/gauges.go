package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// scrapeTime bounds what a scrape may wait for Postgres and Kafka.
const scrapeTime = 3 * time.Second

// state is the system as this process sees it now. What does not answer is left
// out: metrics must be readable above all when something is wrong.
func (n *node) state(ctx context.Context) telemetry.State {
	s := telemetry.State{Queue: n.store.Stats().Waiting, BuildLevel: events.Level}
	s.Offered, s.Leased = n.board.Counts()
	if r := n.reactions.Load(); r != nil {
		s.Partitions = r.Partitions()
	}
	parts := make(chan []asked, 1)
	go func() { parts <- n.others(ctx) }()
	if err := n.storeState(ctx, &s); err != nil {
		n.logger.WarnContext(ctx, "metrics lack what the store knows", telemetry.Error, err)
		s.StoreUp = false
	}
	s.DeadLetters = n.deadLetters(ctx)
	s.PartsUp = make(map[string]bool)
	for _, p := range <-parts {
		s.PartsUp[p.name] = p.err == nil
	}
	return s
}

func (n *node) storeState(ctx context.Context, s *telemetry.State) error {
	head, err := n.store.Head(ctx)
	if err != nil {
		return err
	}
	settings, err := n.store.Settings(ctx)
	if err != nil {
		return err
	}
	mark, err := n.mark(ctx)
	if err != nil {
		return err
	}
	projected, err := waiter{n}.Reached(ctx)
	if err != nil {
		return err
	}
	s.Committed, s.Published, s.Projected, s.Level = head.Position, mark.Position, projected, settings.Level
	if head.Position > mark.Position {
		s.RelayLagEvents = int64(head.Position - mark.Position)
		oldest, err := n.store.ReadAll(ctx, mark.Position, 1)
		if err != nil {
			return err
		}
		if len(oldest) > 0 {
			s.RelayLag = max(0, time.Since(oldest[0].Recorded))
		}
	}
	if s.Consumers, err = n.consumers(ctx, mark); err != nil {
		return err
	}
	if s.Parked, err = n.parked(ctx); err != nil {
		return err
	}
	err = n.writer.QueryRow(ctx, databaseSize).Scan(&s.Database, &s.EventsTable)
	s.StoreUp = err == nil
	return err
}

const databaseSize = `select pg_database_size(current_database()),
	(select coalesce(sum(pg_total_relation_size(relid)), 0)::bigint from pg_partition_tree('events'))`

// checkpoints are the resume points of all consumers: those of the newest live
// build of each projection, and those of reactions.
const checkpoints = `(select distinct on (projection, topic, partition) 'projection', projection, topic, partition,
	greatest(position, mark), epoch, log_offset
from projection_checkpoints join projection_builds using (projection, build) where state = 'live'
order by projection, topic, partition, build desc)
union all
select 'reaction', reaction, topic, partition, position, epoch, log_offset from reaction_resume`

// consumed is how far a consumer is in a partition.
type consumed struct {
	kind, consumer string
	partition      log.Partition
	position       domain.Position
	epoch          int
	offset         int64
}

func (n *node) consumers(ctx context.Context, mark log.Mark) ([]telemetry.ConsumerLag, error) {
	rows, err := n.writer.Query(ctx, checkpoints)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c consumed, err error) {
		err = row.Scan(&c.kind, &c.consumer, &c.partition.Topic, &c.partition.ID, &c.position, &c.epoch, &c.offset)
		return c, err
	})
	if err != nil {
		return nil, err
	}
	bounds := n.bounds(ctx, all)
	out := make([]telemetry.ConsumerLag, len(all))
	for i, c := range all {
		out[i] = telemetry.ConsumerLag{Kind: c.kind, Consumer: c.consumer, Partition: c.partition.String(), Events: c.behind(mark, bounds, n.epochNow())}
	}
	return out, nil
}

// bounds asks Kafka for the ends of partitions; nil if it does not answer.
func (n *node) bounds(ctx context.Context, all []consumed) map[log.Partition]log.Bounds {
	if n.log == nil {
		return nil
	}
	var partitions []log.Partition
	seen := make(map[log.Partition]bool)
	for _, c := range all {
		if !seen[c.partition] {
			seen[c.partition] = true
			partitions = append(partitions, c.partition)
		}
	}
	out, err := n.log.Bounds(ctx, partitions...)
	if err != nil {
		return nil // the relay's lag tells that Kafka is away
	}
	return out
}

// behind counts records by offsets, which hold within one epoch (0: not learned
// yet, so it cannot be an older one); where they do
// not, it counts positions.
func (c consumed) behind(mark log.Mark, bounds map[log.Partition]log.Bounds, epoch int) int64 {
	if tail := mark.Tails[c.partition]; tail <= c.position {
		return 0
	} else if b, ok := bounds[c.partition]; !ok || c.epoch != epoch && c.epoch != 0 || c.offset < 0 {
		return int64(tail - c.position)
	} else {
		return max(0, b.End-c.offset)
	}
}

const parkedStreams = `select projection, count(stream) from projection_builds left join projection_parked using (projection, build)
where state = 'live' group by projection`

func (n *node) parked(ctx context.Context) (map[string]int64, error) {
	rows, err := n.writer.Query(ctx, parkedStreams)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64)
	var projection string
	var streams int64
	_, err = pgx.ForEachRow(rows, []any{&projection, &streams}, func() error { out[projection] = streams; return nil })
	return out, err
}

// deadLetters counts them by reaction; nil if Kafka does not answer.
func (n *node) deadLetters(ctx context.Context) map[string]int64 {
	if n.log == nil {
		return nil
	}
	topics, err := n.log.Topics(ctx, reaction.DeadLetterTopic(""))
	if err != nil {
		return nil
	}
	out := make(map[string]int64)
	for _, r := range handlers.All(handlers.Ports{}) {
		p := log.Partition{Topic: reaction.DeadLetterTopic(r.Name)}
		if topics[p.Topic] == 0 {
			continue
		}
		if b, err := n.log.Bounds(ctx, p); err == nil {
			out[r.Name] = b[p].End - b[p].First
		}
	}
	return out
}

// count has what a run's command led to counted, once it has committed.
func (n *node) count(state any, decided []events.Event) func(time.Time, eventstore.Receipt) {
	s, ok := state.(run.State)
	if !ok {
		return nil
	}
	type told struct {
		event   events.Event
		subject telemetry.Subject
	}
	var all []told
	for _, e := range decided {
		if path, tells := telemetry.Of(e); tells {
			all = append(all, told{e, n.subject(s, path)})
		}
	}
	if len(all) == 0 {
		return nil
	}
	return func(at time.Time, r eventstore.Receipt) {
		for _, t := range all {
			envelope := events.Envelope{Stream: r.Streams[0].Stream, Time: at, Recorded: r.Recorded}
			n.metrics.Told(events.Recorded[events.Event]{Envelope: envelope, Event: t.event}, t.subject)
		}
	}
}

// subject is what a step of a run is counted as. The names of tenants' own
// workflows are their words; all tenants share the metrics of a process.
func (n *node) subject(s run.State, path domain.StepPath) telemetry.Subject {
	out := telemetry.Subject{Workflow: s.Workflow(), Agent: s.Agent(path)}
	if !n.library.HasWorkflow(out.Workflow) {
		out.Workflow = telemetry.Other
	}
	if !n.library.HasAgent(out.Agent) {
		out.Agent = telemetry.Other
	}
	return out
}

// serveMetrics serves the metrics alone, at an address of their own.
func (n *node) serveMetrics(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", n.metrics.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { n.closing("metrics server", server.Close) })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
