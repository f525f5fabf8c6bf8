package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/sim"
)

// world runs three actors for a while and returns who stepped when.
func world(seed uint64, plan ...sim.Fault) (trace []string, hash uint64) {
	s := sim.New(seed, func(line string) { trace = append(trace, line) })
	for _, name := range []string{"a", "b", "c"} {
		s.Add(name, s.Between(0, time.Second), func() sim.Pause {
			s.Note(name, "steps", s.NewID())
			if s.Chance(0.5) {
				return sim.Idle
			}
			return sim.Again
		})
	}
	s.Inject(plan, func(f sim.Fault) { s.Hit(f.Kind); s.Stall("a", time.Hour) })
	s.Run(func() bool { return false }, time.Minute, 2000)
	return trace, s.Hash()
}

func TestASeedIsOneOrderOfSteps(t *testing.T) {
	t.Parallel()
	first, hash := world(7)
	for range 10 {
		if again, h := world(7); h != hash || !slices.Equal(again, first) {
			t.Fatal("one seed has two traces")
		}
	}
	if _, other := world(8); other == hash {
		t.Fatal("two seeds have one trace")
	}
}

func TestAStalledActorTakesNoStepUntilItIsResumed(t *testing.T) {
	t.Parallel()
	s, steps := sim.New(1, nil), 0
	s.Add("a", 0, func() sim.Pause { steps++; return sim.Pause(time.Second) })
	s.Stall("a", time.Hour)
	s.Wake()
	s.After(30*time.Minute, "operator", s.Resume)
	s.After(29*time.Minute, "look", func() {
		if steps != 0 {
			t.Errorf("%d steps while stalled", steps)
		}
	})
	s.Run(func() bool { return false }, 31*time.Minute, 10_000)
	if steps < 50 {
		t.Errorf("%d steps after it was resumed", steps)
	}
}

func TestAnIdleActorIsWoken(t *testing.T) {
	t.Parallel()
	s := sim.New(1, nil)
	s.Nap = time.Hour
	var first time.Duration // step after the event
	s.Add("a", 0, func() sim.Pause {
		if first == 0 && s.Elapsed() > 2*time.Hour {
			first = s.Elapsed()
		}
		return sim.Idle
	})
	s.After(2*time.Hour, "event", s.Wake)
	s.Run(func() bool { return false }, 2*time.Hour+time.Second, 10_000)
	if first == 0 || first > 2*time.Hour+10*time.Millisecond {
		t.Errorf("it was woken at 2h and looked at %s", first)
	}
}

func TestAPlanIsThatOfItsSeedAndShrinksToWhatMatters(t *testing.T) {
	t.Parallel()
	plan := sim.Plan(3, []string{"x", "y", "z"}, 20, time.Minute)
	if !slices.Equal(plan, sim.Plan(3, []string{"x", "y", "z"}, 20, time.Minute)) {
		t.Fatal("one seed has two plans")
	}
	needed := []sim.Fault{plan[4], plan[13]}
	got := sim.Shrink(plan, 1000, func(less []sim.Fault) bool {
		return slices.Contains(less, needed[0]) && slices.Contains(less, needed[1])
	})
	if !slices.Equal(got, needed) {
		t.Errorf("shrunk to %v", got)
	}
}
