package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/bench"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/telemetry"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func (r *benchRun) append(ctx context.Context) error {
	pool, err := pg.Open(ctx, r.url, pg.Options{})
	if err != nil {
		return err
	}
	err = pg.Migrate(ctx, pg.Owner{Pool: pool})
	pool.Close()
	if err != nil {
		return err
	}
	rounds := or(&r.Rounds, 5)
	if len(r.Callers) == 0 {
		r.Callers = []int{1, 16, 64, 256}
	}
	for _, callers := range r.Callers {
		r.say("%d callers", callers)
		rates, err := bench.Append(ctx, r.url, callers, rounds, r.logger)
		if err != nil {
			return err
		}
		of := func(pick func(bench.AppendRate) float64) float64 {
			var all []float64
			for _, rate := range rates {
				all = append(all, pick(rate))
			}
			return bench.Median(all)
		}
		values := map[string]float64{
			"appends_per_second":      of(func(a bench.AppendRate) float64 { return a.Appends }),
			"inserts_per_second":      of(func(a bench.AppendRate) float64 { return a.Inserts }),
			"ratio":                   of(func(a bench.AppendRate) float64 { return a.Appends / a.Inserts }),
			"appends_per_transaction": of(func(a bench.AppendRate) float64 { return a.Batch }),
		}
		f := figure{Case: fmt.Sprintf("callers=%d", callers), Values: values}
		if n := rates[0].Connections; n < callers {
			f.Notes = []string{fmt.Sprintf("the plain inserts shared %d connections: the server allows no more", n)}
		}
		if err := r.emit(f); err != nil {
			return err
		}
	}
	return nil
}

