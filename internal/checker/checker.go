// Package checker judges a log from outside: what clients were told, the tables,
// the topics and the provider's ledger must tell the same story.
//
// It must not know how the story came about: it imports no package of this
// module, only the standard library, pgx and sarama, and has its own copy of the
// hash rule. What it judges could be written in another language.
//
// Start reading at Check; each rule is a method of story.
package checker

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Sources are where the story is told.
type Sources struct {
	Database string   // of the events
	Brokers  []string // of the topics; none: the topics are not judged
	Ledger   string   // the provider's; empty: money is not judged
	Commands []Command
	// States are the states of all runs as the API lists them; nil: not judged.
	States map[string]string
}

// Command is one request of a client, with what became of it.
type Command struct {
	Key    string // Idempotency-Key
	Acked  bool
	Status int    // of the first answer that settled it
	Answer Answer // if it was acknowledged
	// Repeats are the answers to repetitions under the same key that differed
	// from the first, as text; there must be none.
	Repeats []string
}

// Answer is the body of an acknowledgement.
type Answer struct {
	ID       string `json:"id"`
	Version  string `json:"version"`
	Position string `json:"position"`
}

// Report is the judgement.
type Report struct {
	Events     int            `json:"events"`
	Streams    int            `json:"streams"`
	Records    int            `json:"records"`
	Runs       map[string]int `json:"runs"` // by the event that ended them
	Commands   int            `json:"commands"`
	Acked      int            `json:"acknowledged"`
	Calls      int            `json:"provider_calls"`
	Lapsed     int            `json:"lapsed_attempts"`
	Unrecorded int            `json:"calls_lost_with_their_worker"`
	// Violations are what must not be, by rule, at most ten of each.
	Violations map[string][]string `json:"violations,omitempty"`
	counts     map[string]int
}

// OK says that nothing was violated.
func (r *Report) OK() bool { return len(r.Violations) == 0 }

// String lists the violations.
func (r *Report) String() string {
	out := fmt.Sprintf("%d events in %d streams, %d records on Kafka, %d of %d commands acknowledged, %d provider calls, runs %v",
		r.Events, r.Streams, r.Records, r.Acked, r.Commands, r.Calls, r.Runs)
	for _, rule := range slices.Sorted(maps.Keys(r.Violations)) {
		out += fmt.Sprintf("\n%s (%d times):", rule, r.counts[rule])
		for _, v := range r.Violations[rule] {
			out += "\n    " + v
		}
	}
	return out
}

func (r *Report) violated(rule, format string, args ...any) {
	r.counts[rule]++
	if len(r.Violations[rule]) < 10 {
		r.Violations[rule] = append(r.Violations[rule], fmt.Sprintf(format, args...))
	}
}

// The rules.
const (
	Acknowledged = "I1 every acknowledged command is there exactly once"
	Dense        = "I2 sequences are dense and positions gapless"
	Chained      = "I3 the hash chain holds"
	Published    = "I4 the topics hold the store's events in order"
	Accounted    = "I6 every call of the provider is recorded once"
	Ended        = "I7 every run ends once"
	Repeated     = "I8 a key has one answer and one effect"
)

// story is everything that was read.
type story struct {
	report   *Report
	sources  Sources
	events   []event
	byStream map[string][]*event
	commands map[string]receipt // by tenant, space, id
	heads    map[string]uint64  // version by stream
}

// Check reads all sources and judges them. An error means that it could not
// read, not that a rule was violated.
func Check(ctx context.Context, s Sources) (*Report, error) {
	st := &story{
		sources: s, report: &Report{Runs: map[string]int{}, Violations: map[string][]string{}, counts: map[string]int{}},
		byStream: map[string][]*event{},
	}
	if err := st.readStore(ctx); err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	st.dense()
	st.chained()
	st.appends()
	st.acknowledged()
	st.runs()
	if s.Ledger != "" {
		if err := st.money(); err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
	}
	if len(s.Brokers) > 0 {
		if err := st.published(); err != nil {
			return nil, fmt.Errorf("read the topics: %w", err)
		}
	}
	return st.report, nil
}
