// Package storetest is the suite every event store must pass.
//
// It must not know how a store works, and uses the contract only. It imports the
// contract, domain, events, go-cmp and porcupine. Start at Exercise.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// Exercise runs the suite. Every call of open returns a fresh, empty store that
// lives as long as its test.
func Exercise(t *testing.T, open func(t *testing.T) eventstore.Store) {
	for _, rule := range []struct {
		name string
		test func(*testing.T, eventstore.Store)
	}{
		{"an empty log has a head and nothing else", emptyLog},
		{"an append is read back as it was returned", readBack},
		{"events get dense sequences and gapless positions under 64 concurrent writers", concurrentWriters},
		{"an expected version must be the stream's", expectedVersions},
		{"a conflict fails only its own append", conflictIsolation},
		{"an append to many streams is carried out as a whole or not at all", manyStreams},
		{"a repeated command id answers with the first receipt", repeatedCommand},
		{"a command id is carried out once however many send it at once", concurrentCommand},
		{"a command id with another body is refused", bodyMismatch},
		{"a command without events is remembered", emptyCommand},
		{"a command id belongs to a tenant", commandTenants},
		{"a claim is taken once and can be released", claims},
		{"a claim that is refused writes nothing", claimIsolation},
		{"one of many concurrent claims wins", concurrentClaims},
		{"an append over a limit is refused with the numbers", limits},
		{"an append that no store could hold is refused", malformed},
		{"a stream is open until an append closes it", openStreams},
		{"streams and log are read in pages", paging},
		{"appends submitted one after another keep their order", submittedInOrder},
		{"what was decided on an append that failed fails, too", chained},
		{"a finished context refuses the append definitely", finishedContext},
		{"the reader is woken after a commit", wake},
		{"the instant an event happened is kept to the microsecond", instants},
		{"concurrent appends and reads of a stream are linearizable", linearizable},
	} {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			rule.test(t, open(t))
		})
	}
}

// Stream returns a fresh stream id of the default tenant.
func Stream(kind string) domain.StreamID {
	return domain.NewStreamID(domain.DefaultTenant, kind+"_"+newID())
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// Command returns a fresh command id.
func Command() domain.CommandID { return domain.CommandID(newID()) }

// Events returns n small events.
func Events(n int) []eventstore.Proposed {
	out := make([]eventstore.Proposed, n)
	for i := range out {
		out[i] = eventstore.Proposed{
			Type: "run.step_completed", Version: 1, Time: time.Now(),
			Data: []byte(`{"path":"plan","attempt":1,"output":{"text":"ünïcode \u0000 \"x\""}}`),
		}
	}
	return out
}

// To is an append of n events to one stream.
func To(stream domain.StreamID, expected int64, n int) eventstore.Append {
	return eventstore.Append{
		Command: Command(), Tenant: stream.Tenant(), Actor: `[{"id":"test","kind":"system"}]`,
		Writes: []eventstore.Write{{Stream: stream, Expected: expected, Events: Events(n)}},
	}
}

func must(t *testing.T, s eventstore.Store, a eventstore.Append) eventstore.Receipt {
	t.Helper()
	r, err := s.Append(t.Context(), a)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return r
}

func head(t *testing.T, s eventstore.Reader) eventstore.Head {
	t.Helper()
	h, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// All reads the whole log.
func All(t testing.TB, s eventstore.Reader) []events.Record {
	t.Helper()
	var out []events.Record
	for {
		var after domain.Position
		if len(out) > 0 {
			after = out[len(out)-1].Position
		}
		page, err := s.ReadAll(context.WithoutCancel(t.Context()), after, 500)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return out
		}
		out = append(out, page...)
	}
}

// CheckLog fails the test unless the log is whole: gapless positions, a chain
// that holds, dense sequences, instants that never go back, whole appends, and a
// head that agrees.
func CheckLog(t testing.TB, s eventstore.Reader) []events.Record {
	t.Helper()
	records := All(t, s)
	h, err := s.Head(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	var last events.Record
	sequences := make(map[domain.StreamID]domain.Sequence)
	for i := range records {
		r := &records[i]
		if err := r.Follows(last.Position, last.Hash); err != nil {
			t.Fatal(err)
		}
		if sequences[r.Stream]++; r.Sequence != sequences[r.Stream] {
			t.Fatalf("position %d: sequence %d of %s, expected %d", r.Position, r.Sequence, r.Stream, sequences[r.Stream])
		}
		if r.Recorded.Before(last.Recorded) {
			t.Fatalf("position %d was recorded before its predecessor", r.Position)
		}
		if r.Recorded.Nanosecond()%1000 != 0 || r.Recorded.Location() != time.UTC {
			t.Fatalf("position %d: recorded %v is not UTC in whole microseconds", r.Position, r.Recorded)
		}
		if r.Index > 0 && (last.Command != r.Command || last.Index != r.Index-1 || last.Count != r.Count) {
			t.Fatalf("position %d: the append of %s is torn", r.Position, r.Command)
		}
		last = *r
	}
	if last.Index != max(last.Count, 1)-1 {
		t.Fatalf("the last append is torn: event %d of %d", last.Index, last.Count)
	}
	if h.Position != last.Position || h.Hash != last.Hash || !h.Recorded.Equal(last.Recorded) {
		t.Fatalf("head %+v does not agree with the last event %d %s %v", h, last.Position, last.Hash, last.Recorded)
	}
	return records
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}
