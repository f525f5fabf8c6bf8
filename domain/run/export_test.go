package run

import (
	"fmt"

	"github.com/hishamos/hishamos/domain"
)

// Control is all of a state that decisions hang on except what people and models
// wrote: one line for the run, one per step, one per intent. Two states with the
// same lines go on in the same way as long as conditions are not asked.
func Control(s State) []string {
	lines := []string{fmt.Sprintf("run %s engine %d ended %d/%d", s.phase, s.engine, s.ended, len(s.steps))}
	for i := range s.steps {
		st := &s.steps[i]
		lines = append(lines, fmt.Sprintf("step %s %s attempt %d failures %d lapses %d waits %d calls %v",
			s.def.Steps[i].ID, st.status, st.attempt, st.failures, st.lapses, st.waits, st.calls))
	}
	in := Intents("", s)
	for _, w := range in.Work {
		lines = append(lines, fmt.Sprintf("work %s#%d until %s", w.Path, w.Attempt, w.Deadline))
	}
	for _, t := range in.Timers {
		lines = append(lines, fmt.Sprintf("timer %s at %s", t.ID, t.Due))
	}
	return lines
}

// Paths are the steps of a run, in declared order.
func Paths(s State) []domain.StepPath {
	paths := make([]domain.StepPath, len(s.steps))
	for i := range s.steps {
		paths[i] = domain.StepPath(s.def.Steps[i].ID)
	}
	return paths
}
