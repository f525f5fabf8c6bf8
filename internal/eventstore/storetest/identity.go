package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// replayed is a receipt as its repetition must be.
func replayed(r eventstore.Receipt) eventstore.Receipt {
	r.Replayed, r.Records = true, nil
	return r
}

func repeatedCommand(t *testing.T, s eventstore.Store) {
	stream := Stream("run")
	a := To(stream, eventstore.Absent, 2)
	a.Body = []byte("digest")
	a.Writes = append(a.Writes, eventstore.Write{Stream: Stream("budget"), Expected: eventstore.Any, Events: Events(1)})
	first := must(t, s, a)
	must(t, s, To(stream, 2, 1)) // the stream has moved on: a repetition is no conflict
	equal(t, "repetition", must(t, s, a), replayed(first))
	r, body, ok, err := s.Committed(t.Context(), a.Tenant, a.Command)
	if err != nil || !ok || string(body) != "digest" {
		t.Fatalf("committed: %v, body %q, %v", ok, body, err)
	}
	equal(t, "committed", r, replayed(first))
	p, q := s.Submit(t.Context(), a), s.Submit(t.Context(), a)
	for _, pending := range []eventstore.Pending{p, q} {
		r, err := pending.Wait()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "repetition within a batch", r, replayed(first))
	}
	if n := len(CheckLog(t, s)); n != 4 {
		t.Fatalf("%d events, want 4", n)
	}
}

func concurrentCommand(t *testing.T, s eventstore.Store) {
	a := To(Stream("run"), eventstore.Absent, 2)
	var fresh atomic.Int32
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			r, err := s.Append(t.Context(), a)
			if err != nil {
				t.Errorf("append: %v", err)
			}
			if !r.Replayed {
				fresh.Add(1)
			}
			if r.First != 1 || r.Last != 2 {
				t.Errorf("receipt %+v", r)
			}
		})
	}
	group.Wait()
	if fresh.Load() != 1 {
		t.Fatalf("%d of the answers say that they carried it out", fresh.Load())
	}
	if n := len(CheckLog(t, s)); n != 2 {
		t.Fatalf("%d events, want 2", n)
	}
}

func bodyMismatch(t *testing.T, s eventstore.Store) {
	a := To(Stream("run"), eventstore.Absent, 1)
	a.Body = []byte("one")
	b := a
	b.Body = []byte("two")
	// Queued together, so that a store with batches decides them in one.
	p, q := s.Submit(t.Context(), a), s.Submit(t.Context(), b)
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Wait(); !errors.Is(err, eventstore.ErrBodyMismatch) {
		t.Fatalf("another body at once: %v", err)
	}
	if _, err := s.Append(t.Context(), b); !errors.Is(err, eventstore.ErrBodyMismatch) {
		t.Fatalf("another body later: %v", err)
	}
	b.Body = nil // a caller that cannot tell
	if r := must(t, s, b); !r.Replayed {
		t.Fatalf("receipt %+v", r)
	}
	if n := len(CheckLog(t, s)); n != 1 {
		t.Fatalf("%d events, want 1", n)
	}
}

func emptyCommand(t *testing.T, s eventstore.Store) {
	stream := Stream("run")
	must(t, s, To(stream, eventstore.Absent, 2))
	a := To(stream, 2, 0)
	first := must(t, s, a)
	if first.First != 0 || first.Last != 0 || first.Streams[0].Version != 2 {
		t.Fatalf("receipt %+v", first)
	}
	must(t, s, To(stream, 2, 1))
	equal(t, "repetition", must(t, s, a), replayed(first))
	if n := len(CheckLog(t, s)); n != 3 {
		t.Fatalf("%d events, want 3", n)
	}
}

