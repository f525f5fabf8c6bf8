// Package reaction runs what reacts to events: at least once per event, in the
// order of each stream, streams side by side, counted once because commands
// have derived ids.
//
// Every reaction is a handler of watermill's router; this package feeds it from
// partitions it owns. It must not know what a reaction does. It imports domain,
// events, and the log and eventstore contracts.
//
// Start reading at Reaction; feed.go holds the order of one partition, which the
// simulation drives too; runner.go runs it against real parts.
package reaction

import (
	"context"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
)

// Reaction is one reaction to events. Its only outputs are commands, lease
// offers and timers, and it may see an event more than once.
type Reaction struct {
	Name  string   // permanent: resume points and command ids are made from it
	Types []string // the event types it reacts to
	// Last leaves out all events of an append but its last, which speaks for them.
	Last bool
	// Bare says that Handle looks at the envelope alone: data is not decoded for it,
	// and the event it is given is nil.
	Bare bool
	// Together is how many events, each of another stream, are handled in one go,
	// one after another; 0: 1. It is for a Handle that seldom waits for anything.
	Together int
	// Handle reacts to one event. An error is retried, and at last sends the
	// event to the dead-letter topic.
	Handle func(ctx context.Context, e events.Recorded[events.Event]) error
	// Recover, if not nil, is called when partitions were taken, before their
	// events: find again what the streams in them wait for.
	Recover func(ctx context.Context, owned func(domain.StreamID) bool) error
	// Forget, if not nil, is called when partitions were lost.
	Forget func(owned func(domain.StreamID) bool)
}

// Topics returns the topics a reaction reads.
func (r Reaction) Topics() []string {
	seen := make(map[string]bool)
	var out []string
	for _, t := range r.Types {
		if topic := log.TopicOf(t); !seen[topic] {
			seen[topic] = true
			out = append(out, topic)
		}
	}
	return out
}