// stream has callers change one thing at once, each command through the API.
func (r *benchRun) stream(ctx context.Context) error {
	r.anyRate = true // it is the limit that is measured, not the one that is set
	c, err := r.serveAll(ctx)
	if err != nil {
		return err
	}
	d := domain.Definition{ID: "bench-stream", Title: "One stream", Steps: []domain.Step{{ID: "a", Kind: domain.NoopStep}}}
	if err := bench.Keep(ctx, c, d); err != nil {
		return err
	}
	revise := bench.Revisions(c, d)
	if len(r.Callers) == 0 {
		r.Callers = []int{64}
	}
	during := time.Duration(or(&r.Seconds, 5)) * time.Second
	var n atomic.Int64
	for _, callers := range r.Callers {
		r.say("%d callers for %s", callers, during)
		began := time.Now()
		var done atomic.Int64
		result := bench.Drive(ctx, bench.Load{Runs: callers, InFlight: callers}, func(ctx context.Context, _ int) error {
			for time.Since(began) < during {
				if err := revise(ctx, int(n.Add(1))); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
		if result.Err != nil {
			return result.Err
		}
		values := map[string]float64{"commands_per_second": float64(done.Load()) / result.Took.Seconds()}
		if err := r.emit(figure{Case: fmt.Sprintf("callers=%d", callers), Values: values}); err != nil {
			return err
		}
	}
	return nil
}

// eventsOfRun is how many events a sequential run leads to: started, completed,
// and each step scheduled and completed.
const eventsOfRun = 2 + 2*bench.SequentialSteps

func (r *benchRun) latency(ctx context.Context) error {
	d := bench.Sequential(domain.Repeatable)
	c, err := r.prepared(ctx, d)
	if err != nil {
		return err
	}
	arrivals, err := bench.Consume(r.brokers, r.prefix()+log.TopicOf("run.started"))
	if err != nil {
		return err
	}
	during, rate := time.Duration(or(&r.Seconds, 5))*time.Second, float64(or(&r.Rate, 3000))
	start := func(ctx context.Context, _ int) error {
		_, err := c.StartRun(ctx, d.ID, v1.StartRun{}, hishamos.Command{})
		return err
	}
	r.say("%.0f events a second for %s", rate, during)
	err = bench.Pace(ctx, rate/eventsOfRun, time.Second, start) // to get going
	acknowledged := func() (h bench.Histogram) {
		if err == nil {
			h, err = bench.ReadHistogram(ctx, r.servers[0].address, telemetry.ArrivalMetric)
		}
		return h
	}
	before := acknowledged()
	arrivals.Reset()
	began := time.Now()
	if err == nil {
		err = bench.Pace(ctx, rate/eventsOfRun, during, start)
	}
	gone := time.Since(began)
	took, closing := arrivals.Close()
	after := acknowledged().Since(before)
	if err := errors.Join(err, closing); err != nil {
		return err
	}
	return r.emit(figure{
		Values: map[string]float64{
			"events_per_second":   float64(len(took)) / gone.Seconds(),
			"recorded_p50_ms":     bench.Milliseconds(bench.Percentile(took, 0.5)),
			"recorded_p99_ms":     bench.Milliseconds(bench.Percentile(took, 0.99)),
			"acknowledged_p50_ms": 1000 * after.Quantile(0.5),
			"acknowledged_p99_ms": 1000 * after.Quantile(0.99),
		},
		Notes: []string{
			"recorded: from the time in the event, just before its commit, to a consumer",
			"acknowledged: from the commit to Kafka's acknowledgement, which a consumer does not wait for",
		},
	})
}

// filled has a log of w1's events and no server any more. What was
// acknowledged is on Kafka too.
func (r *benchRun) filled(ctx context.Context) error {
	d := bench.Sequential(domain.Repeatable)
	c, err := r.prepared(ctx, d)
	if err != nil {
		return err
	}
	load := bench.Load{Runs: or(&r.Runs, 2000), InFlight: or(&r.InFlight, 200)}
	r.say("filling the log with %d runs", load.Runs)
	if err := bench.Drive(ctx, load, bench.Runs(c, d.ID)).Err; err != nil {
		return err
	}
	if _, err := c.StartRun(ctx, d.ID, v1.StartRun{}, hishamos.Command{After: "logged", Wait: time.Minute}); err != nil {
		return err
	}
	return r.stop(ctx)
}

// paced is what the operators' commands say of their pace.
type paced struct {
	Projection string `json:"projection"`
	Events     uint64 `json:"events"`
	pace
}

func (p paced) figure() figure {
	return figure{Case: p.Projection, Values: map[string]float64{
		"events": float64(p.Events), "seconds": p.Seconds, "events_per_second": p.PerSecond,
	}}
}

// drill runs an operator's command on the log and reports its pace.
func (r *benchRun) drill(ctx context.Context, args ...string) error {
	r.say("hishamos %v", args)
	out, err := r.operate(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	var all []paced
	if len(out) > 0 && out[0] != '[' {
		out = append(append([]byte("["), out...), ']')
	}
	if err := json.Unmarshal(out, &all); err != nil {
		return fmt.Errorf("read the answer of hishamos %v: %w", args, err)
	}
	for _, p := range all {
		if err := r.emit(p.figure()); err != nil {
			return err
		}
	}
	return nil
}

func (r *benchRun) rebuild(ctx context.Context) error {
	if err := r.filled(ctx); err != nil {
		return err
	}
	return r.drill(ctx, "replay", "rebuild")
}

func (r *benchRun) kafkaFromStore(ctx context.Context) error {
	if err := r.filled(ctx); err != nil {
		return err
	}
	return r.drill(ctx, "replay", "kafka-from-store")
}

func (r *benchRun) storeFromKafka(ctx context.Context) error {
	r.keepLog = true // as the command wants
	if err := r.filled(ctx); err != nil {
		return err
	}
	if err := r.freshDatabase(ctx); err != nil { // the store is lost
		return err
	}
	return r.drill(ctx, "replay", "store-from-kafka")
}

// settled is how long a server is left alone before its memory is read.
const settled = 3 * time.Second

// memory reads the memory of a server with everything but Postgres in it.
func (r *benchRun) memory(ctx context.Context) error {
	d := bench.Sequential(domain.Repeatable)
	c, err := r.serveAll(ctx)
	if err != nil {
		return err
	}
	if err := r.emitMemory(ctx, "fresh"); err != nil {
		return err
	}
	if err := bench.Keep(ctx, c, d); err != nil {
		return err
	}
	runs := (or(&r.Events, 1_000_000) + eventsOfRun - 1) / eventsOfRun
	r.say("filling the log with %d runs", runs)
	if err := bench.Drive(ctx, bench.Load{Runs: runs, InFlight: or(&r.InFlight, 200)}, bench.Runs(c, d.ID)).Err; err != nil {
		return err
	}
	if err := r.emitMemory(ctx, "after the load"); err != nil {
		return err
	}
	if err := r.stop(ctx); err != nil {
		return err
	}
	if _, err := r.serveAll(ctx); err != nil {
		return err
	}
	return r.emitMemory(ctx, "after a restart")
}

func (r *benchRun) emitMemory(ctx context.Context, when string) error {
	if !wait(ctx, settled) {
		return context.Cause(ctx)
	}
	total := int64(0)
	for _, s := range r.servers {
		n, err := bench.Memory(s.pid())
		if err != nil {
			return err
		}
		total += n
	}
	var events int64
	conn, err := pgx.Connect(ctx, r.url)
	if err == nil {
		err = errors.Join(conn.QueryRow(ctx, `select coalesce(max(position), 0) from events`).Scan(&events), conn.Close(ctx))
	}
	if err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	return r.emit(figure{Case: when, Values: map[string]float64{"resident_mb": float64(total) / 1e6, "events": float64(events)}})
}
