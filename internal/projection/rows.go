package projection

import (
	"fmt"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// slot is the place of a row: which table, which key.
type slot struct {
	table *Schema
	key   string
}

// entry is a row in memory. A nil row is known to be absent.
type entry struct {
	row   any             // *R
	from  domain.Position // since when it holds; tables with history only
	owner domain.StreamID // the stream that makes it; empty: not known yet
	dirty bool
	fresh bool   // the store has no row with this key
	past  []Past // versions superseded since the row was loaded
}

// Rows is what a handler sees: the rows of its projection, as far as the events
// of one stream have led. It is used by one goroutine.
type Rows struct {
	cache   *cache
	stream  domain.StreamID
	at      domain.Position // where the append of the current event ends
	changed map[slot]*entry
	sums    map[slot]any
	missing map[slot]any // rows that must be loaded, by an example with their key
	failure error
}

// Fail says that the event cannot be applied: its stream is parked. A handler
// may fail for want of a row that is only not loaded yet; that does not count.
func (w *Rows) Fail(err error) {
	if w.failure == nil {
		w.failure = err
	}
}

func newRows(c *cache) *Rows {
	return &Rows{cache: c, changed: make(map[slot]*entry, 16)}
}

// reset begins with the next stream, or with the same once more.
func (w *Rows) reset(stream domain.StreamID) {
	w.stream, w.failure = stream, nil
	clear(w.changed)
	clear(w.sums)
	clear(w.missing)
}

// enter moves to an event. What one append wrote becomes true at once, so all
// its changes hold from its last position.
func (w *Rows) enter(e events.Envelope) {
	w.at = e.Position + domain.Position(max(0, e.Count-1-e.Index))
}

// From is the position from which the changes of the current event hold.
func (w *Rows) From() domain.Position { return w.at }

func (w *Rows) miss(s slot, row any) {
	if w.missing == nil {
		w.missing = make(map[slot]any, 4)
	}
	w.missing[s] = row
}

// get returns the entry of a key, if it is loaded; that of an absent row has none.
func (w *Rows) get(s slot) (e *entry, loaded bool) {
	if e, ok := w.changed[s]; ok {
		return e, true
	}
	e, ok := w.cache.get(s)
	if ok {
		w.own(s, e)
	}
	return e, ok
}

// own checks that a row is made from one stream only.
func (w *Rows) own(s slot, e *entry) {
	if e.owner != "" && e.owner != w.stream {
		panic(fmt.Sprintf("row %q of %s is made from two streams, %s and %s: use a counter", s.key, s.table.Name, e.owner, w.stream))
	}
}

func (w *Rows) put(t *Schema, row any, fresh bool) { w.place(slot{t, t.Key(row)}, row, fresh) }

// place puts a row into its slot.
func (w *Rows) place(s slot, row any, fresh bool) {
	t := s.table
	e, ok := w.changed[s]
	if !ok {
		var base *entry
		if !fresh {
			if base, ok = w.cache.get(s); !ok {
				// A row that is replaced unseen is only safe without history.
				if t.History {
					w.miss(s, row)
				}
				base = nil
			}
		}
		e = &entry{owner: w.stream, fresh: fresh}
		if base != nil {
			w.own(s, base)
			e.row, e.from, e.past, e.fresh = base.row, base.from, base.past, base.row == nil
		}
		w.changed[s] = e
	}
	if t.History && e.row != nil {
		e.past = t.supersede(e.past, e.row, e.from, row, w.at)
	}
	e.row, e.from, e.dirty = row, w.at, true
}

func (w *Rows) absent(t *Schema, k any) {
	if s := (slot{t, t.Key(k)}); w.changed[s] == nil {
		w.changed[s] = &entry{owner: w.stream, fresh: true}
	}
}

func (w *Rows) add(t *Schema, delta any) {
	s := slot{t, t.Key(delta)}
	if w.sums == nil {
		w.sums = make(map[slot]any, 2)
	}
	if sum, ok := w.sums[s]; ok {
		t.add(sum, delta)
		return
	}
	w.sums[s] = delta
}

// cache keeps rows that were loaded or written, in two generations: when the
// young one is full it becomes the old one, and what is not asked for again
// goes. Only the owner of a partition writes its rows, so they stay true.
type cache struct {
	limit      int
	young, old map[slot]*entry
	examples   map[*Schema]any // rows that keys are made of; one of each table, reused
}

func newCache(limit int) *cache {
	return &cache{limit: limit, young: make(map[slot]*entry), examples: make(map[*Schema]any)}
}

func (c *cache) get(s slot) (*entry, bool) {
	if e, ok := c.young[s]; ok {
		return e, true
	}
	e, ok := c.old[s]
	if ok {
		c.put(s, e)
	}
	return e, ok
}

func (c *cache) put(s slot, e *entry) { c.young[s] = e }

// age is called between batches, so that no row goes while a batch needs it.
func (c *cache) age() {
	if len(c.young) > c.limit {
		c.old, c.young = c.young, make(map[slot]*entry, c.limit)
	}
}
