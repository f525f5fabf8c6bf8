package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

func emptyLog(t *testing.T, s eventstore.Store) {
	h := head(t, s)
	if h.LogID == "" || h.Generation != 1 || h.Position != 0 || h.Hash != (events.Hash{}) || !h.Recorded.IsZero() {
		t.Fatalf("head of an empty log: %+v", h)
	}
	if got := All(t, s); len(got) != 0 {
		t.Fatalf("events: %v", got)
	}
	got, err := s.ReadStream(t.Context(), Stream("run"), 0, 10)
	if err != nil || len(got) != 0 {
		t.Fatalf("events of an unknown stream: %v, %v", got, err)
	}
	if _, _, ok, err := s.Committed(t.Context(), domain.DefaultTenant, Command()); ok || err != nil {
		t.Fatalf("an unknown command is committed: %v, %v", ok, err)
	}
}

func readBack(t *testing.T, s eventstore.Store) {
	stream := Stream("run")
	a := To(stream, eventstore.Absent, 3)
	a.Correlation, a.Causation, a.TraceParent = "c1", "c2", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a.DecidedBy = `{"engine":1}`
	a.Claims = []eventstore.Claim{{Kind: "name", Key: "<a&b> \"\\\u2028\t\x01é"}}
	a.Writes[0].Events[1].ForkedFrom, a.Writes[0].Events[2].KeyIDs = "default/run_x/3", `["k1"]`
	r := must(t, s, a)
	equal(t, "streams", r.Streams, []eventstore.StreamVersion{{Stream: stream, Version: 3}})
	if r.First != 1 || r.Last != 3 || r.Replayed || len(r.Records) != 3 {
		t.Fatalf("receipt %+v", r)
	}
	equal(t, "log", CheckLog(t, s), r.Records)
	got, err := s.ReadStream(t.Context(), stream, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "stream", got, r.Records)
	e := got[0].Envelope
	equal(t, "claims", e.Claims, `[{"key":"<a&b> \"\\`+"\u2028"+`\t\u0001é","kind":"name"}]`)
	equal(t, "attributes", []string{e.Correlation, e.Causation, e.TraceParent, e.DecidedBy, e.Actor, string(e.Command)},
		[]string{a.Correlation, a.Causation, a.TraceParent, a.DecidedBy, a.Actor, string(a.Command)})
	h := head(t, s)
	if e.LogID != h.LogID || e.Generation != h.Generation {
		t.Fatalf("event of log %s/%d, head of %s/%d", e.LogID, e.Generation, h.LogID, h.Generation)
	}
}

func concurrentWriters(t *testing.T, s eventstore.Store) {
	const writers, each = 64, 12
	shared := Stream("run")
	var mu sync.Mutex
	acknowledged := make(map[domain.Position]domain.CommandID)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			own := Stream("run")
			for i := range each {
				stream := own
				if i%2 == 1 {
					stream = shared
				}
				a := To(stream, eventstore.Any, 1+i%3)
				r, err := s.Append(t.Context(), a)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				mu.Lock()
				for _, rec := range r.Records {
					acknowledged[rec.Position] = a.Command
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	records := CheckLog(t, s)
	if len(records) != len(acknowledged) {
		t.Fatalf("%d events acknowledged, %d in the log", len(acknowledged), len(records))
	}
	for _, r := range records {
		if acknowledged[r.Position] != r.Command {
			t.Fatalf("position %d holds command %s, acknowledged was %s", r.Position, r.Command, acknowledged[r.Position])
		}
	}
}

func expectedVersions(t *testing.T, s eventstore.Store) {
	stream := Stream("run")
	conflict := func(expected int64, actual domain.Sequence) {
		t.Helper()
		_, err := s.Append(t.Context(), To(stream, expected, 1))
		var c *eventstore.ConflictError
		if !errors.As(err, &c) {
			t.Fatalf("expected %d: got %v, want a conflict", expected, err)
		}
		equal(t, "conflict", *c, eventstore.ConflictError{Stream: stream, Expected: expected, Actual: actual})
	}
	conflict(1, 0)
	must(t, s, To(stream, eventstore.Absent, 2))
	conflict(eventstore.Absent, 2)
	conflict(1, 2)
	conflict(3, 2)
	must(t, s, To(stream, 2, 1))
	must(t, s, To(stream, eventstore.Any, 1))
	must(t, s, To(Stream("run"), eventstore.Any, 1))
	if r := must(t, s, To(stream, 4, 1)); r.Streams[0].Version != 5 {
		t.Fatalf("version %d, want 5", r.Streams[0].Version)
	}
	CheckLog(t, s)
}

func conflictIsolation(t *testing.T, s eventstore.Store) {
	stream := Stream("run")
	must(t, s, To(stream, eventstore.Absent, 1))
	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			var c *eventstore.ConflictError
			if i%3 == 0 {
				if _, err := s.Append(t.Context(), To(stream, eventstore.Absent, 1)); !errors.As(err, &c) {
					t.Errorf("got %v, want a conflict", err)
				}
			} else if _, err := s.Append(t.Context(), To(Stream("run"), eventstore.Absent, 2)); err != nil {
				t.Errorf("an append without conflict failed: %v", err)
			}
		})
	}
	group.Wait()
	if n := len(CheckLog(t, s)); n != 81 {
		t.Fatalf("%d events, want 81", n)
	}
}

