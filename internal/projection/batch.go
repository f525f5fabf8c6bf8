package projection

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// batch applies events to rows in memory. Events are taken stream by stream:
// rows of different streams do not meet, and sums commute.
type batch struct {
	handlers map[string]func(*Rows, events.Recorded[events.Event])
	cache    *cache
	load     func(ctx context.Context, t *Schema, examples []any) ([]Versioned, error)

	view    *Rows // of one stream after the other
	changed map[slot]*entry
	sums    map[slot]any
	parked  []poison
}

// poison is an event that could not be decoded or applied.
type poison struct {
	event events.Envelope
	cause error
}

// streamEvents are a stream's events of a batch, in order.
type streamEvents struct {
	stream  domain.StreamID
	records []*events.Record
	decoded []events.Recorded[events.Event]
	poison  *poison // what stopped the stream, if anything did
}

func newBatch(d map[string]func(*Rows, events.Recorded[events.Event]), c *cache,
	load func(context.Context, *Schema, []any) ([]Versioned, error),
) *batch {
	return &batch{handlers: d, cache: c, load: load, view: newRows(c), changed: make(map[slot]*entry), sums: make(map[slot]any)}
}

// group splits records by stream, keeping each stream's order.
func group(records []*events.Record) []*streamEvents {
	index := make(map[domain.StreamID]*streamEvents, len(records)/4+1)
	var groups []*streamEvents
	for _, r := range records {
		g := index[r.Stream]
		if g == nil {
			g = &streamEvents{stream: r.Stream}
			index[r.Stream] = g
			groups = append(groups, g)
		}
		g.records = append(g.records, r)
	}
	return groups
}

// decode decodes what the handlers want, up to the first event that cannot be.
func (b *batch) decode(g *streamEvents) {
	g.decoded = make([]events.Recorded[events.Event], 0, len(g.records))
	for _, r := range g.records {
		if b.handlers[r.Type] == nil {
			continue
		}
		e, err := r.Decode()
		if err != nil {
			g.poison = &poison{r.Envelope, err}
			return
		}
		g.decoded = append(g.decoded, e)
	}
}

// apply runs the handlers over all groups. Which rows they need shows by
// running them: what is missing for the whole batch is loaded in one query per
// table, and the streams that missed something are run again.
func (b *batch) apply(ctx context.Context, groups []*streamEvents) error {
	for _, g := range groups {
		b.decode(g)
	}
	return b.applyDecoded(ctx, groups)
}

func (b *batch) applyDecoded(ctx context.Context, groups []*streamEvents) error {
	for len(groups) > 0 {
		var again []*streamEvents
		missing := make(map[*Schema]map[string]any)
		for _, g := range groups {
			w := b.run(g)
			if len(w.missing) == 0 {
				b.keep(w, g)
				continue
			}
			again = append(again, g)
			for s, row := range w.missing {
				if missing[s.table] == nil {
					missing[s.table] = make(map[string]any)
				}
				missing[s.table][s.key] = row
			}
		}
		if err := b.fetch(ctx, missing); err != nil {
			return err
		}
		groups = again
	}
	return nil
}

// run applies a stream's events to a view that holds until the next run. After an
// event that missed a row nothing that follows in the stream is believed: it only
// shows more keys.
func (b *batch) run(g *streamEvents) *Rows {
	w := b.view
	for {
		w.reset(g.stream)
		failed := -1
		var cause error
		for i, e := range g.decoded {
			w.enter(e.Envelope)
			err := safely(b.handlers[e.Type], w, e)
			if err != nil && len(w.missing) == 0 {
				failed, cause = i, err
				break
			}
		}
		if failed < 0 {
			return w
		}
		// Run again without the event that failed, so that none of it stays.
		g.poison = &poison{g.decoded[failed].Envelope, cause}
		g.decoded = g.decoded[:failed]
	}
}

// safely runs a handler and turns its panic into an error.
func safely(apply func(*Rows, events.Recorded[events.Event]), w *Rows, e events.Recorded[events.Event]) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("apply %s at position %d: %v\n%s", e.Type, e.Position, p, debug.Stack())
		}
	}()
	w.failure = nil
	if apply(w, e); w.failure != nil {
		return fmt.Errorf("apply %s at position %d: %w", e.Type, e.Position, w.failure)
	}
	return nil
}

// keep takes over what a stream changed.
func (b *batch) keep(w *Rows, g *streamEvents) {
	for s, e := range w.changed {
		b.changed[s] = e
	}
	for s, delta := range w.sums {
		if sum, ok := b.sums[s]; ok {
			s.table.add(sum, delta)
		} else {
			b.sums[s] = delta
		}
	}
	if g.poison != nil {
		b.parked = append(b.parked, *g.poison)
	}
}

func (b *batch) fetch(ctx context.Context, missing map[*Schema]map[string]any) error {
	for t, keys := range missing {
		examples := make([]any, 0, len(keys))
		for key, row := range keys {
			b.cache.put(slot{t, key}, &entry{})
			examples = append(examples, row)
		}
		rows, err := b.load(ctx, t, examples)
		if err != nil {
			return fmt.Errorf("load %d rows of %s: %w", len(examples), t.Name, err)
		}
		for _, r := range rows {
			b.cache.put(slot{t, t.Key(r.Row)}, &entry{row: r.Row, from: r.From})
		}
	}
	return nil
}

// changes lists what the batch writes, each table's rows in the order of their
// keys, so that two owners that add to the same counters cannot deadlock.
func (b *batch) changes(tables []*Schema) []TableChanges {
	byTable := make(map[*Schema][]slot)
	for s, e := range b.changed {
		if e.dirty {
			byTable[s.table] = append(byTable[s.table], s)
		}
	}
	for s := range b.sums {
		byTable[s.table] = append(byTable[s.table], s)
	}
	var out []TableChanges
	for _, t := range tables {
		slots := byTable[t]
		if len(slots) == 0 {
			continue
		}
		slices.SortFunc(slots, func(x, y slot) int { return cmp.Compare(x.key, y.key) })
		c := TableChanges{Table: t}
		for _, s := range slots {
			if t.Counter {
				c.Sums = append(c.Sums, b.sums[s])
				continue
			}
			e := b.changed[s]
			c.Puts = append(c.Puts, Versioned{e.row, e.from, e.fresh})
			c.Past = append(c.Past, e.past...)
		}
		out = append(out, c)
	}
	return out
}

// settle makes the written rows those that the next batch sees.
func (b *batch) settle() {
	for s, e := range b.changed {
		*e = entry{row: e.row, from: e.from, owner: e.owner}
		b.cache.put(s, e)
	}
	b.cache.age()
}
