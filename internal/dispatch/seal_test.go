package dispatch_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
)

// masked is a sealer that one can see through. It counts the keys it gave out.
type masked struct {
	keys   int
	erased bool
	fail   error
}

func (m *masked) Seal(_ context.Context, _ domain.StreamID, content string, e events.Event) (events.Event, string, string, error) {
	if m.fail != nil {
		return nil, "", "", m.fail
	}
	if content == "" {
		m.keys++
		content = "k"
	}
	sealed, err := events.Rewrite(e, func(_ events.Field, v []byte) ([]byte, error) { return append([]byte("mask:"), v...), nil })
	return sealed, `["k"]`, content, err
}

func (m *masked) Open(_ context.Context, _ events.Envelope, e events.Event) (events.Event, string, error) {
	if m.fail != nil {
		return nil, "", m.fail
	}
	opened, err := events.Rewrite(e, func(_ events.Field, v []byte) ([]byte, error) {
		if m.erased {
			return nil, nil
		}
		return v[len("mask:"):], nil
	})
	return opened, "k", err
}

// remembered is a decider whose state is the names it was told.
var remembered = domain.Decider[[]string, commands.Token, events.Token]{
	Kind: "token", Initial: func() []string { return nil },
	Evolve: func(s []string, e events.Token) []string {
		if i, ok := e.(events.TokenIssued); ok {
			s = append(slices.Clone(s), i.Holder)
		}
		return s
	},
	Decide: func(_ []string, c commands.Token, _ time.Time) ([]events.Token, error) {
		if i, ok := c.(commands.IssueToken); ok {
			return []events.Token{events.TokenIssued{Actor: i.Actor, Holder: i.Holder}}, nil
		}
		return nil, nil
	},
}

func named(id, holder string) commands.Request {
	r := issue(id)
	c := r.Command.(commands.IssueToken)
	c.Holder = holder
	r.Command = c
	return r
}

func TestWhatIsAppendedIsSealedAndWhatIsDecidedOnIsNot(t *testing.T) {
	t.Parallel()
	m, store := &masked{}, memory.New(memory.Options{})
	here := dispatch.New(store, dispatch.Options{Sealer: m}, dispatch.For(remembered))
	elsewhere := dispatch.New(store, dispatch.Options{Sealer: m}, dispatch.For(remembered))
	for id, d := range map[string]*dispatch.Dispatcher{"a": here, "b": elsewhere} {
		if _, err := d.Do(t.Context(), named(id, "jo")); err != nil {
			t.Fatal(err)
		}
	}
	records, err := store.ReadStream(t.Context(), token, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if !strings.Contains(string(r.Data), `"holder":"mask:jo"`) || r.KeyIDs != `["k"]` {
			t.Errorf("stored %s with keys %s", r.Data, r.KeyIDs)
		}
	}
	state := func(d *dispatch.Dispatcher) []string {
		s, _, err := dispatch.Observe(t.Context(), d, token, 0, func(s []string) []string { return s })
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, d := range []*dispatch.Dispatcher{here, elsewhere} {
		if s := state(d); !slices.Equal(s, []string{"jo", "jo"}) {
			t.Errorf("decides on %v", s)
		}
	}
	if m.keys != 1 {
		t.Errorf("%d keys for one stream", m.keys)
	}

	m.erased = true
	here.Forget(func(s domain.StreamID) bool { return s == token })
	if s := state(here); !slices.Equal(s, []string{"", ""}) {
		t.Errorf("after the erasure it still decides on %v", s)
	}
}

func TestWithoutTheKeysNothingIsDecidedOrAppended(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	m, store := &masked{}, memory.New(memory.Options{})
	d := dispatch.New(store, dispatch.Options{Sealer: m}, dispatch.For(remembered))
	if _, err := d.Do(t.Context(), named("a", "jo")); err != nil {
		t.Fatal(err)
	}
	m.fail = away
	for _, forget := range []bool{false, true} {
		if forget {
			d.Forget(nil)
		}
		if _, err := d.Do(t.Context(), named("b", "mo")); !errors.Is(err, away) {
			t.Errorf("forgotten %v: %v", forget, err)
		}
	}
	m.fail = nil
	if r, err := d.Do(t.Context(), named("b", "mo")); err != nil || r.Version != 2 {
		t.Errorf("when they are back: %+v, %v", r, err)
	}
}

func TestARepeatedCommandIsAnsweredAlsoWhenItsKeyWasDestroyed(t *testing.T) {
	t.Parallel()
	m := &masked{}
	d := dispatch.New(memory.New(memory.Options{}), dispatch.Options{Sealer: m}, dispatch.For(remembered))
	first := named("a", "jo")
	first.Body = []byte("one")
	receipt, err := d.Do(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	m.fail = &domain.Error{Kind: domain.Conflict, Code: "keys.erased", Message: "erased"}
	again, err := d.Do(t.Context(), first)
	receipt.Replayed = true
	if err != nil || again != receipt {
		t.Errorf("repeated %+v, %v; first %+v", again, err, receipt)
	}
	other := first
	other.Body = []byte("two")
	if _, err := d.Do(t.Context(), other); !errors.Is(err, eventstore.ErrBodyMismatch) {
		t.Errorf("another request under its id: %v", err)
	}
	if _, err := d.Do(t.Context(), named("b", "jo")); !errors.Is(err, m.fail) {
		t.Errorf("a new one: %v", err)
	}
	m.fail = errors.New("the key store is away")
	if _, err := d.Do(t.Context(), first); !errors.Is(err, m.fail) {
		t.Errorf("without the key store: %v", err)
	}
}