func manyStreams(t *testing.T, s eventstore.Store) {
	a := To(Stream("run"), eventstore.Absent, 1)
	for i := 1; i < eventstore.MaxStreams; i++ {
		a.Writes = append(a.Writes, eventstore.Write{Stream: Stream("budget"), Expected: eventstore.Absent, Events: Events(i % 3)})
	}
	r := must(t, s, a)
	if len(r.Streams) != len(a.Writes) || int(r.Last-r.First) != len(r.Records)-1 {
		t.Fatalf("receipt %+v", r)
	}
	for i, w := range a.Writes {
		equal(t, "stream of the receipt", r.Streams[i], eventstore.StreamVersion{Stream: w.Stream, Version: domain.Sequence(len(w.Events))})
	}
	before := len(CheckLog(t, s))
	b := To(a.Writes[0].Stream, 1, 1)
	b.Writes = append(b.Writes,
		eventstore.Write{Stream: Stream("budget"), Expected: eventstore.Absent, Events: Events(1)},
		eventstore.Write{Stream: a.Writes[1].Stream, Expected: 7, Events: Events(1)})
	var c *eventstore.ConflictError
	if _, err := s.Append(t.Context(), b); !errors.As(err, &c) || c.Stream != a.Writes[1].Stream {
		t.Fatalf("got %v, want a conflict of the last stream", err)
	}
	b.Writes[2] = eventstore.Write{Stream: a.Writes[1].Stream, Expected: 7} // checks a version, writes nothing
	if _, err := s.Append(t.Context(), b); !errors.As(err, &c) {
		t.Fatalf("got %v, want a conflict of the stream that is only checked", err)
	}
	if n := len(CheckLog(t, s)); n != before {
		t.Fatalf("%d events after refused appends, want %d", n, before)
	}
	b.Writes[2].Expected = 1
	if r := must(t, s, b); r.Streams[2].Version != 1 {
		t.Fatalf("receipt %+v", r)
	}
}

func submittedInOrder(t *testing.T, s eventstore.Store) {
	stream := Stream("run")
	var pending []eventstore.Pending
	for i := range 200 {
		pending = append(pending, s.Submit(t.Context(), To(stream, int64(i), 1)))
	}
	for i, p := range pending {
		r, err := p.Wait()
		if err != nil || r.Streams[0].Version != domain.Sequence(i+1) {
			t.Fatalf("append %d: %+v, %v", i, r, err)
		}
	}
	CheckLog(t, s)
}

// chained are appends of which one is decided on another that fails, though
// somebody else has led the stream to the version that it would have.
func chained(t *testing.T, s eventstore.Store) {
	stream := Stream("run")
	link := func(c *eventstore.Chain, n, expected int64) eventstore.Pending {
		a := To(stream, expected, 1)
		a.Writes[0].Chain, a.Writes[0].Link = c, n
		return s.Submit(t.Context(), a)
	}
	must(t, s, To(stream, eventstore.Absent, 1)) // somebody else
	broken := new(eventstore.Chain)
	for i, p := range []eventstore.Pending{link(broken, 0, 0), link(broken, 1, 1)} {
		var c *eventstore.ConflictError
		if r, err := p.Wait(); !errors.As(err, &c) {
			t.Errorf("link %d of a chain whose first failed: %+v, %v", i, r, err)
		}
	}
	whole := new(eventstore.Chain)
	for i, p := range []eventstore.Pending{link(whole, 0, 1), link(whole, 1, 2), link(whole, 2, 3)} {
		if r, err := p.Wait(); err != nil || r.Streams[0].Version != domain.Sequence(i+2) {
			t.Errorf("link %d: %+v, %v", i, r, err)
		}
	}
	if r, err := link(whole, 3, 4).Wait(); err != nil || r.Streams[0].Version != 5 {
		t.Errorf("a link after the others had committed: %+v, %v", r, err)
	}
	CheckLog(t, s)
}

func finishedContext(t *testing.T, s eventstore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := To(Stream("run"), eventstore.Absent, 1)
	if _, err := s.Append(ctx, a); !errors.Is(err, context.Canceled) {
		t.Fatalf("append: %v", err)
	}
	if n := len(All(t, s)); n != 0 {
		t.Fatalf("%d events after a refused append", n)
	}
	must(t, s, a)
}

