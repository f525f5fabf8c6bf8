package projection

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hishamos/hishamos/domain"
)

type lamp struct {
	ID    string          `db:"id,key"`
	State string          `db:"state"`
	Off   domain.Position `db:"off,live"` // it was off from here on
}

// lamps hold that they were off, unless they are broken now.
func lamps() Table[lamp] {
	return NewHistoryTable[lamp]("lamps").Folds(Fold[lamp]{
		In: func(before *lamp, from domain.Position, l *lamp) bool {
			if before.State != "off" || l.State == "broken" {
				return false
			}
			l.Off = from
			return true
		},
		Out:   func(l *lamp) (lamp, domain.Position, bool) { return lamp{ID: l.ID, State: "off"}, l.Off, l.Off > 0 },
		Clear: func(l *lamp) { l.Off = 0 },
	})
}

// Every version that held is in the past or in the row, whatever order they came in
// and whatever one append wrote over.
func TestNoVersionIsLostThatARowHolds(t *testing.T) {
	t.Parallel()
	states := []string{"off", "on", "broken"}
	for n := range 3 * 3 * 3 * 3 * 8 {
		table := lamps()
		var past []Past
		var want, got []string
		var row *lamp
		var from domain.Position
		note := func(l *lamp, from, to domain.Position) string { return fmt.Sprint(l.State, " ", from, "-", to) }
		at := domain.Position(1)
		for i := range 4 {
			next := &lamp{ID: "a", State: states[n/[]int{1, 3, 9, 27}[i]%3]}
			if i > 0 && n/81>>(i-1)&1 == 0 {
				at++ // another append
			}
			if row != nil {
				if from != at {
					want = append(want, note(row, from, at))
				}
				next.Off = row.Off // as handlers copy
				past = table.supersede(past, row, from, next, at)
			}
			row, from = next, at
		}
		for _, p := range past {
			got = append(got, note(p.Row.(*lamp), p.From, p.To))
		}
		if before, since, ok := table.fold.out(row); ok {
			got = append(got, note(before.(*lamp), since, from))
		}
		if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("case %d: kept %v, expected %v", n, got, want)
		}
	}
}
