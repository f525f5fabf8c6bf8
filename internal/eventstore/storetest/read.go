package storetest

import (
	"slices"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

func openStreams(t *testing.T, s eventstore.Store) {
	var want []domain.StreamID
	for i := range 7 {
		stream := Stream("run")
		must(t, s, To(stream, eventstore.Absent, 1))
		a := To(stream, 1, 1)
		if a.Writes[0].Closes = i%2 == 1; !a.Writes[0].Closes {
			want = append(want, stream)
		}
		must(t, s, a)
	}
	must(t, s, To(Stream("workflow"), eventstore.Absent, 1)) // another kind
	slices.Sort(want)
	var got []domain.StreamID
	for {
		var after domain.StreamID
		if len(got) > 0 {
			after = got[len(got)-1]
		}
		page, err := s.OpenStreams(t.Context(), "run", after, 3)
		if err != nil || len(page) > 3 {
			t.Fatalf("%d streams, %v", len(page), err)
		}
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	equal(t, "open streams", got, want)
	must(t, s, To(want[0], 2, 1)) // stays open
	closing := To(want[1], eventstore.Any, 1)
	closing.Writes[0].Closes = true
	must(t, s, closing)
	must(t, s, To(want[1], eventstore.Any, 1)) // what comes late does not open it again
	got, err := s.OpenStreams(t.Context(), "run", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "open streams later", got, slices.Delete(slices.Clone(want), 1, 2))
}

func paging(t *testing.T, s eventstore.Store) {
	one, two := Stream("run"), Stream("run")
	for range 5 {
		must(t, s, To(one, eventstore.Any, 2))
		must(t, s, To(two, eventstore.Any, 1))
	}
	all := CheckLog(t, s)
	for _, limit := range []int{1, 2, 7, 100} {
		var got []events.Record
		for after := domain.Position(0); ; {
			page, err := s.ReadAll(t.Context(), after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("%d events, limit %d, %v", len(page), limit, err)
			}
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1].Position
		}
		equal(t, "log in pages", got, all)
		got = nil
		for after := domain.Sequence(0); ; {
			page, err := s.ReadStream(t.Context(), one, after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("%d events, limit %d, %v", len(page), limit, err)
			}
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1].Sequence
		}
		want := slices.DeleteFunc(slices.Clone(all), func(r events.Record) bool { return r.Stream != one })
		equal(t, "stream in pages", got, want)
	}
	if got, err := s.ReadAll(t.Context(), 0, 0); err != nil || len(got) != 0 {
		t.Fatalf("limit 0: %v, %v", got, err)
	}
	if got, err := s.ReadStream(t.Context(), one, 10, 5); err != nil || len(got) != 0 {
		t.Fatalf("after the end: %v, %v", got, err)
	}
}
