package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is one thing that is planned to go wrong. What Arg means is up to those
// who inject it.
type Fault struct {
	At   time.Duration
	Kind string
	Arg  uint64
}

func (f Fault) String() string { return fmt.Sprintf("%s at %s (%x)", f.Kind, f.At, f.Arg) }

// Plan draws n faults within a time. They do not depend on what actors draw, so
// a plan with some of them left out is still the same plan.
func Plan(seed uint64, kinds []string, n int, within time.Duration) []Fault {
	r := rand.New(rand.NewPCG(seed, 2))
	out := make([]Fault, n)
	for i := range out {
		out[i] = Fault{time.Duration(r.Int64N(int64(within))).Truncate(time.Millisecond), kinds[r.IntN(len(kinds))], r.Uint64()}
	}
	slices.SortStableFunc(out, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return out
}

// Inject lets each fault of a plan happen at its time.
func (s *Sim) Inject(plan []Fault, do func(Fault)) {
	for _, f := range plan {
		s.After(f.At-s.now, "fault", func() { do(f) })
	}
}

// Shrink leaves out the faults without which a plan still fails, one by one,
// until none can be left out or the tries are used up.
func Shrink(plan []Fault, tries int, fails func([]Fault) bool) []Fault {
	for size := len(plan); size > 0; {
		removed := false
		for i := 0; i+size <= len(plan) && tries > 0; {
			tries--
			less := slices.Concat(plan[:i], plan[i+size:])
			if fails(less) {
				plan, removed = less, true
			} else {
				i += size
			}
		}
		if !removed || size > len(plan) {
			size /= 2
		}
	}
	return plan
}

// Describe lists a plan, one fault a line.
func Describe(plan []Fault) string {
	if len(plan) == 0 {
		return "no fault is needed"
	}
	lines := make([]string, len(plan))
	for i, f := range plan {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}
