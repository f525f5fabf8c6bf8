package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/sim"
)

var (
	simSeeds = flag.Uint64("seeds", 2000, "how many seeds the simulation runs")
	simSeed  = flag.Uint64("seed", 0, "one seed to run again, with its trace")
)

// The size of one simulation, in virtual time.
const (
	simTrouble = 50 * time.Second // faults are planned within
	simBound   = 40 * time.Minute // everything ends within, once healed
	simMost    = 200_000          // steps
)

// simPlan is what goes wrong with a seed.
func simPlan(seed uint64) []sim.Fault { return sim.Plan(seed, simFaults(), 4+int(seed%12), simTrouble) }

// simulate runs one seed to its end and checks every promise.
func simulate(seed uint64, plan []sim.Fault, plant simPlant, trace func(string)) (*simWorld, error) {
	w := newSimWorld(seed, plant, trace)
	if err := w.begin(); err != nil {
		return w, fmt.Errorf("begin: %w", err)
	}
	w.Inject(plan, w.inject)
	w.Run(func() bool { return w.broken != nil || w.Elapsed() > simTrouble }, simTrouble+time.Hour, simMost)
	w.heal()
	if !w.Run(func() bool { return w.broken != nil || w.quiet() }, w.Elapsed()+simBound, simMost) {
		return w, fmt.Errorf("I7: after %s everything had not ended: %s", w.Elapsed(), w.stuck())
	}
	err := w.check()
	head, _ := w.memory.Head(context.Background())
	w.Note("end", head.Hash.String())
	return w, err
}

// stuck says what is left to do.
func (w *simWorld) stuck() string {
	ctx := context.Background()
	var out []string
	for _, c := range w.clients {
		if !c.done {
			out = append(out, c.name+" waits")
		}
	}
	for _, e := range w.erasures {
		if !e.done {
			out = append(out, e.name+" is not erased")
		}
	}
	open, _ := w.memory.OpenStreams(ctx, "run", "", 100)
	for _, s := range open {
		out = append(out, "run "+simShort(s)+" is open")
	}
	head, _ := w.memory.Head(ctx)
	out = append(out, fmt.Sprintf("published %d of %d", w.mark.Position, head.Position))
	for _, k := range w.views.keys {
		if f := w.views.feeds[k]; f != nil {
			out = append(out, fmt.Sprintf("%s %s is at %+v", k.projection, k.partition, f.Checkpoint()))
		}
	}
	return strings.Join(out, "; ")
}

func TestSimulationKeepsEveryPromise(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		if _, err := simulate(*simSeed, simPlan(*simSeed), simPlant{}, func(line string) { fmt.Print(line) }); err != nil {
			t.Fatal(err)
		}
		return
	}
	began := time.Now()
	totals := simMany(t, *simSeeds, simPlant{}, func(seed uint64, err error) bool {
		t.Error(simExplain(seed, simPlant{}, err))
		return false
	})
	if t.Failed() {
		return
	}
	t.Logf("%d seeds in %s: %d steps, %d events, %d commands, %v", *simSeeds, time.Since(began).Round(time.Millisecond),
		totals.steps, totals.events, totals.commands, totals.hits)
	if *simSeeds < 500 {
		return
	}
	for _, kind := range simFaults() {
		if totals.hits[kind] == 0 && (kind != expressLost || !expressIsOff()) {
			t.Errorf("void: no seed was hit by %q", kind)
		}
	}
	for _, kind := range []string{erased, readable} {
		if totals.hits[kind] == 0 {
			t.Errorf("void: %s in no seed", kind)
		}
	}
	if totals.events < 20*int(*simSeeds) {
		t.Errorf("void: only %d events", totals.events)
	}
}

// simTotals are sums over seeds.
type simTotals struct {
	steps, events, commands int
	hits                    map[string]int
}

