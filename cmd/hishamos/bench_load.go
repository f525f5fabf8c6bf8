package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/bench"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// benchResult is how many bytes a no-op step answers with.
const benchResult = 200

// or gives a size that was not set its default.
func or[T comparable](v *T, otherwise T) T {
	var zero T
	if *v == zero {
		*v = otherwise
	}
	return *v
}

// serveAll starts the servers of a load and signs in.
func (r *benchRun) serveAll(ctx context.Context, options ...string) (*hishamos.Client, error) {
	options = append(options, "--bench-result", strconv.Itoa(benchResult))
	roles := [][]string{allRoles}
	if r.own {
		roles = [][]string{{roleAPI, roleRelay, roleHandlers, roleProjections}, {roleWorkers}}
	}
	return r.serveRoles(ctx, roles, options...)
}

func (r *benchRun) serveRoles(ctx context.Context, roles [][]string, options ...string) (*hishamos.Client, error) {
	r.say("starting servers")
	for i, of := range roles {
		o := options
		if r.profiles != "" {
			o = append(slices.Clone(o), "--bench-cpuprofile", filepath.Join(r.profiles, fmt.Sprintf("%s-%d.pprof", r.name, i)))
		}
		if _, err := r.start(ctx, of, o...); err != nil {
			return nil, err
		}
	}
	return r.dial(ctx)
}

// warmUp is how many runs go before the measurement: plans, connections and
// pages are then in place, and workers elsewhere have been found.
const warmUp = 100

// prepared starts everything a workload needs and warms it up.
func (r *benchRun) prepared(ctx context.Context, d domain.Definition) (*hishamos.Client, error) {
	c, err := r.serveAll(ctx)
	if err != nil {
		return nil, err
	}
	return c, r.warm(ctx, c, d)
}

func (r *benchRun) warm(ctx context.Context, c *hishamos.Client, d domain.Definition) error {
	if err := bench.Keep(ctx, c, d); err != nil {
		return err
	}
	r.say("warming up")
	return bench.Drive(ctx, bench.Load{Runs: warmUp, InFlight: 20}, bench.Runs(c, d.ID)).Err
}

func (r *benchRun) effect(otherwise domain.EffectClass) domain.EffectClass {
	return domain.EffectClass(or(&r.Effect, string(otherwise)))
}

func (r *benchRun) w1(ctx context.Context) error {
	load := bench.Load{Runs: or(&r.Runs, 2000), InFlight: or(&r.InFlight, 50)}
	return r.workload(ctx, bench.Sequential(r.effect(domain.Repeatable)), load)
}

func (r *benchRun) w2(ctx context.Context) error {
	runs := or(&r.Runs, 200)
	return r.workload(ctx, bench.FanOut(), bench.Load{Runs: runs, InFlight: or(&r.InFlight, runs)})
}

func (r *benchRun) solo(ctx context.Context) error {
	return r.workload(ctx, bench.Sequential(r.effect(domain.Repeatable)), bench.Load{Runs: or(&r.Runs, 20), InFlight: or(&r.InFlight, 1)})
}

// workload measures runs of a workflow, and what they cost.
func (r *benchRun) workload(ctx context.Context, d domain.Definition, load bench.Load) error {
	c, err := r.prepared(ctx, d)
	if err != nil {
		return err
	}
	m, err := r.newMeter(ctx)
	if err != nil {
		return err
	}
	r.say("measuring %d runs, %d in flight", load.Runs, load.InFlight)
	result := bench.Drive(ctx, load, bench.Runs(c, d.ID))
	steps := load.Runs * len(d.Steps)
	values := map[string]float64{
		"steps_per_second": float64(steps) / result.Took.Seconds(),
		"run_p50_ms":       bench.Milliseconds(bench.Percentile(result.Each, 0.5)),
		"run_p99_ms":       bench.Milliseconds(bench.Percentile(result.Each, 0.99)),
		"step_p50_ms":      bench.Milliseconds(bench.Percentile(result.Each, 0.5)) / float64(len(d.Steps)),
	}
	notes, err := m.into(ctx, values, steps)
	if err := errors.Join(result.Err, err); err != nil {
		return err
	}
	return r.emit(figure{Values: values, Notes: notes})
}

// killShare is the part of the steps after which w3 kills.
const killShare = 0.4

// w3 kills processes in the middle of w1, starts them again at once, and counts
// how often an effect was repeated.
func (r *benchRun) w3(ctx context.Context) error {
	load := bench.Load{Runs: or(&r.Runs, 200), InFlight: or(&r.InFlight, 50)}
	d := bench.Sequential(r.effect(domain.Keyed))
	effects := filepath.Join(r.dir, "effects")
	r.own = true
	c, err := r.serveRoles(ctx, [][]string{{roleAPI, roleRelay, roleProjections}, {roleHandlers}, {roleWorkers}},
		"--bench-result", strconv.Itoa(benchResult), "--bench-effects", effects)
	if err != nil {
		return err
	}
	if err := r.warm(ctx, c, d); err != nil {
		return err
	}
	handlers, workers := r.servers[1], r.servers[2]
	looked := v1.Ordinal(0) // for effects under other keys, up to this position
	for _, killed := range []struct {
		name    string
		servers []*benchServer
	}{
		{"workers killed", []*benchServer{workers}},
		{"handlers killed", []*benchServer{handlers}},
		{"workers and handlers killed", []*benchServer{workers, handlers}},
	} {
		r.say("%s", killed.name)
		before, repeatedBefore, err := bench.Effects(effects)
		if err != nil {
			return err
		}
		ended := make(chan bench.Result, 1)
		go func() { ended <- bench.Drive(ctx, load, bench.Runs(c, d.ID)) }()
		at := before + int(killShare*float64(load.Runs*len(d.Steps)))
		for n := before; n < at && err == nil && wait(ctx, 5*time.Millisecond); {
			n, _, err = bench.Effects(effects)
		}
		for _, s := range killed.servers {
			err = errors.Join(err, s.kill())
		}
		died, pause := time.Now(), bench.LongestPause(effects)
		for _, s := range killed.servers {
			err = errors.Join(err, r.run(s))
		}
		result := <-ended
		took, longest := time.Since(died), pause()
		all, repeated, reading := bench.Effects(effects)
		if err := errors.Join(err, result.Err, reading); err != nil {
			return err
		}
		values := map[string]float64{
			"all_ended_after_kill_s": took.Seconds(), "longest_pause_s": longest.Seconds(), "runs_ended": float64(len(result.Each)),
			"effects": float64(all - before), "effects_performed_again": float64(repeated - repeatedBefore),
		}
		if d.Steps[0].Effect == domain.Keyed {
			n, reached, err := bench.Unrecognised(ctx, c, looked)
			if err != nil {
				return err
			}
			values["effects_repeated"], looked = float64(n), reached
		}
		if err := r.emit(figure{Case: killed.name, Values: values}); err != nil {
			return err
		}
	}
	return nil
}
