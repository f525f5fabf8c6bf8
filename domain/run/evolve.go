package run

import (
	"slices"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Evolve folds one event into the state. It is total, reuses the memory of the
// state it is given, and never looks into content.
func Evolve(s State, e events.Run) State {
	switch e := e.(type) {
	case events.RunStarted:
		return started(s, e)
	case events.StepScheduled:
		s.scheduled(e)
	case events.StepStarted:
		if i, ok := s.live(e.Path); ok {
			s.steps[i].begunBy = e.Worker
		}
	case events.StepCompleted:
		s.completed(e)
	case events.StepFailed:
		s.failed(e)
	case events.StepLapsed:
		if i, ok := s.live(e.Path); ok {
			s.steps[i].lapses++
		}
	case events.StepSkipped:
		if i, ok := s.live(e.Path); ok {
			s.steps[i].status = StepSkipped
			s.end(i)
		}
	case events.TokensSpent:
		s.spent(e)
	case events.RunCompleted:
		s.close(Completed)
	case events.RunFailed:
		if s.phase == Running {
			s.fault = &e.Fault
		}
		s.close(Failed)
	case events.RunCancelled:
		s.close(Cancelled)
	}
	return s
}

// started prepares, once, everything that later events look up.
func started(s State, e events.RunStarted) State {
	if s.phase != New && s.phase != "" {
		return s
	}
	n := State{
		phase: Running, engine: e.Engine, def: e.Definition, inputs: e.Inputs, agents: e.Agents, prompts: e.Templates, files: e.Files,
		priority: e.Priority, steps: make([]step, len(e.Definition.Steps)), index: make(map[string]int, len(e.Definition.Steps)),
	}
	if e.Deadline != nil {
		n.deadline = *e.Deadline
	}
	for i := range e.Definition.Steps {
		n.steps[i].status = StepWaiting
		n.index[e.Definition.Steps[i].ID] = i
	}
	for i := range e.Definition.Steps {
		for _, id := range e.Definition.Steps[i].Needs {
			if need, ok := n.index[id]; ok {
				n.steps[i].waits++
				n.steps[need].dependents = append(n.steps[need].dependents, i)
			}
		}
	}
	return n
}

func (s *State) scheduled(e events.StepScheduled) {
	i, ok := s.live(e.Path)
	if !ok {
		return
	}
	if at, found := slices.BinarySearch(s.open, i); !found {
		s.open = slices.Insert(s.open, at, i)
	}
	st := &s.steps[i]
	st.status, st.attempt, st.deadline, st.inputHash, st.retryAt, st.begunBy = StepScheduled, e.Attempt, e.Deadline, e.InputHash, time.Time{}, ""
}

func (s *State) completed(e events.StepCompleted) {
	if i, ok := s.live(e.Path); ok {
		s.steps[i].status, s.steps[i].output = StepCompleted, e.Output
		s.end(i)
	}
}

func (s *State) failed(e events.StepFailed) {
	i, ok := s.live(e.Path)
	if !ok {
		return
	}
	st := &s.steps[i]
	st.failures++
	st.fault = &e.Fault
	if e.RetryAt != nil {
		st.status, st.retryAt = StepRetrying, *e.RetryAt
		return
	}
	st.status = StepFailed
	s.end(i)
}

func (s *State) spent(e events.TokensSpent) {
	i, ok := s.index[string(e.Path)]
	if !ok || e.Attempt < 1 || e.Attempt > s.steps[i].attempt {
		return
	}
	st := &s.steps[i]
	for len(st.calls) < e.Attempt {
		st.calls = append(st.calls, 0)
	}
	st.calls[e.Attempt-1] = max(st.calls[e.Attempt-1], e.Call)
}

// live returns a step that has not ended, of a run that has not ended.
func (s *State) live(path domain.StepPath) (int, bool) {
	i, ok := s.index[string(path)]
	return i, ok && s.phase == Running && !s.steps[i].status.ended()
}

// end takes a step that has just ended out of what is open.
func (s *State) end(i int) {
	s.ended++
	if at, found := slices.BinarySearch(s.open, i); found {
		s.open = slices.Delete(s.open, at, at+1)
	}
	for _, j := range s.steps[i].dependents {
		s.steps[j].waits--
	}
}

// close ends the run; what has not ended by itself is cancelled.
func (s *State) close(p Phase) {
	if s.phase != Running {
		return
	}
	s.phase, s.open = p, nil
	for i := range s.steps {
		if !s.steps[i].status.ended() {
			s.steps[i].status = StepCancelled
		}
	}
}
