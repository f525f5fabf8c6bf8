// Package domain is the vocabulary every other package shares: identifiers,
// errors, principals, the decider, and the values that cross aggregates.
//
// It must not know that a database, a network or a clock exists, and imports
// the standard library only. Each aggregate lives in a sub-package and imports
// this one, events and commands, never another aggregate.
//
// Start reading at decider.go.
package domain
