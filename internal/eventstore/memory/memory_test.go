package memory_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/eventstore/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Exercise(t, func(*testing.T) eventstore.Store { return memory.New(memory.Options{}) })
}

func TestACrashBeforeTheCommitWritesNothing(t *testing.T) {
	t.Parallel()
	crash := errors.New("crash")
	armed := true
	s := memory.New(memory.Options{Faults: memory.Faults{BeforeCommit: func(eventstore.Append) error {
		if armed {
			return crash
		}
		return nil
	}}})
	a := storetest.To(storetest.Stream("run"), eventstore.Absent, 2)
	if _, err := s.Append(t.Context(), a); !errors.Is(err, crash) {
		t.Fatalf("append: %v", err)
	}
	if n := len(storetest.CheckLog(t, s)); n != 0 {
		t.Fatalf("%d events", n)
	}
	armed = false
	if r, err := s.Append(t.Context(), a); err != nil || r.Replayed {
		t.Fatalf("append again: %+v, %v", r, err)
	}
}

func TestACrashAfterTheCommitIsSettledByTheCommandID(t *testing.T) {
	t.Parallel()
	s := memory.New(memory.Options{Faults: memory.Faults{AfterCommit: func(eventstore.Append) error {
		return eventstore.ErrUnknown
	}}})
	a := storetest.To(storetest.Stream("run"), eventstore.Absent, 2)
	if _, err := s.Append(t.Context(), a); !errors.Is(err, eventstore.ErrUnknown) {
		t.Fatalf("append: %v", err)
	}
	r, err := s.Append(t.Context(), a)
	if err != nil || !r.Replayed || r.First != 1 || r.Last != 2 {
		t.Fatalf("append again: %+v, %v", r, err)
	}
	if n := len(storetest.CheckLog(t, s)); n != 2 {
		t.Fatalf("%d events", n)
	}
}

type clock struct{ t time.Time }

func (c *clock) Now() time.Time { return c.t }

func TestTheSameAppendsMakeTheSameLog(t *testing.T) {
	t.Parallel()
	appends := make([]eventstore.Append, 20)
	for i := range appends {
		appends[i] = storetest.To(storetest.Stream("run"), eventstore.Absent, 1+i%3)
	}
	heads := make([]eventstore.Head, 2)
	for i := range heads {
		c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		s := memory.New(memory.Options{Clock: c})
		for j, a := range appends {
			c.t = c.t.Add(time.Duration(j-5) * time.Second) // also backwards
			if _, err := s.Append(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		storetest.CheckLog(t, s)
		var err error
		if heads[i], err = s.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(heads[0], heads[1]); d != "" {
		t.Fatal(d)
	}
}
