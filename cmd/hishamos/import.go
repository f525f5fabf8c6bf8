package main

import (
	"context"
	"slices"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/relay"
)

// importPage is how many records are verified and imported in one transaction.
const importPage = 2000

// importAfter takes the records behind a position from Kafka into the store, in
// order, each verified against the chain. While a page is written, the next is
// read.
func (n *node) importAfter(ctx context.Context, after domain.Position, show func(domain.Position)) (relay.Merged, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	pages := make(chan []events.Record)
	ended := make(chan imported, 1)
	go func() {
		i := n.importPages(ctx, pages, show)
		stop(i.err) // nothing more is to be read
		ended <- i
	}()

	page := make([]events.Record, 0, importPage)
	hand := func() error {
		select {
		case pages <- page:
			page = make([]events.Record, 0, importPage)
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	merged, err := relay.Merge(ctx, n.log, after, func(p log.Published) error {
		page = append(page, p.Record)
		if len(page) < importPage {
			return nil
		}
		return hand()
	})
	if err == nil {
		err = hand()
	}
	close(pages)
	i := <-ended
	if i.err != nil {
		err = i.err
	}
	if err == nil && len(i.rest) > 0 {
		withoutHalf(&merged, i.rest)
	}
	return merged, err
}

// imported is what came of pages: what could not be imported yet, because the rest
// of its append did not come.
type imported struct {
	rest []events.Record
	err  error
}

// importPages imports what comes, until there is no more or it fails.
func (n *node) importPages(ctx context.Context, pages <-chan []events.Record, show func(domain.Position)) imported {
	var waiting []events.Record
	var writing domain.Position // up to here; all before is committed
	into := n.store.Importer()
	for page := range pages {
		waiting = append(waiting, page...)
		k, err := into.Add(ctx, waiting)
		if err != nil {
			return imported{err: err}
		}
		if writing > 0 {
			show(writing)
		}
		if k > 0 {
			writing = waiting[k-1].Position
		}
		waiting = slices.Clone(waiting[k:])
	}
	err := into.Wait()
	if err == nil && writing > 0 {
		show(writing)
	}
	return imported{rest: waiting, err: err}
}

// withoutHalf counts the records of an append whose rest is missing as missing too.
func withoutHalf(m *relay.Merged, half []events.Record) {
	if m.Missing == 0 {
		m.Missing = half[len(half)-1].Position + 1
	}
	m.Last = half[0].Position - 1
	behind := make([]relay.Lying, len(half))
	for i, r := range half {
		behind[i] = relay.Lying{Position: r.Position, ID: r.ID(), Type: r.Type}
	}
	m.Lost += len(half)
	m.Behind = append(behind, m.Behind...)
}
