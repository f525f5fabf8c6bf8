package projection

import (
	"context"
	"errors"
	"fmt"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
)

func (r *Runner) park(p poison) Parked {
	return Parked{
		Stream: p.event.Stream, Sequence: p.event.Sequence, Position: p.event.Position,
		Type: p.event.Type, Cause: p.cause.Error(), At: r.clock.Now(),
	}
}

func (f *Feed) loadParked(ctx context.Context) error {
	parked, err := f.runner.store.Parked(ctx, f.build)
	if err != nil {
		return fmt.Errorf("read parked streams of %s: %w", f.def.Name, err)
	}
	for _, p := range parked {
		if f.mine(p.Stream, p.Type) {
			f.parked[p.Stream] = p
		}
	}
	return nil
}

func (f *Feed) mine(s domain.StreamID, eventType string) bool {
	return log.TopicOf(eventType) == f.partition.Topic && log.PartitionOf(string(s), f.partitions) == f.partition.ID
}

// isolate finds the streams whose rows the database refuses, parks them, and
// writes the rest of the batch.
func (f *Feed) isolate(ctx context.Context, groups []*streamEvents, next Checkpoint, cause error) (*batch, error) {
	var good []*streamEvents
	var bad []Parked
	for _, g := range groups {
		probe := []*streamEvents{{stream: g.stream, records: g.records}}
		switch _, err := f.commit(ctx, probe, Changes{Checkpoint: next, DryRun: true}); {
		case err == nil:
			good = append(good, &streamEvents{stream: g.stream, records: g.records})
		case errors.Is(err, ErrData):
			bad = append(bad, f.runner.park(poison{g.records[0].Envelope, err}))
		default:
			return nil, err
		}
	}
	if len(bad) == 0 {
		return nil, cause
	}
	return f.commit(ctx, good, Changes{Checkpoint: next, Park: bad})
}

// Requeue replays the parked streams of the partition for which that was asked,
// in order from the store, and returns how many are whole again.
func (f *Feed) Requeue(ctx context.Context) (int, error) {
	if f.Paused() != nil {
		return 0, nil
	}
	parked, err := f.runner.store.Parked(ctx, f.build)
	if err != nil {
		return 0, fmt.Errorf("read parked streams of %s: %w", f.def.Name, err)
	}
	mended := 0
	for _, p := range parked {
		if !p.Requested || !f.mine(p.Stream, p.Type) {
			continue
		}
		records, err := f.history(ctx, p)
		if err != nil {
			return mended, err
		}
		c := Changes{Checkpoint: f.at, Unpark: []domain.StreamID{p.Stream}}
		b, err := f.commit(ctx, group(records), c)
		if errors.Is(err, ErrData) {
			// Still refused: say so with the new cause.
			again := f.runner.park(poison{events.Envelope{Stream: p.Stream, Sequence: p.Sequence, Position: p.Position, Type: p.Type}, err})
			b, err = f.commit(ctx, nil, Changes{Checkpoint: f.at, Park: []Parked{again}})
		}
		if err != nil {
			return mended, fmt.Errorf("requeue stream %s of %s: %w", p.Stream, f.def.Name, err)
		}
		b.settle()
		if _, still := f.parked[p.Stream]; !still {
			mended++
		}
	}
	return mended, nil
}

// history reads the events of a parked stream from the one that failed up to
// what the partition has applied; later ones come by themselves.
func (f *Feed) history(ctx context.Context, p Parked) ([]*events.Record, error) {
	var records []*events.Record
	for after := p.Sequence - 1; ; {
		page, err := f.runner.events.ReadStream(ctx, p.Stream, after, fillBatch)
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", p.Stream, err)
		}
		for i := range page {
			r := &page[i]
			if r.Position > f.at.done() {
				return records, nil
			}
			if log.TopicOf(r.Type) == f.partition.Topic {
				records = append(records, r)
			}
			after = r.Sequence
		}
		if len(page) == 0 {
			return records, nil
		}
	}
}

// Requeue asks the owner of a parked stream to replay it from the store.
func (r *Runner) Requeue(ctx context.Context, projection string, stream domain.StreamID) error {
	build, err := r.live(ctx, projection)
	if err != nil {
		return err
	}
	ok, err := r.store.Request(ctx, build, stream)
	if err != nil {
		return fmt.Errorf("requeue stream %s of %s: %w", stream, projection, err)
	}
	if !ok {
		return ErrNotParked
	}
	return nil
}
