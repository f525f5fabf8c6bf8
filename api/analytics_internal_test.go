package api

import (
	"testing"
	"time"
)

type noon struct{}

func (noon) Now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func TestAReportAsOfAnInstantEndsOnItsDayUnlessAsked(t *testing.T) {
	t.Parallel()
	s := &server{Options: Options{Clock: noon{}}}
	for _, c := range []struct {
		in   Period
		at   string
		want string
	}{
		{Period{}, "", "2026-11-22"},
		{Period{}, "1234", "2026-11-22"},
		{Period{}, "2026-01-31T00:30:00+01:00", "2026-01-30"},
		{Period{To: "2026-03-01"}, "2026-01-30T10:00:00Z", "2026-03-01"},
	} {
		from, to, err := s.period(c.in, AtQuery{At: c.at})
		if got := to.Format(time.DateOnly); err != nil || got != c.want || to.Sub(from) != 29*24*time.Hour {
			t.Errorf("%+v at %q: from %s to %s, %v", c.in, c.at, from, got, err)
		}
	}
}
