package domaintest

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Model is what the laws need to know of an aggregate.
type Model[S any, C commands.Command, E events.Event] struct {
	Decider domain.Decider[S, C, E]
	// Next draws a command; it need not make sense in the state.
	Next func(t *rapid.T, s S) C
	// Control is the part of a state that must not depend on erasable fields.
	Control func(S) any
	// Ended says that a state is terminal, and AfterEnd which events may still
	// follow; nil: none.
	Ended    func(S) bool
	AfterEnd func(E) bool
	// Evolved, if not nil, sees every event on its way into the state.
	Evolved func(t *rapid.T, before, after S, e E)
}

// Laws checks, over random histories:
//
//  1. Deciding twice gives the same, and leaves the state as it was.
//  2. Every emitted event is in the catalogue, may be written, and is stored
//     and read back without loss.
//  3. Folding what is read back gives the state that was folded as decided.
//  4. The same command, decided again after its events, leads to none.
//  5. A terminal state emits nothing but what AfterEnd allows.
//  6. With every erasable field erased, the control state is the same.
//  7. Evolve takes any events in any order.
func Laws[S any, C commands.Command, E events.Event](t testing.TB, m Model[S, C, E]) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		h := history[S, C, E]{m: m, now: Epoch, state: m.Decider.Initial()}
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			h.now = h.now.Add(rapid.SampledFrom(steps).Draw(t, "wait"))
			h.step(t, m.Next(t, h.state))
		}
		h.scramble(t)
	})
}

// steps are the pauses between commands.
var steps = []time.Duration{0, 0, time.Microsecond, time.Second, time.Minute, 10 * time.Minute}

type history[S any, C commands.Command, E events.Event] struct {
	m      Model[S, C, E]
	now    time.Time
	state  S   // folded event by event, as decided
	stored []E // as read back
}

// everything compares unexported fields too. JSON does not tell nil from empty.
var everything = cmp.Options{cmp.Exporter(func(reflect.Type) bool { return true }), cmpopts.EquateEmpty()}

func (h *history[S, C, E]) step(t *rapid.T, c C) {
	got, err := h.m.Decider.Decide(h.state, c, h.now)
	again, errAgain := h.m.Decider.Decide(h.state, c, h.now)
	if diff := cmp.Diff(got, again); diff != "" || (err == nil) != (errAgain == nil) {
		t.Fatalf("%s decided twice differs: %v, %v\n%s", c.CommandName(), err, errAgain, diff)
	}
	if diff := cmp.Diff(h.m.Decider.Fold(h.stored...), h.state, everything); diff != "" {
		t.Fatalf("deciding %s changed the state:\n%s", c.CommandName(), diff)
	}
	if err != nil && len(got) > 0 {
		t.Fatalf("%s was refused and led to events", c.CommandName())
	}
	ended := h.m.Ended(h.state)
	for _, e := range got {
		if ended && (h.m.AfterEnd == nil || !h.m.AfterEnd(e)) {
			t.Fatalf("%s after the end", e.EventType())
		}
		h.record(t, e)
	}
	if diff := cmp.Diff(h.m.Decider.Fold(h.stored...), h.state, everything); diff != "" {
		t.Fatalf("replay differs from the state as decided, after %s:\n%s", c.CommandName(), diff)
	}
	if repeated, _ := h.m.Decider.Decide(h.state, c, h.now); len(repeated) > 0 && len(got) > 0 {
		t.Fatalf("%s decided again after its events led to %v", c.CommandName(), repeated)
	}
	h.erase(t)
}

// record stores an event, reads it back and folds it.
func (h *history[S, C, E]) record(t *rapid.T, e E) {
	row, ok := events.Lookup(e.EventType())
	if !ok || row.Retired {
		t.Fatalf("%s must not be written", e.EventType())
	}
	version, data, err := events.Encode(e)
	if err != nil {
		t.Fatalf("encode %s: %v", e.EventType(), err)
	}
	back, err := events.Decode(e.EventType(), version, data)
	if err != nil {
		t.Fatalf("decode %s: %v", e.EventType(), err)
	}
	if _, twice, err := events.Encode(back); err != nil || string(twice) != string(data) {
		t.Fatalf("%s is not read back as written: %v\n%s\n%s", e.EventType(), err, data, twice)
	}
	h.stored = append(h.stored, back.(E))
	if h.m.Evolved != nil {
		before := h.m.Decider.Fold(h.stored[:len(h.stored)-1]...)
		h.m.Evolved(t, before, h.m.Decider.Fold(h.stored...), e)
	}
	h.state = h.m.Decider.Evolve(h.state, e)
}

func (h *history[S, C, E]) erase(t *rapid.T) {
	erased := make([]E, len(h.stored))
	for i, e := range h.stored {
		erased[i] = Erase(e)
	}
	want, got := h.m.Control(h.state), h.m.Control(h.m.Decider.Fold(erased...))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("with its keys destroyed the stream folds differently:\n%s", diff)
	}
}

// scramble folds the history in a random order, with parts missing, parts twice
// and empty events between them.
func (h *history[S, C, E]) scramble(t *rapid.T) {
	pool := append([]E(nil), h.stored...)
	for _, row := range events.Types() {
		if zero, ok := row.Zero.(E); ok {
			pool = append(pool, zero)
		}
	}
	s := h.m.Decider.Initial()
	for range len(pool) {
		s = h.m.Decider.Evolve(s, pool[rapid.IntRange(0, len(pool)-1).Draw(t, "event")])
	}
	h.m.Control(s)
}

// Erase returns the event as it is loaded once its keys are destroyed: without
// the values that have a class.
func Erase[E events.Event](e E) E {
	erased, err := events.Rewrite(e, func(events.Field, []byte) ([]byte, error) { return nil, nil })
	if err != nil { // the change above never fails
		panic(err)
	}
	return erased.(E)
}
