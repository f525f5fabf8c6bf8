// Package projection turns events into rows that can be queried: a projection
// is a set of pure functions over rows, and the runner does all input and output
// around them, in batches, each event once.
//
// It must not know what any event or table means, nor decide what is true: the
// event store does. It imports domain, events, internal/log and
// internal/eventstore. Stores are memory/ and postgres/; projectiontest/ holds
// the laws every definition must obey.
//
// Start reading at Definition, then batch.go (how events become rows) and
// feed.go (how a partition is followed).
package projection

import (
	"fmt"
	"slices"

	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
)

// Definition is a projection: which tables it fills, and how. A change of
// meaning is a new Version with new tables, filled by replay beside the old.
type Definition struct {
	Name     string
	Version  int
	Tables   []*Schema
	Handlers []Handler
}

// Handler applies one type of event. On makes it.
type Handler struct {
	eventType string
	apply     func(*Rows, events.Recorded[events.Event])
}

// On subscribes a function to the event type it takes. The function is pure: it
// reads and changes rows by key and does nothing else. It may be run more than
// once for an event, with rows that seem absent because they are not loaded yet;
// only the last run counts. Values inside rows are never changed in place.
func On[E events.Event](apply func(*Rows, events.Recorded[E])) Handler {
	var zero E
	return Handler{
		eventType: zero.EventType(),
		apply: func(w *Rows, r events.Recorded[events.Event]) {
			apply(w, events.Recorded[E]{Envelope: r.Envelope, Event: r.Event.(E)})
		},
	}
}

// Topics are the topics that carry what the projection subscribes to.
func (d *Definition) Topics() []string {
	var topics []string
	for _, h := range d.Handlers {
		if t := log.TopicOf(h.eventType); !slices.Contains(topics, t) {
			topics = append(topics, t)
		}
	}
	slices.Sort(topics)
	return topics
}

// Check reports what is wrong with a definition.
func (d *Definition) Check() error {
	if d.Name == "" || d.Version < 1 || len(d.Tables) == 0 || len(d.Handlers) == 0 {
		return fmt.Errorf("check projection %q: name, version, tables and handlers are all required", d.Name)
	}
	seen := make(map[string]bool)
	for _, h := range d.Handlers {
		if _, known := events.Lookup(h.eventType); !known {
			return fmt.Errorf("check projection %s: %s is not in the catalogue", d.Name, h.eventType)
		}
		if seen[h.eventType] {
			return fmt.Errorf("check projection %s: two handlers for %s", d.Name, h.eventType)
		}
		seen[h.eventType] = true
	}
	return nil
}

// handlers indexes the handlers by event type.
func (d *Definition) handlers() map[string]func(*Rows, events.Recorded[events.Event]) {
	m := make(map[string]func(*Rows, events.Recorded[events.Event]), len(d.Handlers))
	for _, h := range d.Handlers {
		m[h.eventType] = h.apply
	}
	return m
}
