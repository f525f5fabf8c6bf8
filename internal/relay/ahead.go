package relay

import (
	"context"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// Ahead returns a store of which the next page of the log is read while the last
// one is worked on. It is for one goroutine that reads all of it.
func Ahead(store eventstore.Reader) eventstore.Reader { return &ahead{Reader: store} }

type ahead struct {
	eventstore.Reader
	next *pageAhead // nil: nothing is read ahead
}

// pageAhead is a page that is being read.
type pageAhead struct {
	after   domain.Position
	limit   int
	done    chan struct{} // closed when the rest is there
	records []events.Record
	err     error
}

// ReadAll implements eventstore.Reader.
func (a *ahead) ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error) {
	records, err := a.page(ctx, after, limit)
	if err == nil && len(records) == limit && limit > 0 {
		a.begin(ctx, records[limit-1].Position, limit)
	}
	return records, err
}

// page takes what was read ahead, if it is that page and full: of one that is not,
// there may be more by now.
func (a *ahead) page(ctx context.Context, after domain.Position, limit int) ([]events.Record, error) {
	p := a.next
	a.next = nil
	if p != nil && p.after == after && p.limit == limit {
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if p.err != nil || len(p.records) == limit {
			return p.records, p.err
		}
	}
	return a.Reader.ReadAll(ctx, after, limit)
}

func (a *ahead) begin(ctx context.Context, after domain.Position, limit int) {
	p := &pageAhead{after: after, limit: limit, done: make(chan struct{})}
	a.next = p
	go func() {
		defer close(p.done)
		p.records, p.err = a.Reader.ReadAll(ctx, after, limit)
	}()
}
