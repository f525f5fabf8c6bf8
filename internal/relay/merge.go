package relay

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
)

// Merged says how far the topics make one log.
type Merged struct {
	Last    domain.Position // up to here nothing is missing
	Missing domain.Position // the first position that is; 0: none
	Repeats int             // records dropped because they were there before
	Behind  []Lying         // the first records behind the missing one, by position
	Lost    int             // how many records lie behind it in all
}

// Lying names a record that lies behind a missing position.
type Lying struct {
	Position domain.Position
	ID       domain.EventID
	Type     string
}

// maxBehind bounds the list of Merged.Behind.
const maxBehind = 1000

// Merge gives fn every record of the context topics behind a position, in the
// order of positions, until the ends the topics have when it begins. It stops at
// the first missing position and reports what lies behind; it does not check
// hashes except where a record repeats.
func Merge(ctx context.Context, l log.Log, after domain.Position, fn func(log.Published) error) (Merged, error) {
	m := &merger{ctx: ctx, log: l, after: after}
	defer m.close()
	if err := m.open(); err != nil {
		return Merged{Last: after}, fmt.Errorf("merge topics: %w", err)
	}
	out := Merged{Last: after}
	var previous log.Published
	for len(m.heads) > 0 {
		p := m.heads[0].head
		switch {
		case p.Position <= out.Last:
			if p.Position == previous.Position && p.Hash != previous.Hash {
				return out, fmt.Errorf("merge topics: %w", &DivergedError{Position: p.Position, Log: p.Hash, Store: previous.Hash})
			}
			out.Repeats++
		case out.Missing == 0 && p.Position == out.Last+1:
			if err := fn(p); err != nil {
				return out, fmt.Errorf("merge position %d: %w", p.Position, err)
			}
			out.Last, previous = p.Position, p
		default:
			if out.Missing == 0 {
				out.Missing = out.Last + 1
			}
			if p.Position == previous.Position {
				out.Repeats++
				break
			}
			out.Lost++
			if len(out.Behind) < maxBehind {
				out.Behind = append(out.Behind, Lying{p.Position, p.ID(), p.Type})
			}
			previous = p
		}
		if err := m.advance(); err != nil {
			return out, fmt.Errorf("merge topics: %w", err)
		}
	}
	return out, nil
}

// merger is a heap of partitions by the position at their heads.
type merger struct {
	ctx    context.Context
	log    log.Log
	after  domain.Position
	heads  []*cursor
	opened []*cursor // of each partition; nil: it is empty
}

// cursor reads one partition up to the end it had.
type cursor struct {
	reader  log.Reader
	end     int64
	next    int64
	waiting []log.Message
	head    log.Published
}

func (m *merger) open() error {
	partitions, err := contextPartitions(m.ctx, m.log)
	if err != nil {
		return err
	}
	bounds, err := m.log.Bounds(m.ctx, partitions...)
	if err != nil {
		return err
	}
	m.opened = make([]*cursor, len(partitions))
	filled, failed := make([]bool, len(partitions)), make([]error, len(partitions))
	m.each(func(i int) { // a broker answers each only after a while
		if b := bounds[partitions[i]]; b.First < b.End {
			filled[i], failed[i] = m.begin(i, partitions[i], b)
		}
	})
	if err := errors.Join(failed...); err != nil {
		return err
	}
	for i, c := range m.opened {
		if filled[i] {
			m.heads = append(m.heads, c)
		}
	}
	heap.Init(m)
	return nil
}

// each does something for every partition, side by side.
func (m *merger) each(do func(i int)) {
	var all sync.WaitGroup
	for i := range m.opened {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

// begin opens a partition and reports whether it has a record that matters.
func (m *merger) begin(i int, p log.Partition, b log.Bounds) (bool, error) {
	from, err := m.start(p, b)
	if err != nil {
		return false, err
	}
	c := &cursor{end: b.End, next: from}
	if c.reader, err = m.log.Open(m.ctx, p, from); err != nil {
		return false, err
	}
	m.opened[i] = c
	return m.read(c)
}

// start finds an offset at or before the first record behind m.after, going
// back from the end in growing steps: the store usually lacks little.
func (m *merger) start(p log.Partition, b log.Bounds) (int64, error) {
	for back := int64(4096); m.after > 0 && b.End-back > b.First; back *= 4 {
		c := &cursor{end: b.End, next: b.End - back}
		var err error
		if c.reader, err = m.log.Open(m.ctx, p, c.next); err != nil {
			return 0, err
		}
		probe := &merger{ctx: m.ctx}
		ok, err := probe.read(c)
		if err := closeReader(c, err); err != nil {
			return 0, err
		}
		if ok && c.head.Position <= m.after {
			// One step further: this may be a record that a revived relay wrote
			// once more, with later ones before it.
			return max(b.First, b.End-4*back), nil
		}
	}
	return b.First, nil
}

// read puts the cursor's next record that matters at its head; false: there is
// none before its end.
func (m *merger) read(c *cursor) (bool, error) {
	for c.next < c.end {
		if len(c.waiting) == 0 {
			var err error
			if c.waiting, err = c.reader.Poll(1000); err != nil {
				return false, err
			}
			if len(c.waiting) == 0 {
				select {
				case <-c.reader.Ready():
				case <-m.ctx.Done():
					return false, m.ctx.Err()
				}
				continue
			}
		}
		message := c.waiting[0]
		c.waiting = c.waiting[1:]
		if c.next = message.Offset + 1; c.next > c.end {
			return false, nil
		}
		p, err := log.Decode(message)
		if err != nil {
			return false, err
		}
		if p.Position > m.after {
			c.head = *p
			return true, nil
		}
	}
	return false, nil
}

// advance replaces the smallest head by the next of its partition. A revived
// relay may have written an earlier position again: heads go back then, and what
// they repeat is dropped by position.
func (m *merger) advance() error {
	ok, err := m.read(m.heads[0])
	if err != nil {
		return err
	}
	if ok {
		heap.Fix(m, 0)
	} else {
		heap.Pop(m)
	}
	return nil
}

func (m *merger) close() {
	m.each(func(i int) {
		if c := m.opened[i]; c != nil {
			_ = c.reader.Close() // nothing was written
		}
	})
}

func closeReader(c *cursor, err error) error {
	if e := c.reader.Close(); err == nil {
		err = e
	}
	return err
}

func (m *merger) Len() int           { return len(m.heads) }
func (m *merger) Less(i, j int) bool { return m.heads[i].head.Position < m.heads[j].head.Position }
func (m *merger) Swap(i, j int)      { m.heads[i], m.heads[j] = m.heads[j], m.heads[i] }
func (m *merger) Push(x any)         { m.heads = append(m.heads, x.(*cursor)) }
func (m *merger) Pop() any {
	last := m.heads[len(m.heads)-1]
	m.heads = m.heads[:len(m.heads)-1]
	return last
}