func commandTenants(t *testing.T, s eventstore.Store) {
	a := To(Stream("run"), eventstore.Absent, 1)
	b := To(domain.NewStreamID("t_other", "run_"+newID()), eventstore.Absent, 1)
	b.Command = a.Command
	must(t, s, a)
	if r := must(t, s, b); r.Replayed {
		t.Fatal("another tenant's command answered this one's")
	}
}

func claiming(n int, claims ...eventstore.Claim) eventstore.Append {
	a := To(Stream("workflow"), eventstore.Absent, n)
	a.Claims = claims
	return a
}

func claims(t *testing.T, s eventstore.Store) {
	name := func(key string) eventstore.Claim { return eventstore.Claim{Kind: "name", Key: key} }
	free := func(key string) eventstore.Claim { return eventstore.Claim{Kind: "name", Key: key, Release: true} }
	taken := func(c ...eventstore.Claim) {
		t.Helper()
		if _, err := s.Append(t.Context(), claiming(1, c...)); !errors.Is(err, eventstore.ErrClaimed) {
			t.Fatalf("got %v, want claimed", err)
		}
	}
	must(t, s, claiming(1, name("a")))
	taken(name("a"))
	taken(name("b"), name("a"))
	taken(name("b"), name("b"))
	must(t, s, claiming(1, eventstore.Claim{Kind: "mail", Key: "a"})) // another kind
	other := To(domain.NewStreamID("t_other", "workflow_"+newID()), eventstore.Absent, 1)
	other.Claims = []eventstore.Claim{name("a")}
	must(t, s, other) // another tenant
	must(t, s, claiming(1, free("a"), name("b")))
	taken(name("b"))
	must(t, s, claiming(1, free("never taken")))
	must(t, s, claiming(1, name("a")))
	must(t, s, claiming(1, free("a"), name("a"))) // handed over
	taken(name("a"))
	must(t, s, claiming(1, name("c"), free("c")))
	must(t, s, claiming(1, name("c")))
	taken(name("a"), free("a"))
	// In one batch: taken, given back, taken again.
	var pending []eventstore.Pending
	for _, c := range []eventstore.Claim{name("d"), name("d"), free("d"), name("d"), name("a"), free("a"), name("a")} {
		pending = append(pending, s.Submit(t.Context(), claiming(1, c)))
	}
	for i, want := range []bool{true, false, true, true, false, true, true} {
		if _, err := pending[i].Wait(); (err == nil) != want {
			t.Fatalf("claim %d of the batch: %v", i, err)
		}
	}
	taken(name("d"))
	taken(name("a"))
	CheckLog(t, s)
}

func claimIsolation(t *testing.T, s eventstore.Store) {
	k := eventstore.Claim{Kind: "name", Key: "x"}
	must(t, s, claiming(1, k))
	a := claiming(2, k)
	p, q := s.Submit(t.Context(), a), s.Submit(t.Context(), To(Stream("run"), eventstore.Absent, 1))
	if _, err := p.Wait(); !errors.Is(err, eventstore.ErrClaimed) {
		t.Fatalf("got %v, want claimed", err)
	}
	if _, err := q.Wait(); err != nil {
		t.Fatalf("the append beside it: %v", err)
	}
	if n := len(CheckLog(t, s)); n != 2 {
		t.Fatalf("%d events, want 2", n)
	}
	must(t, s, claiming(1, eventstore.Claim{Kind: "name", Key: "x", Release: true}))
	if r := must(t, s, a); r.Replayed {
		t.Fatal("a refused command counts as carried out")
	}
}

func concurrentClaims(t *testing.T, s eventstore.Store) {
	var won atomic.Int32
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			_, err := s.Append(t.Context(), claiming(1, eventstore.Claim{Kind: "name", Key: "one"}))
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, eventstore.ErrClaimed):
				t.Errorf("got %v, want claimed", err)
			}
		})
	}
	group.Wait()
	if n := len(CheckLog(t, s)); won.Load() != 1 || n != 1 {
		t.Fatalf("%d won, %d events", won.Load(), n)
	}
}
