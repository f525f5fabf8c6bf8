package projection

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
)

// advance notes a feed's progress and wakes those who wait for it.
func (r *Runner) advance(f *Feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feeds[feedKey{f.def.Name, f.partition}] = f
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Runner) forget(f *Feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := (feedKey{f.def.Name, f.partition}); r.feeds[k] == f {
		delete(r.feeds, k)
		delete(r.saved, k)
	}
}

func (r *Runner) open() []*Feed {
	r.mu.Lock()
	defer r.mu.Unlock()
	feeds := make([]*Feed, 0, len(r.feeds))
	for _, f := range r.feeds {
		feeds = append(feeds, f)
	}
	return feeds
}

// Sweep lets idle partitions advance. The order matters: first the relay's mark
// R is read, then the end of each partition; once a feed has read to that end,
// it has every event up to R. Unless the log has lost its newest records since
// R was true: so the feed must also have the record that the partition ended
// with then.
func (r *Runner) Sweep(ctx context.Context) error {
	feeds := r.open()
	if r.mark == nil || len(feeds) == 0 {
		return nil
	}
	mark, err := r.mark(ctx)
	if err != nil {
		return fmt.Errorf("read the relay's mark: %w", err)
	}
	var behind []*Feed
	var partitions []log.Partition
	for _, f := range feeds {
		f.mu.Lock()
		if _, known := mark.Tails[f.partition]; known && f.at.done() < mark.Position && f.promise.mark < mark.Position {
			behind = append(behind, f)
			if !slices.Contains(partitions, f.partition) {
				partitions = append(partitions, f.partition)
			}
		}
		f.mu.Unlock()
	}
	if len(behind) == 0 {
		return nil
	}
	bounds, err := r.log.Bounds(ctx, partitions...)
	if err != nil {
		return fmt.Errorf("read the ends of partitions: %w", err)
	}
	for _, f := range behind {
		f.mu.Lock()
		// A promise that is still open is kept: replacing it for ever would starve
		// a partition that is read more slowly than it is swept.
		if f.promise.mark <= f.at.done() {
			f.promise = promise{mark: mark.Position, tail: mark.Tails[f.partition], end: bounds[f.partition].End}
		}
		f.mu.Unlock()
		select {
		case f.nudged <- struct{}{}:
		default:
		}
	}
	return nil
}

// SaveMarks stores the marks that rose without a transaction of their own, for
// other processes and for the next start.
func (r *Runner) SaveMarks(ctx context.Context) error {
	var marks []OwnedMark
	keys := make(map[feedKey]domain.Position)
	for _, f := range r.open() {
		c := f.Checkpoint()
		k := feedKey{f.def.Name, c.Partition}
		r.mu.Lock()
		stale := r.saved[k] < c.done()
		r.mu.Unlock()
		if stale {
			marks = append(marks, OwnedMark{Build: f.build, Fence: f.fence, Batch: c.Batch, Partition: c.Partition, Mark: c.done()})
			keys[k] = c.done()
		}
	}
	if len(marks) == 0 {
		return nil
	}
	if err := r.store.Marks(ctx, marks); err != nil {
		return fmt.Errorf("save marks: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, p := range keys {
		if r.feeds[k] != nil {
			r.saved[k] = p
		}
	}
	return nil
}

// marks returns the mark of every partition of the live build: as stored, or as
// known here when a feed of this process is further.
func (r *Runner) marks(ctx context.Context, projection string) (map[log.Partition]domain.Position, error) {
	build, err := r.live(ctx, projection)
	if err != nil {
		return nil, err
	}
	checkpoints, err := r.store.Checkpoints(ctx, build)
	if err != nil {
		return nil, fmt.Errorf("read checkpoints of %s: %w", projection, err)
	}
	marks := make(map[log.Partition]domain.Position, len(checkpoints))
	for _, c := range checkpoints {
		marks[c.Partition] = c.done()
		r.mu.Lock()
		f := r.feeds[feedKey{projection, c.Partition}]
		r.mu.Unlock()
		if f != nil && f.build == build {
			marks[c.Partition] = max(c.done(), f.Checkpoint().done())
		}
	}
	return marks, nil
}

// Position is the low-water mark of a projection: every event up to it that the
// projection subscribes to is applied.
func (r *Runner) Position(ctx context.Context, projection string) (domain.Position, error) {
	marks, err := r.marks(ctx, projection)
	if err != nil {
		return 0, err
	}
	return lowest(marks, nil), nil
}

func lowest(marks map[log.Partition]domain.Position, only []log.Partition) domain.Position {
	low, found := ^domain.Position(0), false
	for p, m := range marks {
		if len(only) == 0 || slices.Contains(only, p) {
			low, found = min(low, m), true
		}
	}
	if !found {
		return 0
	}
	return low
}

// WaitFor returns when a projection has reached a position, or ErrWaited when
// the context ends first. With partitions it waits for those alone, which is
// enough to see what was written to their streams.
func (r *Runner) WaitFor(ctx context.Context, projection string, position domain.Position, partitions ...log.Partition) error {
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	for _, f := range r.open() {
		select {
		case f.hurry <- struct{}{}:
		default:
		}
	}
	// Other processes' progress shows only in the store.
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		marks, err := r.marks(ctx, projection)
		switch {
		case ctx.Err() != nil:
			return ErrWaited
		case err != nil:
			return err
		case lowest(marks, partitions) >= position:
			return nil
		}
		select {
		case <-ctx.Done():
			return ErrWaited
		case <-changed:
		case <-poll.C:
		}
	}
}
