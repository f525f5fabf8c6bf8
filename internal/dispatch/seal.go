package dispatch

import (
	"context"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Sealer protects the fields of events that have a class. Deciders and states
// know plain values; what is appended, hashed and published is sealed.
type Sealer interface {
	// Seal returns an event as it is stored, with the keys it names. Content is
	// the key of the stream so far; what it is from here on is returned.
	Seal(ctx context.Context, stream domain.StreamID, content string, e events.Event) (sealed events.Event, keyIDs, stays string, err error)
	// Open returns an event as it was decided, without what was erased since, and
	// the key of the stream's content if the event names it.
	Open(ctx context.Context, env events.Envelope, e events.Event) (opened events.Event, content string, err error)
}

// plain is the sealer of tests that need no protection.
type plain struct{}

// Seal implements Sealer.
func (plain) Seal(_ context.Context, _ domain.StreamID, _ string, e events.Event) (events.Event, string, string, error) {
	return e, "", "", nil
}

// Open implements Sealer.
func (plain) Open(_ context.Context, _ events.Envelope, e events.Event) (events.Event, string, error) {
	return e, "", nil
}

// Forget drops the state of streams from memory, because what they hold was
// erased; nil: of all.
func (d *Dispatcher) Forget(which func(domain.StreamID) bool) {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	for stream, q := range d.cache.byID {
		if which != nil && !which(stream) {
			continue
		}
		q.mu.Lock()
		q.invalidate()
		q.mu.Unlock()
		if q.element != nil { // nobody holds it, so nothing is under way
			d.cache.take(q)
			delete(d.cache.byID, stream)
		}
	}
}
