package projection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/log"
)

// Feed follows one partition for one projection. Its owner calls Step from one
// goroutine; after an error a feed is closed and opened again, and goes on from
// its checkpoint.
type Feed struct {
	runner     *Runner
	def        *Definition
	handlers   map[string]func(*Rows, events.Recorded[events.Event])
	build      Build
	partition  log.Partition
	partitions int // of the topic
	fence      int64
	reader     log.Reader
	cache      *cache
	parked     map[domain.StreamID]Parked

	nudged chan struct{} // receives when Step may raise the mark
	hurry  chan struct{} // receives when somebody begins to wait

	mu     sync.Mutex // guards what others look at; only the feed's goroutine changes at and paused
	at     Checkpoint
	paused error
	promise
}

// promise is a mark that becomes true when the feed has read up to an offset and
// has the record at a position.
type promise struct {
	mark domain.Position
	tail domain.Position
	end  int64
}

// Open takes a partition and prepares to follow it from its checkpoint.
func (r *Runner) Open(ctx context.Context, projection string, p log.Partition) (*Feed, error) {
	d, ok := r.defs[projection]
	if !ok {
		return nil, fmt.Errorf("open projection %q: not defined", projection)
	}
	build, ok, err := r.store.Live(ctx, d.Name, d.Version)
	if err != nil {
		return nil, fmt.Errorf("open projection %s: %w", d.Name, err)
	}
	if !ok {
		return nil, ErrNotReady.With("%s is being built", d.Name)
	}
	topics, err := r.log.Topics(ctx, log.Prefix)
	if err != nil {
		return nil, fmt.Errorf("open projection %s: %w", d.Name, err)
	}
	if p.ID < 0 || int(p.ID) >= topics[p.Topic] {
		return nil, fmt.Errorf("open projection %s: there is no partition %s", d.Name, p)
	}
	f := &Feed{
		runner: r, def: d, handlers: d.handlers(), build: build, partition: p, partitions: topics[p.Topic],
		nudged: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		cache: newCache(r.share(topics[p.Topic])), parked: make(map[domain.StreamID]Parked),
	}
	if f.at, f.fence, err = r.store.Own(ctx, build, p); err != nil {
		return nil, fmt.Errorf("own %s of %s: %w", p, d.Name, err)
	}
	if err := f.loadParked(ctx); err != nil {
		return nil, err
	}
	if err := f.resume(ctx); err != nil {
		return nil, err
	}
	f.turn()
	r.advance(f)
	return f, nil
}

// leastRows is how many rows a partition keeps, however many partitions there are:
// those of the runs that it has at once.
const leastRows = 256

// share is how many of the rows in memory are those of one of so many partitions.
func (r *Runner) share(partitions int) int {
	return max(r.cacheRows/partitions, min(r.cacheRows, leastRows))
}

// Close stops reading. The partition stays owned until another takes it.
func (f *Feed) Close() error {
	f.turn()
	f.runner.forget(f)
	if f.reader == nil {
		return nil
	}
	return f.reader.Close()
}

// Ready receives when Step may have something to do.
func (f *Feed) Ready() <-chan struct{} { return f.reader.Ready() }

// Partition is what the feed follows.
func (f *Feed) Partition() log.Partition { return f.partition }

// Checkpoint is how far the feed is.
func (f *Feed) Checkpoint() Checkpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

// Paused tells why the feed waits for a newer build of the program, or nil.
func (f *Feed) Paused() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paused
}

// Step applies what has arrived, in one transaction unless a hole has to be
// filled, and returns the number of records it took. It never waits for more.
func (f *Feed) Step(ctx context.Context) (int, error) {
	if f.Paused() != nil {
		return 0, nil
	}
	messages, err := f.reader.Poll(f.runner.batch)
	if err != nil {
		return 0, fmt.Errorf("poll %s for %s: %w", f.partition, f.def.Name, err)
	}
	if err := f.take(ctx, messages); err != nil && !errors.Is(err, errPaused) {
		return 0, fmt.Errorf("apply %s to %s: %w", f.partition, f.def.Name, err)
	}
	f.keepPromise()
	return len(messages), nil
}

// done is the position up to which nothing is left to apply in the partition.
func (c Checkpoint) done() domain.Position { return max(c.Position, c.Mark) }

