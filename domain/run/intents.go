package run

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/expr"
)

// The kinds of timer.
const (
	deadlineTimer = "deadline"
	retryTimer    = "retry"
	timeoutTimer  = "timeout"
)

// timerID is `retry:<path>#<attempt>` or `timeout:<path>#<attempt>`.
func timerID(kind, path string, attempt int) string {
	return kind + ":" + path + "#" + strconv.Itoa(attempt)
}

func parseTimer(id string) (kind, path string, attempt int, ok bool) {
	kind, rest, _ := strings.Cut(id, ":")
	hash := strings.LastIndexByte(rest, '#')
	if hash < 0 {
		return "", "", 0, false
	}
	attempt, err := strconv.Atoi(rest[hash+1:])
	return kind, rest[:hash], attempt, err == nil
}

// Intents is everything a run waits for: its open attempts as work, and its
// timers. The stream is the run's own; a state does not know its name.
func Intents(stream domain.StreamID, s State) domain.Intents {
	var in domain.Intents
	if s.phase != Running {
		return in
	}
	if !s.deadline.IsZero() {
		in.Timers = append(in.Timers, domain.Timer{Stream: stream, ID: deadlineTimer, Due: s.deadline})
	}
	for _, i := range s.open {
		st, id := &s.steps[i], s.def.Steps[i].ID
		switch st.status {
		case StepScheduled:
			in.Work = append(in.Work, s.work(stream, i))
			in.Timers = append(in.Timers, domain.Timer{Stream: stream, ID: timerID(timeoutTimer, id, st.attempt), Due: st.deadline})
		case StepRetrying:
			in.Timers = append(in.Timers, domain.Timer{Stream: stream, ID: timerID(retryTimer, id, st.attempt), Due: st.retryAt})
		case StepWaiting, StepCompleted, StepFailed, StepSkipped, StepCancelled: // never open
		}
	}
	return in
}

// Work returns the work of one step, if it has an open attempt.
func Work(stream domain.StreamID, s State, path domain.StepPath) (domain.Work, bool) {
	i, ok := s.index[string(path)]
	if !ok || s.phase != Running || s.steps[i].status != StepScheduled {
		return domain.Work{}, false
	}
	return s.work(stream, i), true
}

func (s *State) work(stream domain.StreamID, i int) domain.Work {
	def, st := &s.def.Steps[i], &s.steps[i]
	w := domain.Work{
		Stream: stream, Path: domain.StepPath(def.ID), Attempt: st.attempt, Kind: def.Kind,
		Agent: s.agents[def.Agent], Template: s.prompts[def.Template], Input: s.input(i), Files: s.files,
		Priority: s.priority, Effect: def.Effect, Deadline: st.deadline, Begun: st.begunBy != "",
	}
	if w.Effect == "" {
		w.Effect = domain.Repeatable
	}
	return w
}

// input makes a step's input again. What it names had ended before the step was
// scheduled, so it is what was hashed then. It is nil only if the content it is
// made of was erased.
func (s *State) input(i int) json.RawMessage {
	d := newDecision(s, "", s.deadline)
	input, err := expr.Interpolate(s.def.Steps[i].With, d.vars())
	if err != nil {
		return nil
	}
	return input
}

// Phase returns the state of the run.
func (s State) Phase() Phase { return s.phase }

// Fault returns why the run failed, or nil.
func (s State) Fault() *domain.Fault { return s.fault }

// Progress returns how many of its steps have ended by themselves.
func (s State) Progress() (ended, total int) { return s.ended, len(s.steps) }

// Status returns the state of a step; it is empty if there is no such step.
func (s State) Status(path domain.StepPath) Status {
	if i, ok := s.index[string(path)]; ok {
		return s.steps[i].status
	}
	return ""
}

// Workflow returns the id of the workflow; it is empty before the run starts.
func (s State) Workflow() string { return s.def.ID }

// Agent returns the id of the agent of a step; it is empty if it has none.
func (s State) Agent(path domain.StepPath) string {
	if i, ok := s.index[string(path)]; ok {
		return s.def.Steps[i].Agent
	}
	return ""
}
