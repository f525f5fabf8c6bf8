package projection

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/failpoint"
)

// ErrBuilding says that another process builds the projection.
var ErrBuilding = &domain.Error{Kind: domain.Conflict, Code: "projection.building", Message: "the read model is being built already"}

// rebuildBatches is how many batches of a feed one transaction of a rebuild takes:
// nobody waits for a single one of them.
const rebuildBatches = 3

// Rebuild fills a fresh build of a projection from the store, beside the live
// one, and switches to it when it has caught up. Queries are answered all the
// while.
func (r *Runner) Rebuild(ctx context.Context, projection string) error {
	d, ok := r.defs[projection]
	if !ok {
		return fmt.Errorf("rebuild %q: not defined", projection)
	}
	// Locks are those of a process, so its own goroutines are told apart here.
	if !r.beginBuilding(d.Name) {
		return ErrBuilding
	}
	defer r.endBuilding(d.Name)
	lock := fmt.Sprintf("projection/%s/%d/build", d.Name, d.Version)
	got, err := r.locks.Try(ctx, lock)
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", d.Name, err)
	}
	if !got {
		return ErrBuilding
	}
	err = r.rebuild(ctx, d)
	if release := r.locks.Release(context.WithoutCancel(ctx), lock); release != nil {
		err = errors.Join(err, release)
	}
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", d.Name, err)
	}
	return nil
}

func (r *Runner) beginBuilding(projection string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.building[projection] {
		return false
	}
	r.building[projection] = true
	return true
}

func (r *Runner) endBuilding(projection string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.building, projection)
}

func (r *Runner) rebuild(ctx context.Context, d *Definition) error {
	// What an earlier attempt left behind goes first.
	if err := r.clean(ctx, d); err != nil {
		return err
	}
	build, fence, err := r.store.Begin(ctx, d.Name, d.Version)
	if err != nil {
		return err
	}
	f := &filling{
		runner: r, def: d, handlers: d.handlers(), build: build, fence: fence,
		cache: newCache(r.cacheRows), parked: make(map[domain.StreamID]bool),
	}
	began := time.Now()
	for {
		if err := f.catchUp(ctx); err != nil {
			return err
		}
		checkpoints, err := f.checkpoints(ctx)
		if err != nil {
			return err
		}
		failpoint.Hit("rebuild.before_switch")
		err = r.store.Switch(ctx, build, fence, checkpoints)
		failpoint.Hit("rebuild.after_switch")
		if errors.Is(err, ErrBehind) {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	r.logger.InfoContext(ctx, "projection built", "handler", d.Name, "build", build.Number,
		"position", uint64(f.position), "events", f.count, "took", time.Since(began).String())
	return r.clean(ctx, d)
}

func (r *Runner) clean(ctx context.Context, d *Definition) error {
	stale, err := r.store.Stale(ctx, d.Name, d.Version)
	if err != nil {
		return err
	}
	for _, b := range stale {
		if err := r.store.Discard(ctx, b, d.Tables); err != nil {
			return err
		}
	}
	return nil
}

// filling is one rebuild under way.
type filling struct {
	runner    *Runner
	def       *Definition
	handlers  map[string]func(*Rows, events.Recorded[events.Event])
	build     Build
	fence     int64
	cache     *cache
	parked    map[domain.StreamID]bool
	unwritten sync.WaitGroup // batches handed over and not committed
	position  domain.Position
	batches   int64 // handed over
	count     int
}

// stage is a batch between two workers of the pipeline.
type stage struct {
	groups   []*streamEvents
	position domain.Position
	count    int
}

// catchUp applies everything up to the end of the store. Reading, applying,
// preparing and writing overlap: each of four goroutines has one batch.
func (f *filling) catchUp(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	read := make(chan stage, 1)
	go func() {
		defer close(read)
		if err := f.read(ctx, f.position, read); err != nil {
			stop(err)
		}
	}()
	changed, ready := make(chan Changes, 1), make(chan func() error, 1)
	go func() {
		defer close(ready)
		for c := range changed {
			ready <- prepare(ctx, f.runner.store, c)
		}
	}()
	written := make(chan error, 1)
	go func() {
		var err error
		for commit := range ready {
			if err == nil {
				if err = commit(); err != nil {
					stop(err) // what is on its way here comes to nothing
				}
			}
			f.unwritten.Done()
		}
		written <- err
	}()
	err := f.apply(ctx, read, changed)
	if err != nil {
		stop(err)
	}
	close(changed)
	err = errors.Join(err, <-written)
	for range read { // until the reader has stopped
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// prepare returns what writes a batch.
func prepare(ctx context.Context, s Store, c Changes) (commit func() error) {
	p, ok := s.(Preparer)
	if !ok {
		return func() error { return s.Commit(ctx, c) }
	}
	commit, err := p.Prepare(ctx, c)
	if err != nil {
		return func() error { return err }
	}
	return commit
}

func (f *filling) read(ctx context.Context, after domain.Position, out chan<- stage) error {
	for {
		records, err := f.runner.events.ReadAll(ctx, after, rebuildBatches*f.runner.batch)
		if err != nil {
			return fmt.Errorf("read the store after position %d: %w", after, err)
		}
		if len(records) == 0 {
			return nil
		}
		after = records[len(records)-1].Position
		wanted := make([]*events.Record, 0, len(records))
		for i := range records {
			r := &records[i]
			if unknown(r) {
				return fmt.Errorf("%s v%d at position %d: %w", r.Type, r.Version, r.Position, events.ErrUnknownType)
			}
			if f.handlers[r.Type] != nil {
				wanted = append(wanted, r)
			}
		}
		s := stage{groups: group(wanted), position: after, count: len(records)}
		b := batch{handlers: f.handlers}
		for _, g := range s.groups {
			b.decode(g)
		}
		select {
		case out <- s:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (f *filling) apply(ctx context.Context, in <-chan stage, out chan<- Changes) error {
	for s := range in {
		groups := s.groups[:0]
		for _, g := range s.groups {
			if !f.parked[g.stream] {
				groups = append(groups, g)
			}
		}
		b := newBatch(f.handlers, f.cache, func(ctx context.Context, t *Schema, examples []any) ([]Versioned, error) {
			f.unwritten.Wait() // a row that left the cache may still be on its way
			return f.runner.store.Load(ctx, f.build, t, examples)
		})
		if err := b.applyDecoded(ctx, groups); err != nil {
			return err
		}
		c := Changes{
			Build: f.build, Fence: f.fence, Tables: b.changes(f.def.Tables),
			Checkpoint: Checkpoint{Position: s.position, Mark: s.position, Offset: -1, Batch: f.batches},
		}
		for _, p := range b.parked {
			f.parked[p.event.Stream] = true
			c.Park = append(c.Park, f.runner.park(p))
		}
		f.unwritten.Add(1)
		select {
		case out <- c:
		case <-ctx.Done():
			f.unwritten.Done()
			return context.Cause(ctx)
		}
		// The rows count as written: if they are not, the whole build is given up.
		b.settle()
		f.batches++
		f.position, f.count = s.position, f.count+s.count
	}
	return nil
}

// checkpoints are those with which the partitions go on from the build.
func (f *filling) checkpoints(ctx context.Context) ([]Checkpoint, error) {
	partitions, err := f.runner.partitions(ctx, f.def)
	if err != nil {
		return nil, err
	}
	out := make([]Checkpoint, len(partitions))
	for i, p := range partitions {
		out[i] = Checkpoint{Partition: p, Position: f.position, Mark: f.position, Offset: -1}
	}
	return out, nil
}