func wake(t *testing.T, s eventstore.Store) {
	w := s.Wake()
	for i := range 5 {
		r := must(t, s, To(Stream("run"), eventstore.Absent, 1))
		select {
		case <-w:
		case <-time.After(5 * time.Second):
			t.Fatalf("not woken after append %d at position %d", i, r.First)
		}
	}
}

func instants(t *testing.T, s eventstore.Store) {
	happened := time.Date(2026, 11, 22, 3, 4, 5, 123456789, time.FixedZone("", 7200))
	a := To(Stream("run"), eventstore.Absent, 2)
	a.Writes[0].Events[0].Time = happened
	a.Writes[0].Events[1].Time = time.Time{}
	must(t, s, a)
	got := CheckLog(t, s)
	equal(t, "time", events.FormatTime(got[0].Time), "2026-11-22T01:04:05.123456Z")
	equal(t, "time that was not given", got[1].Time, got[1].Recorded)
}

func limits(t *testing.T, s eventstore.Store) {
	tooLarge := func(a eventstore.Append, numbers ...int) {
		t.Helper()
		_, err := s.Append(t.Context(), a)
		if !errors.Is(err, eventstore.ErrTooLarge) {
			t.Fatalf("got %v, want too large", err)
		}
		for _, n := range numbers {
			if !containsNumber(err.Error(), n) {
				t.Fatalf("%q does not name %d", err, n)
			}
		}
	}
	a := To(Stream("run"), eventstore.Absent, 1)
	a.Writes[0].Events[0].Data = make([]byte, eventstore.MaxEventData+1)
	tooLarge(a, eventstore.MaxEventData+1, eventstore.MaxEventData)

	const events = eventstore.MaxAppend / eventstore.MaxEventData
	b := To(Stream("run"), eventstore.Absent, events+1)
	for i := range b.Writes[0].Events {
		b.Writes[0].Events[i].Data = make([]byte, eventstore.MaxEventData)
	}
	tooLarge(b, (events+1)*eventstore.MaxEventData, eventstore.MaxAppend)
	b.Writes[0].Events = b.Writes[0].Events[:events]
	must(t, s, b) // exactly the limit

	c := To(Stream("run"), eventstore.Absent, 1)
	for range eventstore.MaxStreams {
		c.Writes = append(c.Writes, eventstore.Write{Stream: Stream("run"), Events: Events(1)})
	}
	tooLarge(c, eventstore.MaxStreams+1, eventstore.MaxStreams)
	CheckLog(t, s)
}

func containsNumber(text string, n int) bool {
	for rest := text; rest != ""; {
		var got int
		if _, err := fmt.Sscan(rest, &got); err == nil && got == n {
			return true
		}
		rest = rest[1:]
	}
	return false
}

func malformed(t *testing.T, s eventstore.Store) {
	change := map[string]func(*eventstore.Append){
		"no command id":            func(a *eventstore.Append) { a.Command = "" },
		"no stream":                func(a *eventstore.Append) { a.Writes = nil },
		"a stream id without kind": func(a *eventstore.Append) { a.Writes[0].Stream = "default/x" },
		"another tenant's stream":  func(a *eventstore.Append) { a.Tenant = "t_other" },
		"a stream twice":           func(a *eventstore.Append) { a.Writes = append(a.Writes, a.Writes[0]) },
		"a zero byte":              func(a *eventstore.Append) { a.Correlation = "a\x00b" },
		"not UTF-8":                func(a *eventstore.Append) { a.Actor = "\xff" },
		"an event without type":    func(a *eventstore.Append) { a.Writes[0].Events[0].Type = "" },
		"a year beyond 9999":       func(a *eventstore.Append) { a.Writes[0].Events[0].Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"an expectation below any": func(a *eventstore.Append) { a.Writes[0].Expected = -2 },
		"claims without events": func(a *eventstore.Append) {
			a.Writes[0].Events = nil
			a.Claims = []eventstore.Claim{{Kind: "k", Key: "v"}}
		},
		"a claim without a key":     func(a *eventstore.Append) { a.Claims = []eventstore.Claim{{Kind: "k"}} },
		"attributes beyond a limit": func(a *eventstore.Append) { a.Actor = string(make([]byte, 1<<20)) },
	}
	for name, f := range change {
		a := To(Stream("run"), eventstore.Absent, 1)
		f(&a)
		if _, err := s.Append(t.Context(), a); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	must(t, s, To(Stream("run"), eventstore.Absent, 1))
	if n := len(CheckLog(t, s)); n != 1 {
		t.Fatalf("%d events, want 1", n)
	}
}
