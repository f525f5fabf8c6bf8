package postgres_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

func TestAStoreRebuiltFromItsRecordsAnswersAsTheFirst(t *testing.T) {
	t.Parallel()
	first := open(t, pgtest.New(t), postgres.Options{})
	done, running := storetest.Stream("run"), storetest.Stream("run")
	name := func(release bool, keys ...string) (out []eventstore.Claim) {
		for _, k := range keys {
			out = append(out, eventstore.Claim{Kind: "name", Key: k, Release: release})
		}
		return out
	}
	var appends []eventstore.Append
	add := func(stream domain.StreamID, n int, change func(*eventstore.Append)) {
		a := storetest.To(stream, eventstore.Any, n)
		change(&a)
		appendTo(t, first, a)
		appends = append(appends, a)
	}
	add(done, 3, func(a *eventstore.Append) { a.Claims = name(false, "a", "b \"ü\u2028") })
	add(running, 2, func(a *eventstore.Append) {
		a.Writes = append(a.Writes, eventstore.Write{Stream: storetest.Stream("budget"), Events: storetest.Events(2)})
	})
	add(done, 2, func(a *eventstore.Append) { a.Writes[0].Events[1].Type, a.Writes[0].Closes = "run.completed", true })
	add(done, 1, func(a *eventstore.Append) { // usage that came late opens nothing
		a.Writes[0].Events[0].Type, a.Writes[0].Closes, a.Claims = "run.tokens_spent", true, name(true, "a")
	})
	add(running, 1, func(a *eventstore.Append) { a.Claims = name(false, "c") })
	records := storetest.CheckLog(t, first)

	pool := pgtest.New(t)
	second := open(t, pool, postgres.Options{})
	into := second.Importer()
	for rest, size := records, 1; len(rest) > 0; size++ { // a page may end within an append
		n, err := into.Add(t.Context(), rest[:min(size, len(rest))])
		if err != nil {
			t.Fatal(err)
		}
		if rest = rest[n:]; n > 0 {
			size = 0
		}
	}
	if err := into.Wait(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(records, storetest.CheckLog(t, second)); d != "" {
		t.Fatal(d)
	}
	verify(t, second)
	third := open(t, pgtest.New(t), postgres.Options{})
	if n, err := third.Import(t.Context(), records); err != nil || n != len(records) { // all at once
		t.Fatalf("import: %d, %v", n, err)
	}
	verify(t, third)
	before, err := first.OpenStreams(t.Context(), "run", "", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*postgres.Store{second, third} {
		after, err := s.OpenStreams(t.Context(), "run", "", 10)
		if err != nil || !cmp.Equal(before, after) || len(after) != 1 {
			t.Fatalf("open streams %v, were %v, %v", after, before, err)
		}
	}

	if err := second.SetGeneration(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := second.SetGeneration(t.Context(), 2); err == nil {
		t.Fatal("the generation was set to what it is")
	}
	for _, a := range appends {
		want, err := first.Append(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		a.Body = []byte("any: the digest is not known")
		if got := appendTo(t, second, a); !cmp.Equal(got, want) {
			t.Fatalf("command %s is answered with %+v, was %+v", a.Command, got, want)
		}
	}
	claim := storetest.To(storetest.Stream("workflow"), eventstore.Absent, 1)
	claim.Claims = name(false, "b \"ü\u2028")
	if _, err := second.Append(t.Context(), claim); !errors.Is(err, eventstore.ErrClaimed) {
		t.Fatalf("a claim of the first store: %v", err)
	}
	claim.Claims = name(false, "a")
	r := appendTo(t, second, claim)
	if g := r.Records[0].Generation; g != 2 {
		t.Fatalf("a new event has generation %d", g)
	}
	appendTo(t, second, storetest.To(running, 3, 1))
	verify(t, second)
}

func TestImportRefusesWhatDoesNotFollow(t *testing.T) {
	t.Parallel()
	first := open(t, pgtest.New(t), postgres.Options{})
	stream := storetest.Stream("run")
	for range 4 {
		appendTo(t, first, storetest.To(stream, eventstore.Any, 1))
	}
	good := storetest.CheckLog(t, first)
	second := open(t, pgtest.New(t), postgres.Options{})
	if n, err := second.Import(t.Context(), good[:1]); n != 1 || err != nil {
		t.Fatalf("import: %d, %v", n, err)
	}
	for name, change := range map[string]func([]events.Record) []events.Record{
		"a hole":           func(r []events.Record) []events.Record { return r[1:] },
		"changed data":     func(r []events.Record) []events.Record { r[1].Data = []byte("{}"); return r },
		"a changed chain":  func(r []events.Record) []events.Record { r[1].Data = []byte("{}"); r[1].Seal(r[0].Hash); return r },
		"a wrong sequence": func(r []events.Record) []events.Record { r[0].Sequence = 9; r[0].Seal(good[0].Hash); return r[:1] },
		"another log":      func(r []events.Record) []events.Record { r[0].LogID = "x"; r[0].Seal(good[0].Hash); return r[:1] },
		"an older instant": func(r []events.Record) []events.Record {
			r[0].Recorded = r[0].Recorded.AddDate(-1, 0, 0)
			r[0].Seal(good[0].Hash)
			return r[:1]
		},
		"claims not JSON":   func(r []events.Record) []events.Record { r[0].Claims = "x"; r[0].Seal(good[0].Hash); return r[:1] },
		"a repeated record": func([]events.Record) []events.Record { return good[:1] },
	} {
		records := change(append([]events.Record(nil), good[1:]...))
		if _, err := second.Import(t.Context(), records); err == nil {
			t.Errorf("%s: imported", name)
		}
	}
	storetest.CheckLog(t, second)
	if n, err := second.Import(t.Context(), good[1:]); n != 3 || err != nil {
		t.Fatalf("import: %d, %v", n, err)
	}
	verify(t, second)
}

func TestSettingsOfTheLogOnlyGrow(t *testing.T) {
	t.Parallel()
	s := open(t, pgtest.New(t), postgres.Options{})
	epoch, err := s.NewEpoch(t.Context())
	if err != nil || epoch != 2 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
	if err := s.SetLevel(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := s.SetLevel(t.Context(), 2); err == nil {
		t.Fatal("the level went down")
	}
	h, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Settings(t.Context())
	want := postgres.Settings{LogID: h.LogID, Generation: 1, Epoch: 2, Level: 3}
	if err != nil || got != want {
		t.Fatalf("settings %+v, %v", got, err)
	}
}

func TestAnImportThatOthersOvertakeWritesNothing(t *testing.T) {
	t.Parallel()
	first, second := open(t, pgtest.New(t), postgres.Options{}), open(t, pgtest.New(t), postgres.Options{})
	for i := range 4 {
		appendTo(t, first, storetest.To(storetest.Stream("run"), eventstore.Any, 1+i%2))
	}
	records := storetest.CheckLog(t, first)
	late := second.Importer()
	if n, err := late.Add(t.Context(), records[:1]); n != 1 || err != nil || late.Wait() != nil {
		t.Fatalf("import: %d, %v", n, err)
	}
	if n, err := second.Import(t.Context(), records[1:3]); n != 2 || err != nil {
		t.Fatalf("import: %d, %v", n, err)
	}
	if _, err := late.Add(t.Context(), records[1:]); err == nil { // it begins to
		err = late.Wait()
		if err == nil {
			t.Error("imported what others had imported")
		}
	}
	if n, err := second.Import(t.Context(), records[3:]); n != len(records)-3 || err != nil {
		t.Fatalf("import: %d, %v", n, err)
	}
	verify(t, second)
}
