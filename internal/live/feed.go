package live

import (
	"context"
	"fmt"
	"sync"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// Feed is one reader's place in the log. It reads the past from the store at
// its own pace and is handed what is fresh. A reader that is too slow for its
// buffer goes back to reading the past: nothing is lost and memory is bounded.
// A Feed is used by one goroutine.
type Feed struct {
	hub     *Hub
	filter  Filter
	reached domain.Position // everything wanted up to it was returned
	seq     domain.Sequence // of the stream, when the filter names one
	joined  bool            // offered to by the hub
	behind  bool            // has to read the past
	ready   chan struct{}

	mu       sync.Mutex
	buffer   []events.Record
	offered  domain.Position // of the newest event that was offered
	overflow bool
}

// Follow returns a feed of the events after a position.
func (h *Hub) Follow(filter Filter, after domain.Position) *Feed {
	return &Feed{hub: h, filter: filter, reached: after, behind: true, ready: make(chan struct{}, 1)}
}

// FollowStream returns a feed of the events of one stream after a version, as a
// tenant sees them.
func (h *Hub) FollowStream(as domain.Tenant, stream domain.StreamID, after domain.Sequence) *Feed {
	f := h.Follow(Filter{Tenant: as, Stream: stream}, 0)
	f.seq = after
	return f
}

// Watch returns a feed of the events of a stream that is about to begin, or of
// those of some types: of all that are committed from now on, without a look at
// the past, as a tenant sees them.
func (h *Hub) Watch(ctx context.Context, as domain.Tenant, stream domain.StreamID, types ...string) (*Feed, error) {
	f := h.Follow(Filter{Tenant: as, Stream: stream, Types: types}, 0)
	tail, err := h.join(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("join live feed: %w", err)
	}
	f.joined, f.behind, f.reached = true, false, tail
	return f, nil
}

// Close ends the feed.
func (f *Feed) Close() { f.hub.leave(f) }

// Reached is the position up to which Next has returned everything; a new feed
// after it goes on without a gap.
func (f *Feed) Reached() domain.Position { return f.reached }

// Next returns the next events, at least one, waiting for them if need be. When
// the context ends first, the feed can be used on with another.
func (f *Feed) Next(ctx context.Context) ([]events.Record, error) {
	for {
		var got []events.Record
		var err error
		if f.behind {
			got, err = f.past(ctx)
		} else {
			got, err = f.fresh(ctx)
		}
		if err != nil || len(got) > 0 {
			return got, err
		}
	}
}

// past reads a batch from the store. At the end of the log it joins the hub,
// and reads once more to close the gap between the two.
func (f *Feed) past(ctx context.Context) ([]events.Record, error) {
	page, atEnd, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	wanted := f.take(page.Records)
	f.reached = max(f.reached, page.Reached)
	if !atEnd {
		return wanted, nil
	}
	if f.joined {
		f.behind = false
		return wanted, nil
	}
	tail, err := f.hub.join(ctx, f)
	if err != nil {
		return wanted, fmt.Errorf("join live feed: %w", err)
	}
	f.joined = true
	f.mu.Lock()
	f.offered = max(tail, f.offered)
	f.mu.Unlock()
	return wanted, nil
}

func (f *Feed) read(ctx context.Context) (page eventstore.Page, atEnd bool, err error) {
	limit := f.hub.opts.Batch
	if f.filter.Stream != "" {
		page.Records, err = f.hub.ReadStream(ctx, f.filter.Tenant, f.filter.Stream, f.seq, limit)
		return page, len(page.Records) < limit, err
	}
	head, err := f.hub.Head(ctx)
	if err != nil {
		return page, false, err
	}
	page, err = f.hub.ReadAll(ctx, f.filter.Tenant, f.reached, head.Position, limit)
	return page, page.Reached >= head.Position, err
}

// take moves the feed over events and returns those that are wanted and new.
func (f *Feed) take(batch []events.Record) []events.Record {
	var wanted []events.Record
	for i := range batch {
		r := &batch[i]
		if f.filter.Stream == "" && r.Position <= f.reached || f.filter.Stream != "" && r.Sequence <= f.seq {
			continue
		}
		f.reached = max(f.reached, r.Position)
		if f.filter.Stream != "" {
			f.seq = r.Sequence
		}
		if f.filter.Wants(r) {
			wanted = append(wanted, *r)
		}
	}
	return wanted
}

// fresh waits for what the hub offers.
func (f *Feed) fresh(ctx context.Context) ([]events.Record, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-f.ready:
	}
	f.mu.Lock()
	buffer, offered, overflow := f.buffer, f.offered, f.overflow
	f.buffer, f.overflow = nil, false
	f.mu.Unlock()
	if overflow { // go back to the log; the hub goes on offering meanwhile
		f.behind = true
		return nil, nil
	}
	wanted := f.take(buffer)
	f.reached = max(f.reached, offered)
	return wanted, nil
}

// offer is called by the hub with every batch.
func (f *Feed) offer(page eventstore.Page, limit int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offered = max(f.offered, page.Reached)
	for i := range page.Records {
		r := &page.Records[i]
		if f.overflow || !f.filter.Wants(r) {
			continue
		}
		if len(f.buffer) == limit {
			f.overflow, f.buffer = true, nil
			continue
		}
		f.buffer = append(f.buffer, *r)
	}
	if f.filter.Stream != "" && len(f.buffer) == 0 && !f.overflow {
		return // nobody asks how far the log is who follows one stream
	}
	select {
	case f.ready <- struct{}{}:
	default:
	}
}
