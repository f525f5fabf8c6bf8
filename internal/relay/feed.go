package relay

import (
	"math"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// feed is a run of consecutive committed records, the newest there are.
type feed struct {
	wake  chan struct{}
	limit int

	mu    sync.Mutex
	run   []events.Record
	end   domain.Position // of the newest that was fed
	since []commit        // of what was fed and is not on Kafka, oldest first
}

// commit says when events were fed, up to a position.
type commit struct {
	events int
	last   domain.Position
	at     time.Time
}

// add appends records that follow on. After a gap, or when nobody takes them,
// the run begins anew: the store has what it loses.
func (f *feed) add(records []events.Record) {
	if len(records) == 0 {
		return
	}
	now := time.Now()
	f.mu.Lock()
	if len(f.since) >= f.limit {
		f.since = nil // Kafka is away; what is lost is not measured
	}
	f.since = append(f.since, commit{len(records), records[len(records)-1].Position, now})
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

// arrived tells how long everything up to a position took to get there.
func (f *feed) arrived(last domain.Position, tell func(events int, after time.Duration)) {
	now := time.Now()
	f.mu.Lock()
	n := 0
	for n < len(f.since) && f.since[n].last <= last {
		n++
	}
	there := f.since[:n]
	f.since = f.since[n:]
	f.mu.Unlock()
	for _, c := range there {
		tell(c.events, now.Sub(c.at))
	}
}

// reaches reports whether everything before a position was fed, so that nothing
// of this process's waits in the store.
func (f *feed) reaches(next domain.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end+1 == next
}

// holds reports whether so many events from a position on are here.
func (f *feed) holds(from domain.Position, n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end+1 >= from+domain.Position(n)
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