// simMany runs seeds 1 to n, side by side, until failed returns false.
func simMany(t *testing.T, n uint64, plant simPlant, failed func(seed uint64, err error) bool) simTotals {
	t.Helper()
	debug.SetGCPercent(400) // many small worlds, all garbage soon
	totals := simTotals{hits: make(map[string]int)}
	var next atomic.Uint64
	var stop atomic.Bool
	var mu sync.Mutex
	var runners sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		runners.Go(func() {
			for seed := next.Add(1); seed <= n && !stop.Load(); seed = next.Add(1) {
				w, err := simulate(seed, simPlan(seed), plant, nil)
				head, _ := w.memory.Head(context.Background())
				mu.Lock()
				totals.steps += w.Steps()
				totals.events += int(head.Position)
				totals.commands += len(w.history.order)
				for kind, k := range w.Hits() {
					totals.hits[kind] += k
				}
				if err != nil && !failed(seed, err) {
					stop.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	runners.Wait()
	return totals
}

// simExplain shrinks a failing seed's faults, and tells the end of its trace.
func simExplain(seed uint64, plant simPlant, err error) string {
	plan := sim.Shrink(simPlan(seed), 60, func(less []sim.Fault) bool {
		_, err := simulate(seed, less, plant, nil)
		return err != nil
	})
	var trace []string
	_, shrunk := simulate(seed, plan, plant, func(line string) { trace = append(trace, line) })
	const shown = 120
	return fmt.Sprintf("seed %d: %v\nrun it again: go test ./cmd/hishamos -run TestSimulationKeepsEveryPromise -seed=%d\nwith these faults alone (%v):\n%s\nthe end of its trace:\n%s",
		seed, err, seed, shrunk, sim.Describe(plan), strings.Join(trace[max(0, len(trace)-shown):], ""))
}

func TestOneSeedIsOneTrace(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3} {
		var first uint64
		for i := range 20 {
			w, err := simulate(seed, simPlan(seed), simPlant{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = w.Hash()
			} else if w.Hash() != first {
				t.Fatalf("seed %d: run %d has another trace than the first", seed, i+1)
			}
		}
	}
}

// checkNewReaction holds a reaction that is deployed now against I13: it sees
// nothing of what was there before, and everything that comes.
func (w *simWorld) checkNewReaction(records []events.Record) error {
	ctx := context.Background()
	n := w.nodes[0]
	from, _, err := deployedFrom(ctx, w.store, n.dispatcher, "new_reaction")
	if err != nil {
		return err
	}
	at := reaction.Resume{Position: from}
	if w.plant.from != nil {
		from = w.plant.from(from)
		at.Position = from
	}
	var seen []domain.Position
	late := reaction.Reaction{Name: "new_reaction", Types: n.reactions[0].Types, Handle: func(_ context.Context, e events.Recorded[events.Event]) error {
		seen = append(seen, e.Position)
		return nil
	}}
	r := w.clients[0].start
	r.ID, r.Command = domain.CommandID(w.NewID()), w.again(r.Command)
	w.relayer = w.relays[0]
	receipt, err := n.ports.Dispatcher.Do(ctx, r)
	if err != nil {
		return err
	}
	for {
		published, err := w.relays[0].publish(ctx)
		if err != nil {
			return err
		}
		if published == 0 {
			break
		}
	}
	p := log.Partition{Topic: log.TopicOf("run.started"), ID: log.PartitionOf(string(r.Command.Target()), simPartitions)}
	for id := range simPartitions {
		s, err := reaction.NewStepper(ctx, late, log.Partition{Topic: p.Topic, ID: int32(id)}, simPartitions, from, at, w.epoch, w.store, w.broker)
		if err != nil {
			return err
		}
		for did := true; did; {
			if did, err = s.Step(ctx, 100); err != nil {
				return err
			}
		}
	}
	if len(seen) == 0 || seen[0] != receipt.First || seen[len(seen)-1] != receipt.Last || len(seen) != int(receipt.Last-receipt.First+1) {
		return fmt.Errorf("I13: a new reaction saw %v of %d events, and was deployed before %d", seen, len(records), receipt.First)
	}
	return nil
}
