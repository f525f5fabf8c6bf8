package relay_test

import (
	"errors"
	"testing"

	"github.com/hishamos/hishamos/domain"
	store "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/memory"
	"github.com/hishamos/hishamos/internal/relay"
)

func merged(t *testing.T, l log.Log, after domain.Position) ([]log.Published, relay.Merged) {
	t.Helper()
	var got []log.Published
	m, err := relay.Merge(t.Context(), l, after, func(p log.Published) error { got = append(got, p); return nil })
	check(t, err)
	return got, m
}

func TestTheTopicsMergeIntoTheStoresLog(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 1000, types...)
	l.RepeatPublish()
	drain(t, newRelay(s, l))
	got, m := merged(t, l, 0)
	if m.Last != 1000 || m.Missing != 0 || m.Repeats != 100 || m.Lost != 0 {
		t.Fatalf("merged %+v", m)
	}
	want, err := s.ReadAll(t.Context(), 0, 1000)
	check(t, err)
	for i := range want {
		if got[i].Hash != want[i].Hash {
			t.Fatalf("position %d differs", i+1)
		}
	}
}

func TestMergingStopsAtTheFirstMissingPositionAndListsWhatLiesBehind(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 1000, types...)
	drain(t, newRelay(s, l))
	p := log.Partition{Topic: "hishamos.run.events", ID: 1}
	records := raw(t, l)[p]
	check(t, l.CutTail(p, 3))
	missing := records[len(records)-3].Position
	got, m := merged(t, l, 0)
	if m.Missing != missing || m.Last != missing-1 || len(got) != int(missing-1) {
		t.Fatalf("stopped at %d, expected %d", m.Missing, missing)
	}
	if want := 1000 - int(m.Last) - 3; m.Lost != want || len(m.Behind) != want || m.Behind[0].ID == "" {
		t.Fatalf("%d lie behind, expected %d", m.Lost, want)
	}
}

func TestMergingBehindAPositionGivesWhatTheStoreLacks(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 30_000, types[0], types[0], types[0], types[1])
	drain(t, newRelay(s, l))
	for _, after := range []domain.Position{1, 14_999, 29_990, 30_000} {
		got, m := merged(t, l, after)
		if m.Last != 30_000 || len(got) != 30_000-int(after) || len(got) > 0 && got[0].Position != after+1 {
			t.Fatalf("after %d: %d records, %+v", after, len(got), m)
		}
	}
}

func TestMergingEndsWithTheCallersError(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 10, types...)
	drain(t, newRelay(s, l))
	full := errors.New("full")
	m, err := relay.Merge(t.Context(), l, 0, func(p log.Published) error {
		if p.Position == 4 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || m.Last != 3 {
		t.Fatalf("%+v, %v", m, err)
	}
}
