package projection

import (
	"context"
	"errors"
	"fmt"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
)

// endOfStore asks fill for everything the store has.
const endOfStore = ^domain.Position(0)

// fillBatch is how many events of the whole log one read of a fill takes.
const fillBatch = 2000

// fill applies records, then the partition's events up to a position from the
// store. It is how a hole in the log is mended, whatever made it.
func (f *Feed) fill(ctx context.Context, records []*events.Record, next Checkpoint, to domain.Position) (Checkpoint, error) {
	if err := f.flush(ctx, records, next); err != nil {
		return next, err
	}
	next = f.at
	if to == endOfStore {
		head, err := f.runner.events.Head(ctx)
		if err != nil {
			return next, fmt.Errorf("read the end of the store: %w", err)
		}
		to = head.Position
	}
	for after := next.done(); after < to; {
		all, err := f.runner.events.ReadAll(ctx, after, int(min(fillBatch, to-after)))
		if err != nil {
			return next, fmt.Errorf("read the store after position %d: %w", after, err)
		}
		if len(all) == 0 {
			return next, fmt.Errorf("the store ends before position %d, which the log has", to)
		}
		after = all[len(all)-1].Position
		var mine []*events.Record
		for i := range all {
			r := &all[i]
			if log.TopicOf(r.Type) != f.partition.Topic || log.PartitionOf(string(r.Stream), f.partitions) != f.partition.ID {
				continue
			}
			if unknown(r) {
				return next, f.pause(ctx, mine, next, r)
			}
			mine = append(mine, r)
			next.Position = r.Position
		}
		next.Mark = after
		if err := f.flush(ctx, mine, next); err != nil {
			return next, err
		}
		next = f.at
	}
	return next, nil
}

// resume opens the reader. An offset counts only within its epoch; otherwise
// the position does: what the partition has and we do not is taken from the
// store, and reading begins behind it.
func (f *Feed) resume(ctx context.Context) error {
	last, ok, err := f.runner.log.Last(ctx, f.partition)
	if err != nil {
		return fmt.Errorf("read the end of %s: %w", f.partition, err)
	}
	if ok && f.at.Offset >= 0 && f.at.Offset <= last.Offset+1 {
		if p, err := log.Decode(last); err == nil && p.Epoch == f.at.Epoch && log.Resumes(last, f.at.Offset, f.at.done()) {
			f.reader, err = f.runner.log.Open(ctx, f.partition, f.at.Offset)
			if err == nil || !errors.Is(err, log.ErrOffsetOutOfRange) {
				return err
			}
		}
	}
	if _, err := f.fill(ctx, nil, f.at, endOfStore); err != nil && !errors.Is(err, errPaused) {
		return fmt.Errorf("catch up %s from the store: %w", f.partition, err)
	}
	next := f.at
	if next.Offset, err = f.seek(ctx, next.done()); err != nil {
		return fmt.Errorf("seek %s: %w", f.partition, err)
	}
	// The epoch is learned from the next record; until then the offset must not
	// be trusted by a successor.
	next.Epoch = 0
	f.moved(next)
	f.reader, err = f.runner.log.Open(ctx, f.partition, next.Offset)
	return err
}

// scanned is the number of records that seek leaves to be skipped one by one.
const scanned = 512

// seek finds an offset at or before the first record behind a position.
func (f *Feed) seek(ctx context.Context, position domain.Position) (int64, error) {
	bounds, err := f.runner.log.Bounds(ctx, f.partition)
	if err != nil {
		return 0, err
	}
	low, high := bounds[f.partition].First, bounds[f.partition].End
	for high-low > scanned {
		middle := low + (high-low)/2
		m, err := f.read(ctx, middle)
		if err != nil {
			return 0, err
		}
		// An unreadable record only makes the scan longer.
		if p, err := log.Decode(m); err == nil && p.Position <= position {
			low = m.Offset + 1
		} else {
			high = middle
		}
	}
	return low, nil
}

// read returns the first record at or after an offset that is in the log.
func (f *Feed) read(ctx context.Context, offset int64) (log.Message, error) {
	r, err := f.runner.log.Open(ctx, f.partition, offset)
	if err != nil {
		return log.Message{}, err
	}
	defer r.Close()
	for {
		messages, err := r.Poll(1)
		if err != nil {
			return log.Message{}, err
		}
		if len(messages) > 0 {
			return messages[0], nil
		}
		select {
		case <-ctx.Done():
			return log.Message{}, ctx.Err()
		case <-r.Ready():
		}
	}
}
