package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	projectionmemory "github.com/hishamos/hishamos/internal/projection/memory"
	"github.com/hishamos/hishamos/internal/relay"
	"github.com/hishamos/hishamos/internal/sim"
	"github.com/hishamos/hishamos/internal/worker"
)

// lapse tells the runs of workers that went away, as the worker server does.
func (n *simNode) lapse() {
	for len(n.lapses) > 0 {
		err := worker.Local{Board: n.ports.Board, Dispatcher: n.ports.Dispatcher}.Lapse(context.Background(), n.lapses[0])
		if err != nil && simPassing(err) {
			return
		}
		n.lapses = n.lapses[1:]
	}
}

func simPassing(err error) bool {
	switch domain.KindOf(err) {
	case domain.Unavailable, domain.Unknown, domain.Exhausted, domain.Internal:
		return true
	}
	return false
}

// simRelay is a process that publishes while it has the lock.
type simRelay struct {
	w     *simWorld
	name  string
	relay *relay.Relay
	blind bool // it believes for one more batch that it has the lock
	epoch int
}

var errSimLock = errors.New("another relay has the lock")

// Held implements relay.Lock.
func (r *simRelay) Held(context.Context) error {
	if r.w.relayer == nil {
		r.w.relayer = r
	}
	if r.w.relayer == r || r.blind {
		return nil
	}
	return errSimLock
}

// crash implements mortal.
func (r *simRelay) crash() {
	r.w.Note(r.name, "crashes")
	r.relay = nil
	if r.w.relayer == r {
		r.w.relayer = nil
	}
	r.w.Stall(r.name, r.w.Between(time.Millisecond, 2*time.Second))
}

// publish is one batch.
func (r *simRelay) publish(ctx context.Context) (int, error) {
	if r.relay == nil || r.epoch != r.w.epoch {
		r.epoch = r.w.epoch
		r.relay = relay.New(r.w.store, r.w.broker, relay.Options{
			Partitions: simPartitions, Epoch: r.epoch, Batch: 1 + r.w.Rand.IntN(9),
			HintEvery: 20, Lock: r, Logger: simLogger(), OnPublished: func(domain.Position) { r.w.mark = r.relay.Mark() },
		})
	}
	return r.relay.Step(ctx)
}

func (r *simRelay) step() sim.Pause {
	n, err := r.publish(context.Background())
	r.blind = false
	switch {
	case errors.Is(err, errSimLock):
		return sim.Idle
	case relay.Fatal(err):
		r.w.breaks("I4", "the relay can only stop: %v", err)
		return sim.Gone
	case err != nil:
		r.w.Note(r.name, "is interrupted", err.Error())
		return sim.Pause(r.w.Between(time.Millisecond, 200*time.Millisecond))
	case n == 0:
		return sim.Idle
	}
	r.w.Note(r.name, "publishes", n)
	r.w.Wake()
	return sim.Again
}

// simTables is the database of the read models, with crashes of its client.
type simTables struct {
	*projectionmemory.Store
	w       *simWorld
	refused map[string]bool // entities whose rows it refuses
	filling bool            // a rebuild runs: its goroutines must not crash
}

func newSimTables(w *simWorld) *simTables {
	return &simTables{Store: projectionmemory.New(), w: w, refused: make(map[string]bool)}
}

// Own implements projection.Store.
func (t *simTables) Own(ctx context.Context, b projection.Build, p log.Partition) (projection.Checkpoint, int64, error) {
	c, fence, err := t.Store.Own(ctx, b, p)
	if c.Offset > 0 && t.w.strike(viewRewound) {
		c.Offset = t.w.Rand.Int64N(c.Offset)
	}
	return c, fence, err
}

// Commit implements projection.Store.
func (t *simTables) Commit(ctx context.Context, c projection.Changes) error {
	if t.filling {
		return t.Store.Commit(ctx, c)
	}
	if c.Build.Projection == "runs" && t.refuses(c) {
		return projection.ErrData
	}
	if !c.DryRun && t.w.strike(viewCrashBefore) {
		panic(simCrash{})
	}
	commit := func() error { return t.Store.Commit(ctx, c) }
	if t.w.plant.commit != nil {
		commit = func() error { return t.w.plant.commit(t.Store, c) }
	}
	err := commit()
	if err == nil && len(c.Park) > 0 && !c.DryRun {
		t.w.Hit(viewPoisoned)
	}
	if !c.DryRun && t.w.strike(viewCrashAfter) {
		panic(simCrash{})
	}
	return err
}

func (t *simTables) refuses(c projection.Changes) bool {
	if len(t.refused) == 0 {
		return false
	}
	for _, table := range c.Tables {
		for _, row := range table.Puts {
			key := table.Table.Key(row.Row)
			for entity := range t.refused {
				if strings.Contains(key, entity) {
					return true
				}
			}
		}
	}
	return false
}

