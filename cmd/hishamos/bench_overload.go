package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/bench"
	"github.com/hishamos/hishamos/internal/config"
)

const (
	modestTenants = 19
	tenfold       = 10 // times the peak is the overload
	// crowdCallers is how many runs a tenant starts at once at the peak.
	crowdCallers = 8
)

// crowdSettings bound what may wait, so that an overload is soon one.
var crowdSettings = []string{"HISHAMOS_QUEUE_LIMIT=1024", "HISHAMOS_TENANT_QUEUE_SHARE=25", "HISHAMOS_MIN_FREE_DISK=0MB"}

// overload has one of twenty tenants send ten times what the server can do. The
// server is this process: its API knows one tenant for each token.
func (r *benchRun) overload(ctx context.Context) (err error) {
	n, stop, err := r.serveHere(ctx, crowdSettings...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	// A run is over with its start: no work is left behind that a later part of the
	// measure would pay for.
	d := domain.Definition{ID: "bench-overload", Version: 1, Title: "Overload", Steps: []domain.Step{{ID: "a", Kind: domain.NoopStep, When: "false"}}}
	c := bench.NewCrowd(modestTenants, onBehalf(n.commands, func(run domain.StreamID) commands.StartRun {
		return commands.StartRun{Run: run, Definition: d}
	}))
	during := time.Duration(or(&r.Seconds, 60)) * time.Second
	values, err := flooding{Crowd: c, say: r.say}.run(ctx, during, max(2*time.Second, during/4))
	if err != nil {
		return err
	}
	return r.emit(figure{Values: values})
}

// onBehalf starts a run of whatever tenant is named.
func onBehalf(d commands.Dispatcher, start func(domain.StreamID) commands.StartRun) func(context.Context, domain.Tenant) error {
	return func(ctx context.Context, tenant domain.Tenant) error {
		_, err := d.Do(ctx, commands.Request{
			ID: domain.CommandID(uuid.NewString()), Command: start(domain.NewStreamID(tenant, "run_"+uuid.Must(uuid.NewV7()).String())),
			Principal: domain.Principal{Tenant: tenant, Chain: []domain.Actor{{ID: "load", Kind: domain.Human}}, Permissions: []domain.Permission{domain.RunStart}},
			Fresh:     true, // as the API has it
		})
		return err
	}
}

// serveHere runs all roles in this process until stop is called.
func (r *benchRun) serveHere(ctx context.Context, set ...string) (_ *node, stop func() error, err error) {
	cfg, err := config.Load(append(r.environ(), append(set, "HISHAMOS_LISTEN=127.0.0.1:0")...))
	if err != nil {
		return nil, nil, err
	}
	r.say("starting the server in this process")
	n, err := beginServing(ctx, cfg, r.logger, allRoles, r.said)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- n.serve(ctx, allRoles, func(string) {}) }()
	return n, func() error { cancel(); return <-ended }, nil
}

// flooding is a crowd of which one tenant sends too much.
type flooding struct {
	*bench.Crowd
	say func(format string, args ...any)
}

// run floods for a while, after a measure of what is possible without, and returns
// what became of it.
func (f flooding) run(ctx context.Context, during, part time.Duration) (map[string]float64, error) {
	f.say("warming up")
	all := func(ctx context.Context) { f.Closed(ctx, crowdCallers) }
	f.For(ctx, time.Second, all)
	f.say("all tenants alike, for %s", part)
	possible, took := f.For(ctx, part, all)
	peak := float64(possible.Greedy()+possible.Others()) / took.Seconds()
	if peak == 0 {
		return nil, errors.Join(errors.New("no run was started"), f.Wrong(), context.Cause(ctx))
	}
	each := peak / 2 / modestTenants
	f.say("the modest alone, %.1f runs a second each, for %s", each, part)
	alone, took := f.For(ctx, part, func(ctx context.Context) { f.Paced(ctx, each) })
	calm := float64(alone.Others()) / took.Seconds()
	if shed := f.Shed(); shed.Greedy()+shed.Others() > 0 {
		return nil, fmt.Errorf("%d starts were shed before there was an overload", shed.Greedy()+shed.Others())
	}

	f.say("one tenant sends %.0f runs a second besides, for %s", tenfold*peak, during)
	grown, before := watchMemory(), f.Done()
	got, took := f.For(ctx, during, func(ctx context.Context) {
		var both sync.WaitGroup
		both.Go(func() { f.Paced(ctx, each) })
		both.Go(func() { f.Flood(ctx, tenfold*peak) })
		both.Wait()
	})
	goodput, others, shed := float64(got.Greedy()+got.Others())/took.Seconds(), float64(got.Others())/took.Seconds(), f.Shed()
	values := map[string]float64{
		"peak_per_second": peak, "goodput_per_second": goodput, "goodput_of_peak": goodput / peak,
		"others_calm_per_second": calm, "others_per_second": others,
		"shed": float64(shed.Greedy()), "others_shed": float64(shed.Others()),
		"memory_grown_mb": float64(grown()) / 1e6,
	}
	if calm > 0 {
		values["others_of_calm"] = others / calm
	}
	for i, n := range f.Done().Less(before) {
		if n == 0 && ctx.Err() == nil {
			return nil, fmt.Errorf("tenant %d was not served", i)
		}
	}
	return values, errors.Join(f.Wrong(), context.Cause(ctx))
}

// watchMemory follows what the Go runtime holds of the system's memory. The
// function returned ends that, and returns by how many bytes it grew at most.
func watchMemory() (grown func() int64) {
	before := held()
	var most atomic.Uint64
	most.Store(before)
	watch, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for wait(watch, 20*time.Millisecond) {
			most.Store(max(most.Load(), held()))
		}
	}()
	return func() int64 {
		stop()
		<-ended
		return int64(most.Load() - before)
	}
}

func held() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
