package keys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/keys/memory"
)

var (
	root    = bytes.Repeat([]byte{5}, 32)
	run     = domain.NamedStreamID(domain.DefaultTenant, "run", "1")
	other   = domain.NamedStreamID(domain.DefaultTenant, "run", "2")
	foreign = domain.NamedStreamID("t_other", "run", "1")
	order   = domain.NamedStreamID(domain.DefaultTenant, "erasure", "1")
	canary  = "the canary sings"
)

type clock struct{ at time.Time }

func (c *clock) Now() time.Time { return c.at }

func open(t testing.TB, s keys.Store, o keys.Options) *keys.Ring {
	t.Helper()
	r, err := keys.Open(t.Context(), s, root, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// stored is an event as the store has it.
type stored struct {
	env events.Envelope
	e   events.Event
	key string
}

func seal(t testing.TB, r *keys.Ring, stream domain.StreamID, key string, e events.Event) stored {
	t.Helper()
	sealed, ids, key, err := r.Seal(t.Context(), stream, key, e)
	if err != nil {
		t.Fatal(err)
	}
	return stored{events.Envelope{Stream: stream, Type: e.EventType(), Version: 1, KeyIDs: ids}, sealed, key}
}

func started(text string) events.RunStarted {
	value, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return events.RunStarted{Inputs: map[string]json.RawMessage{"a": value, "b": []byte(`{"n": [1, 2]}`)}}
}

func TestWhatIsSealedOpensAsItWasAndShowsNothing(t *testing.T) {
	t.Parallel()
	r := open(t, &memory.Store{}, keys.Options{})
	for _, e := range []events.Event{
		started(canary),
		events.StepCompleted{Output: json.RawMessage(`"` + canary + `"`)},
		events.StepFailed{Path: "a"},
		events.RunFailed{Fault: domain.Fault{Code: "x", Message: canary}},
		events.RunCancelled{Reason: canary},
		events.TokenIssued{Actor: domain.Actor{ID: "jo"}, Holder: canary},
		events.ErasureOrdered{Reason: canary},
	} {
		s := seal(t, r, run, "", e)
		_, data, err := events.Encode(s.e)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "canary") || strings.Contains(string(data), "sealed:v1:") != (s.env.KeyIDs != "") {
			t.Errorf("%s is stored as %s with keys %s", e.EventType(), data, s.env.KeyIDs)
		}
		back, err := events.Decode(e.EventType(), 1, data)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := r.Open(t.Context(), s.env, back)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(e, got); d != "" {
			t.Error(d)
		}
	}
}

func TestAPlainTextThatLooksSealedIsWhatItWas(t *testing.T) {
	t.Parallel()
	r := open(t, &memory.Store{}, keys.Options{})
	for _, text := range []string{"sealed:v1:", "sealed:v1:b-00.1:AAAA", "[erased]"} {
		s := seal(t, r, run, "", events.RunCancelled{Reason: text})
		got, _, err := r.Open(t.Context(), s.env, s.e)
		if err != nil || got.(events.RunCancelled).Reason != text {
			t.Errorf("%q came back as %v, %v", text, got, err)
		}
	}
	// Events without keys, as of the time before there were any, hold what they say.
	plain := events.RunCancelled{Reason: "sealed:v1:b-00.1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
	got, _, err := r.Open(t.Context(), events.Envelope{Stream: run, Type: plain.EventType()}, plain)
	if err != nil || got != events.Event(plain) {
		t.Errorf("a plain event came back as %v, %v", got, err)
	}
}

func TestASealedValueOpensOnlyWhereItWasSealed(t *testing.T) {
	t.Parallel()
	r := open(t, &memory.Store{}, keys.Options{})
	s := seal(t, r, run, "", events.RunCancelled{Reason: canary})
	text := s.e.(events.RunCancelled).Reason
	at := keys.Place{Stream: run, Type: "run.cancelled", Field: "reason"}
	if plain, erased, err := r.OpenValue(t.Context(), at, text); err != nil || erased || string(plain) != canary {
		t.Fatalf("%s, %v, %v", plain, erased, err)
	}
	for name, p := range map[string]keys.Place{
		"another stream": {Stream: other, Type: at.Type, Field: at.Field},
		"another tenant": {Stream: foreign, Type: at.Type, Field: at.Field},
		"another event":  {Stream: run, Type: "run.failed", Field: at.Field},
		"another field":  {Stream: run, Type: at.Type, Field: "fault.message"},
	} {
		if plain, erased, err := r.OpenValue(t.Context(), p, text); err == nil {
			t.Errorf("in %s it opens as %s, erased %v", name, plain, erased)
		}
	}
	changed := text[:len(text)-2] + "xx"
	if _, erased, err := r.OpenValue(t.Context(), at, changed); err == nil || erased {
		t.Errorf("changed, it opens, erased %v", erased)
	}
}

func TestAStreamHasOneKeyAndAPersonOne(t *testing.T) {
	t.Parallel()
	s := &memory.Store{}
	one, two := open(t, s, keys.Options{}), open(t, s, keys.Options{})
	first := seal(t, one, run, "", events.RunCancelled{Reason: "a"})
	if again := seal(t, two, run, first.key, events.RunCancelled{Reason: "b"}); again.env.KeyIDs != first.env.KeyIDs {
		t.Errorf("the stream has the keys %s and %s", first.env.KeyIDs, again.env.KeyIDs)
	}
	if elsewhere := seal(t, two, other, "", events.RunCancelled{Reason: "c"}); elsewhere.env.KeyIDs == first.env.KeyIDs {
		t.Error("two streams share a key")
	}
	held := func(r *keys.Ring, who string) string {
		return seal(t, r, run, "", events.TokenIssued{Actor: domain.Actor{ID: who}, Holder: "x"}).env.KeyIDs
	}
	jo := held(one, "jo")
	if again := held(two, "jo"); again != jo || strings.Contains(jo, "jo") {
		t.Errorf("a person has the keys %s and %s", jo, again)
	}
	if mo := held(two, "mo"); mo == jo {
		t.Error("two people share a key")
	}
}

// counting counts writes.
type counting struct {
	keys.Store
	made int
}

func (c *counting) Create(ctx context.Context, box string, records [][]byte) error {
	c.made++
	return c.Store.Create(ctx, box, records)
}

func TestANewStreamCostsNoWriteOfItsOwn(t *testing.T) {
	t.Parallel()
	c := &counting{Store: &memory.Store{}}
	r := open(t, c, keys.Options{Block: 50})
	for range 100 {
		seal(t, r, run, "", events.RunCancelled{Reason: "a"})
	}
	if c.made != 4 { // the mark of the store, the tenant's key, two blocks
		t.Errorf("%d writes for 100 streams, want 4", c.made)
	}
}

func TestADestroyedKeyReadsAsErasedAndStaysSo(t *testing.T) {
	t.Parallel()
	s := &memory.Store{}
	r, elsewhere := open(t, s, keys.Options{}), &clock{time.Unix(0, 0)}
	late := open(t, s, keys.Options{Clock: elsewhere})
	mine, theirs := seal(t, r, run, "", started(canary)), seal(t, r, other, "", started(canary))
	if _, _, err := late.Open(t.Context(), mine.env, mine.e); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Destroy(t.Context(), order, mine.key); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere.at = elsewhere.at.Add(5 * time.Second) // another process notices that late
	for _, ring := range []*keys.Ring{r, late, open(t, s, keys.Options{})} {
		got, key, err := ring.Open(t.Context(), mine.env, mine.e)
		if err != nil || len(got.(events.RunStarted).Inputs) != 0 || key != mine.key {
			t.Errorf("opened as %v, %v", got, err)
		}
		if got, _, err := ring.Open(t.Context(), theirs.env, theirs.e); err != nil || got.(events.RunStarted).Inputs["a"] == nil {
			t.Errorf("another stream opened as %v, %v", got, err)
		}
		if gone, by, err := ring.State(t.Context(), run.Tenant(), mine.key); !gone || by != order || err != nil {
			t.Errorf("state: %v by %s, %v", gone, by, err)
		}
		if _, _, _, err := ring.Seal(t.Context(), run, mine.key, events.RunCancelled{Reason: "new"}); !errors.Is(err, keys.ErrErased) {
			t.Errorf("sealing with it answered %v", err)
		}
	}
}

func TestAPersonWhoWasErasedAndComesBackGetsAnotherKey(t *testing.T) {
	t.Parallel()
	r := open(t, &memory.Store{}, keys.Options{})
	issued := events.TokenIssued{Actor: domain.Actor{ID: "jo"}, Holder: canary}
	if id, _, err := r.PersonKey(t.Context(), run.Tenant(), "jo"); id != "" || err != nil {
		t.Fatalf("before anything: %s, %v", id, err)
	}
	before := seal(t, r, run, "", issued)
	id, gone, err := r.PersonKey(t.Context(), run.Tenant(), "jo")
	if err != nil || gone || !strings.Contains(before.env.KeyIDs, id) {
		t.Fatalf("%s, %v, %v", id, gone, err)
	}
	if err := r.Destroy(t.Context(), order, id); err != nil {
		t.Fatal(err)
	}
	if again, gone, err := r.PersonKey(t.Context(), run.Tenant(), "jo"); again != id || !gone || err != nil {
		t.Errorf("after: %s, %v, %v", again, gone, err)
	}
	after := seal(t, r, run, "", issued)
	if got, _, err := r.Open(t.Context(), after.env, after.e); err != nil || got.(events.TokenIssued).Holder != canary {
		t.Errorf("the new name: %v, %v", got, err)
	}
	if got, _, err := r.Open(t.Context(), before.env, before.e); err != nil || got.(events.TokenIssued).Holder != "" {
		t.Errorf("the old name: %v, %v", got, err)
	}
}

func TestATenantEndsWithItsKey(t *testing.T) {
	t.Parallel()
	r := open(t, &memory.Store{}, keys.Options{})
	mine, theirs := seal(t, r, run, "", started(canary)), seal(t, r, foreign, "", started(canary))
	if err := r.Destroy(t.Context(), order, keys.TenantKey(run.Tenant())); err != nil {
		t.Fatal(err)
	}
	if got, _, err := r.Open(t.Context(), mine.env, mine.e); err != nil || got.(events.RunStarted).Inputs["a"] != nil {
		t.Errorf("opened as %v, %v", got, err)
	}
	if got, _, err := r.Open(t.Context(), theirs.env, theirs.e); err != nil || got.(events.RunStarted).Inputs["a"] == nil {
		t.Errorf("another tenant's opened as %v, %v", got, err)
	}
	if _, _, _, err := r.Seal(t.Context(), run, "", started("new")); !errors.Is(err, keys.ErrErased) {
		t.Errorf("it takes new content: %v", err)
	}
	if _, err := r.Derived(t.Context(), run.Tenant(), "request digest"); !errors.Is(err, keys.ErrErased) {
		t.Errorf("its digests live on: %v", err)
	}
}

// What is not there, not reachable or changed is an error, and never an erasure.
func TestOnlyAnOrderedDestructionReadsAsErased(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(s *memory.Store, box string, n int){
		"store away":      func(s *memory.Store, _ string, _ int) { s.Fail(errors.New("away")) },
		"record of noise": func(s *memory.Store, box string, n int) { put(t, s, box, n, bytes.Repeat([]byte{3}, 60)) },
		"forged mark": func(s *memory.Store, box string, n int) {
			put(t, s, box, n, append([]byte("erased\x00\x01"), make([]byte, 52)...))
		},
		"another key's":     func(s *memory.Store, box string, n int) { r, _ := s.Read(t.Context(), box, n+1); put(t, s, box, n, r) },
		"tenant's key gone": func(s *memory.Store, _ string, _ int) { put(t, s, "t-default", 0, bytes.Repeat([]byte{3}, 60)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := &memory.Store{}, &clock{time.Unix(0, 0)}
			r := open(t, s, keys.Options{Clock: c})
			e := seal(t, r, run, "", started(canary))
			harm(s, strings.TrimSuffix(e.key, ".0"), 0)
			c.at = c.at.Add(time.Minute)
			got, _, err := r.Open(t.Context(), e.env, e.e)
			if domain.KindOf(err) != domain.Unavailable {
				t.Errorf("opened as %v, %v", got, err)
			}
			s.Fail(nil)
		})
	}
	t.Run("no event orders it", func(t *testing.T) {
		t.Parallel()
		ordered := false
		r := open(t, &memory.Store{}, keys.Options{Ordered: func(context.Context, domain.StreamID, string) (bool, error) { return ordered, nil }})
		e := seal(t, r, run, "", started(canary))
		if err := r.Destroy(t.Context(), order, e.key); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Open(t.Context(), e.env, e.e); !errors.Is(err, keys.ErrDamaged) {
			t.Errorf("without an event: %v", err)
		}
		ordered = true
		if _, _, err := r.Open(t.Context(), e.env, e.e); err != nil {
			t.Errorf("with one: %v", err)
		}
	})
}

func put(t *testing.T, s *memory.Store, box string, n int, record []byte) {
	t.Helper()
	if err := s.Replace(t.Context(), box, n, record); err != nil {
		t.Error(err)
	}
}

func TestAStoreThatIsAwayIsNoticedWithinTheTimeToLive(t *testing.T) {
	t.Parallel()
	s, c := &memory.Store{}, &clock{time.Unix(0, 0)}
	r := open(t, s, keys.Options{Clock: c})
	e := seal(t, r, run, "", started(canary))
	s.Fail(errors.New("away"))
	c.at = c.at.Add(5 * time.Second)
	if _, _, err := r.Open(t.Context(), e.env, e.e); !errors.Is(err, keys.ErrUnreachable) {
		t.Errorf("open: %v", err)
	}
	for _, key := range []string{"", e.key} {
		if _, _, _, err := r.Seal(t.Context(), other, key, started("new")); !errors.Is(err, keys.ErrUnreachable) {
			t.Errorf("seal with key %q: %v", key, err)
		}
	}
	s.Fail(nil)
	if _, _, err := r.Open(t.Context(), e.env, e.e); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

func TestAnotherStoreOrRootIsRefused(t *testing.T) {
	t.Parallel()
	s := &memory.Store{}
	id := open(t, s, keys.Options{}).ID()
	if again := open(t, s, keys.Options{ID: id}).ID(); again != id {
		t.Errorf("the store is %s and %s", id, again)
	}
	empty := &memory.Store{}
	if _, err := keys.Open(t.Context(), empty, root, keys.Options{ID: id}); !errors.Is(err, keys.ErrForeign) {
		t.Errorf("an empty store in the place of ours: %v", err)
	}
	open(t, empty, keys.Options{}) // nothing was put into it
	if _, err := keys.Open(t.Context(), empty, root, keys.Options{ID: id}); !errors.Is(err, keys.ErrForeign) {
		t.Errorf("another store: %v", err)
	}
	if _, err := keys.Open(t.Context(), s, bytes.Repeat([]byte{6}, 32), keys.Options{ID: id}); !errors.Is(err, keys.ErrWrongRoot) {
		t.Errorf("another root: %v", err)
	}
}

func TestADigestIsOfOneTenant(t *testing.T) {
	t.Parallel()
	r := open(t, &memory.Store{}, keys.Options{})
	digest := func(tenant domain.Tenant, purpose, value string) string {
		d, err := r.Digest(t.Context(), tenant, purpose, value)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one := digest("default", "claim", "jo@example.org")
	if one != digest("default", "claim", "jo@example.org") {
		t.Error("it differs for the same value")
	}
	for _, d := range []string{digest("t_2", "claim", "jo@example.org"), digest("default", "other", "jo@example.org"), digest("default", "claim", "mo@example.org")} {
		if d == one {
			t.Error("it is the same for something else")
		}
	}
}

// BenchmarkSealPerEvent is what protection costs an event with 2 KB of content.
func BenchmarkSealPerEvent(b *testing.B) {
	r := open(b, &memory.Store{}, keys.Options{})
	e := events.StepCompleted{Output: json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`)}
	s := seal(b, r, run, "", e)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			seal(b, r, run, s.key, e)
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := r.Open(b.Context(), s.env, s.e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