// simViews is the process that fills the read models.
type simViews struct {
	w      *simWorld
	runner *projection.Runner
	keys   []simView
	feeds  map[simView]*projection.Feed
	turn   int
}

type simView struct {
	projection string
	partition  log.Partition
}

// simLocks are held by one process, so all are free.
type simLocks struct{}

func (simLocks) Try(context.Context, string) (bool, error)   { return true, nil }
func (simLocks) Release(context.Context, string) error       { return nil }
func (simLocks) Lost() <-chan struct{}                       { return nil }
func (w *simWorld) markOf(context.Context) (log.Mark, error) { return w.mark, nil }

func (v *simViews) open() (*projection.Runner, error) {
	return projection.New(projection.Config{
		Definitions: v.w.definitions(), Store: v.w.tables, Log: v.w.broker, Events: v.w.store,
		Mark: v.w.markOf, Locks: simLocks{}, Clock: v.w.clock, Batch: 1 + v.w.Rand.IntN(12), CacheRows: 8,
	})
}

func (v *simViews) start() (err error) {
	if v.runner, err = v.open(); err != nil {
		return err
	}
	v.feeds = make(map[simView]*projection.Feed)
	if v.keys != nil {
		return nil
	}
	v.w.tables.filling = true
	err = v.runner.Prepare(context.Background())
	v.w.tables.filling = false
	for _, d := range v.w.definitions() {
		for _, topic := range d.Topics() {
			for id := range simPartitions {
				v.keys = append(v.keys, simView{d.Name, log.Partition{Topic: topic, ID: int32(id)}})
			}
		}
	}
	return err
}

// crash implements mortal.
func (v *simViews) crash() {
	v.w.Note("views", "crash")
	v.closeAll()
	if err := v.start(); err != nil {
		v.w.breaks("simulation", "start views: %v", err)
	}
	v.w.Stall("views", v.w.Between(time.Millisecond, 2*time.Second))
}

// closeAll gives up all feeds; they are opened again from their checkpoints.
func (v *simViews) closeAll() {
	for _, k := range v.keys {
		v.drop(k)
	}
}

func (v *simViews) drop(k simView) {
	if f := v.feeds[k]; f != nil {
		if err := f.Close(); err != nil {
			v.w.breaks("simulation", "close feed: %v", err)
		}
		delete(v.feeds, k)
	}
}

func (v *simViews) step() sim.Pause {
	ctx := context.Background()
	taken := 0
	for range 1 + v.w.Rand.IntN(len(v.keys)) {
		v.turn++
		taken += v.follow(ctx, v.keys[v.turn%len(v.keys)])
	}
	if v.w.Chance(0.3) || taken == 0 {
		if err := v.runner.Sweep(ctx); err != nil {
			v.w.Note("views", "cannot sweep", err.Error())
		}
	}
	if v.w.Chance(0.1) {
		if err := v.runner.SaveMarks(ctx); err != nil {
			v.w.breaks("simulation", "save marks: %v", err)
		}
	}
	if taken > 0 {
		v.w.Note("views", "take", taken)
		return sim.Again
	}
	return sim.Idle
}

// follow is one step of one feed.
func (v *simViews) follow(ctx context.Context, k simView) int {
	f := v.feeds[k]
	if f == nil {
		var err error
		if f, err = v.runner.Open(ctx, k.projection, k.partition); err != nil {
			v.w.Note("views", "cannot open", k.projection, k.partition, err.Error())
			return 0
		}
		v.feeds[k] = f
	}
	n, err := f.Step(ctx)
	if err == nil && v.w.Chance(0.1) {
		_, err = f.Requeue(ctx)
	}
	if err != nil {
		v.w.Note("views", k.projection, k.partition, err.Error())
		v.drop(k)
	}
	return n
}

// rebuild fills a projection anew beside the live one, and switches.
func (v *simViews) rebuild(name string) {
	v.w.tables.filling = true
	err := v.runner.Rebuild(context.Background(), name)
	v.w.tables.filling = false
	if err != nil { // the topics are gone just now
		v.w.Note("views", "cannot rebuild", name, err.Error())
		return
	}
	v.w.Hit(viewRebuilt)
	for _, k := range v.keys { // each finds out that its build is no longer live
		if k.projection == name {
			v.drop(k)
		}
	}
}

// steal opens a partition anew while its owner still has it; the owner is told
// by its next commit.
func (v *simViews) steal(k simView) {
	f := v.feeds[k]
	if f == nil {
		return
	}
	other, err := v.open()
	if err != nil {
		v.w.breaks("simulation", "open runner: %v", err)
		return
	}
	fresh, err := other.Open(context.Background(), k.projection, k.partition)
	if err != nil {
		v.w.Note("views", "cannot steal", err.Error())
		return
	}
	v.w.Hit(viewStolen)
	if _, err := fresh.Step(context.Background()); err != nil {
		v.w.Note("views", "the thief", err.Error())
	}
	if err := fresh.Close(); err != nil {
		v.w.breaks("simulation", "close feed: %v", err)
	}
}
