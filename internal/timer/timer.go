// Package timer keeps due times in memory. They are facts of the streams'
// events, so a new owner finds them again; a timer may fire more than once and
// the stream's state judges it.
//
// It must not know what a timer is for. It imports domain only.
package timer

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
)

type key struct {
	stream domain.StreamID
	id     string
}

type entry struct {
	domain.Timer
	index int
}

// Wheel holds the timers of the streams this process owns.
type Wheel struct {
	mu      sync.Mutex
	due     byDue
	byKey   map[key]*entry
	streams map[domain.StreamID]map[string]*entry
	changed chan struct{}
}

// NewWheel returns an empty wheel.
func NewWheel() *Wheel {
	return &Wheel{byKey: make(map[key]*entry), streams: make(map[domain.StreamID]map[string]*entry), changed: make(chan struct{}, 1)}
}

// Reconcile makes the wheel agree with a stream's open timers.
func (w *Wheel) Reconcile(stream domain.StreamID, open []domain.Timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := make(map[string]time.Time, len(open))
	for _, t := range open {
		keep[t.ID] = t.Due
	}
	for id, e := range w.streams[stream] {
		if due, ok := keep[id]; !ok || !due.Equal(e.Due) {
			w.remove(e)
		}
	}
	for _, t := range open {
		if _, ok := w.byKey[key{stream, t.ID}]; ok {
			continue
		}
		w.add(t)
	}
}

// Forget drops the timers of the streams that match.
func (w *Wheel) Forget(match func(domain.StreamID) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.byKey {
		if match(e.Stream) {
			w.remove(e)
		}
	}
}

// Due takes the timers whose time has come.
func (w *Wheel) Due(now time.Time) []domain.Timer {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []domain.Timer
	for len(w.due) > 0 && !w.due[0].Due.After(now) {
		e := w.due[0]
		out = append(out, e.Timer)
		w.remove(e)
	}
	return out
}

// Next returns the earliest due time.
func (w *Wheel) Next() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.due) == 0 {
		return time.Time{}, false
	}
	return w.due[0].Due, true
}

// Run calls fire for every timer when it is due, until the context ends.
func (w *Wheel) Run(ctx context.Context, clock domain.Clock, fire func(context.Context, domain.Timer) error) {
	for {
		wait := time.Minute
		if next, ok := w.Next(); ok {
			wait = min(wait, next.Sub(clock.Now()))
		}
		if wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-w.changed:
			case <-t.C:
			}
			t.Stop()
		}
		w.Fire(ctx, clock.Now(), fire)
	}
}

// Fire fires the timers whose time has come, and returns how many those were. One
// that could not be delivered comes back after a second.
func (w *Wheel) Fire(ctx context.Context, now time.Time, fire func(context.Context, domain.Timer) error) int {
	due := w.Due(now)
	for _, t := range due {
		if fire(ctx, t) != nil && ctx.Err() == nil {
			t.Due = now.Add(time.Second)
			w.put(t)
		}
	}
	return len(due)
}

func (w *Wheel) put(t domain.Timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.byKey[key{t.Stream, t.ID}]; !ok {
		w.add(t)
	}
}

// add puts a timer in and wakes Run if it is now the first.
func (w *Wheel) add(t domain.Timer) {
	e := &entry{Timer: t}
	w.byKey[key{t.Stream, t.ID}] = e
	if w.streams[t.Stream] == nil {
		w.streams[t.Stream] = make(map[string]*entry, 1)
	}
	w.streams[t.Stream][t.ID] = e
	heap.Push(&w.due, e)
	if e.index == 0 {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

func (w *Wheel) remove(e *entry) {
	delete(w.byKey, key{e.Stream, e.ID})
	delete(w.streams[e.Stream], e.ID)
	if len(w.streams[e.Stream]) == 0 {
		delete(w.streams, e.Stream)
	}
	heap.Remove(&w.due, e.index)
}

type byDue []*entry

func (b byDue) Len() int           { return len(b) }
func (b byDue) Less(i, j int) bool { return b[i].Due.Before(b[j].Due) }
func (b byDue) Swap(i, j int)      { b[i], b[j] = b[j], b[i]; b[i].index, b[j].index = i, j }
func (b *byDue) Push(x any)        { e := x.(*entry); e.index = len(*b); *b = append(*b, e) }
func (b *byDue) Pop() any {
	old := *b
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*b = old[:len(old)-1]
	return e
}