// take sorts records into new, repeated, and behind a hole.
func (f *Feed) take(ctx context.Context, messages []log.Message) error {
	if len(messages) == 0 {
		return nil
	}
	fresh := make([]*events.Record, 0, len(messages))
	next := f.at
	for _, m := range messages {
		p, err := log.Decode(m)
		if err != nil {
			// The record on Kafka is damaged, the event in the store is not.
			f.runner.logger.ErrorContext(ctx, "unreadable record; filling from the store", "handler", f.def.Name,
				"partition", m.Partition.String(), "offset", m.Offset, "error", err)
			if next, err = f.fill(ctx, fresh, next, endOfStore); err != nil {
				return err
			}
			fresh, next.Offset = nil, m.Offset+1
			continue
		}
		if p.Position > next.done() {
			if p.PrevPos > next.done() || p.PrevPos == 0 && p.Position > next.done()+1 {
				if next, err = f.fill(ctx, fresh, next, p.Position-1); err != nil {
					return err
				}
				fresh = nil
			}
			if unknown(&p.Record) {
				return f.pause(ctx, fresh, next, &p.Record)
			}
			fresh = append(fresh, &p.Record)
			next.Position = p.Position
		}
		next.Epoch, next.Offset = p.Epoch, m.Offset+1
	}
	return f.flush(ctx, fresh, next)
}

// unknown reports whether an event is newer than this build of the program.
func unknown(r *events.Record) bool {
	t, ok := events.Lookup(r.Type)
	return !ok || r.Version > t.Version
}

// errPaused stops a step; Paused tells why.
var errPaused = errors.New("paused")

// pause applies what came before an event that this build does not know, and
// stops there.
func (f *Feed) pause(ctx context.Context, fresh []*events.Record, next Checkpoint, r *events.Record) error {
	if err := f.flush(ctx, fresh, next); err != nil {
		return err
	}
	cause := fmt.Errorf("%s v%d at position %d: %w", r.Type, r.Version, r.Position, events.ErrUnknownType)
	f.mu.Lock()
	f.paused = cause
	f.mu.Unlock()
	f.runner.logger.ErrorContext(ctx, "partition paused", "handler", f.def.Name,
		"partition", f.partition.String(), "position", uint64(r.Position), "error", cause)
	f.runner.observe.Paused(f.def.Name, f.partition)
	return errPaused
}

// flush applies records and commits the rows with the checkpoint.
func (f *Feed) flush(ctx context.Context, records []*events.Record, next Checkpoint) error {
	next.Mark = next.done()
	if len(records) == 0 {
		// A checkpoint that only says which records were repeats can wait.
		f.moved(next)
		return nil
	}
	groups := f.open(records)
	b, err := f.commit(ctx, groups, Changes{Checkpoint: next})
	if errors.Is(err, ErrData) {
		b, err = f.isolate(ctx, groups, next, err)
	}
	if err != nil {
		return err
	}
	b.settle()
	f.moved(next)
	f.runner.observe.Applied(f.def.Name, f.partition, len(records))
	return nil
}

// open groups records by stream and leaves out those of parked streams.
func (f *Feed) open(records []*events.Record) []*streamEvents {
	groups := group(records)
	kept := groups[:0]
	for _, g := range groups {
		if _, parked := f.parked[g.stream]; !parked {
			kept = append(kept, g)
		}
	}
	return kept
}

// commit applies groups to the cached rows and writes the result.
func (f *Feed) commit(ctx context.Context, groups []*streamEvents, c Changes) (*batch, error) {
	b := newBatch(f.handlers, f.cache, func(ctx context.Context, t *Schema, examples []any) ([]Versioned, error) {
		return f.runner.store.Load(ctx, f.build, t, examples)
	})
	if err := b.apply(ctx, groups); err != nil {
		return nil, err
	}
	c.Build, c.Fence, c.Tables = f.build, f.fence, b.changes(f.def.Tables)
	c.Checkpoint.Batch = f.at.Batch
	for _, p := range b.parked {
		c.Park = append(c.Park, f.runner.park(p))
	}
	failpoint.Hit("projection.before_commit")
	f.turn()
	err := f.runner.store.Commit(ctx, c)
	f.turn() // whatever came of it
	if err != nil {
		return nil, err
	}
	failpoint.Hit("projection.after_commit")
	if c.DryRun {
		return b, nil
	}
	f.mu.Lock()
	f.at.Batch++
	f.mu.Unlock()
	for _, s := range c.Unpark {
		delete(f.parked, s)
	}
	for _, p := range c.Park {
		f.parked[p.Stream] = p
		f.runner.logger.ErrorContext(ctx, "stream parked", slog.String("handler", f.def.Name), slog.String("stream", string(p.Stream)),
			slog.Uint64("position", uint64(p.Position)), slog.String("cause", p.Cause))
		f.runner.observe.Parked(f.def.Name, f.partition)
	}
	return b, nil
}

// moved makes a new checkpoint known.
func (f *Feed) moved(next Checkpoint) {
	f.mu.Lock()
	next.Batch = f.at.Batch // counted by commit
	f.at = next
	f.mu.Unlock()
	f.runner.advance(f)
}

// keepPromise raises the mark once the records it depends on are applied.
func (f *Feed) keepPromise() {
	f.mu.Lock()
	raised := f.promise.mark > f.at.done() && f.at.Offset >= f.promise.end && f.at.Position >= f.promise.tail
	if raised {
		f.at.Mark = f.promise.mark
	}
	f.mu.Unlock()
	if raised {
		f.runner.advance(f)
	}
}
