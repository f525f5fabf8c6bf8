package relay

import (
	"math"
	"sync"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// feed is a run of consecutive committed records, the newest there are.
type feed struct {
	wake  chan struct{}
	limit int

	mu  sync.Mutex
	run []events.Record
	end domain.Position // of the newest that was fed
}

// add appends records that follow on. After a gap, or when nobody takes them,
// the run begins anew: the store has what it loses.
func (f *feed) add(records []events.Record) {
	if len(records) == 0 {
		return
	}
	f.mu.Lock()
	if len(f.run) == 0 {
		f.run = make([]events.Record, 0, len(records))
	}
	for i := range records {
		r := &records[i]
		switch n := len(f.run); {
		case n > 0 && r.Position <= f.run[n-1].Position && r.Position >= f.run[0].Position:
			continue // here already
		case n > 0 && r.Position != f.run[n-1].Position+1, n >= f.limit:
			f.run = nil
		}
		f.run = append(f.run, *r)
		f.end = r.Position
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// reaches reports whether everything before a position was fed, so that nothing
// of this process's waits in the store.
func (f *feed) reaches(next domain.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end+1 == next
}

// take returns up to limit records from a position on, or nil and how many are
// missing before the run begins.
func (f *feed) take(from domain.Position, limit int) (records []events.Record, gap int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.run) == 0 {
		return nil, math.MaxInt
	}
	first := f.run[0].Position
	if from < first {
		return nil, int(min(uint64(first-from), math.MaxInt))
	}
	skip := min(uint64(from-first), uint64(len(f.run)))
	f.run = f.run[skip:]
	n := min(limit, len(f.run))
	if n == 0 {
		return nil, math.MaxInt
	}
	records, f.run = f.run[:n:n], f.run[n:]
	return records, 0
}
