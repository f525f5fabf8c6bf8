package main

import (
	"sync"

	"github.com/hishamos/hishamos/events"
)

// fresh passes this process's commits on, in their order, so that the goroutine
// that appends does not wait for those who hear of them.
type fresh struct {
	mu      sync.Mutex
	waiting [][]events.Record
	closed  bool
	some    chan struct{} // capacity 1
	ended   chan struct{}
}

func newFresh(take func([]events.Record)) *fresh {
	f := &fresh{some: make(chan struct{}, 1), ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		for range f.some {
			f.mu.Lock()
			commits := f.waiting
			f.waiting = nil
			f.mu.Unlock()
			for _, records := range commits {
				take(records)
			}
		}
	}()
	return f
}

// committed takes commits over. It never blocks.
func (f *fresh) committed(records []events.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.waiting = append(f.waiting, records)
	select {
	case f.some <- struct{}{}:
	default:
	}
}

// close ends it when what it holds is passed on.
func (f *fresh) close() {
	f.mu.Lock()
	f.closed = true
	close(f.some)
	f.mu.Unlock()
	<-f.ended
}
