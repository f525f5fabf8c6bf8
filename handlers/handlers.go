// Package handlers is everything that reacts to events: one file per reaction,
// named as a verb phrase.
//
// A reaction may change something only by issuing a command, offering a lease
// or setting a timer. It must not read or write tables, nor know HTTP, Kafka or
// Postgres. It imports domain, events, commands and the reaction, lease, timer,
// effect, output and integration machinery.
//
// Start reading at All.
package handlers

import "github.com/hishamos/hishamos/internal/reaction"

// All lists every reaction.
func All(p Ports) []reaction.Reaction {
	return []reaction.Reaction{advanceRun(p), erase(p), sweepBlobs(p)}
}
