package run

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/expr"
	"github.com/hishamos/hishamos/events"
)

// Decide answers a command with the events it leads to.
func Decide(s State, c commands.Run, now time.Time) ([]events.Run, error) {
	now = now.UTC().Truncate(time.Microsecond) // what an event can carry
	if s.engine > Engine {
		return nil, ErrNewerEngine
	}
	switch c := c.(type) {
	case commands.StartRun:
		return startRun(s, c, now)
	case commands.BeginStep:
		return beginStep(s, c)
	case commands.CompleteStep:
		return completeStep(s, c, now)
	case commands.FailStep:
		return failStep(s, c, now)
	case commands.LapseStep:
		return lapseStep(s, c, now)
	case commands.FireTimer:
		return fireTimer(s, c, now)
	case commands.CancelRun:
		return cancelRun(s, c)
	}
	return nil, nil
}

// startRun protects rule 1.
func startRun(s State, c commands.StartRun, now time.Time) ([]events.Run, error) {
	if s.phase != New {
		return nil, ErrAlreadyStarted
	}
	if err := c.Definition.Validate(); err != nil {
		return nil, err
	}
	if err := expr.Check(c.Definition); err != nil {
		return nil, err
	}
	if err := pinned(c); err != nil {
		return nil, err
	}
	inputs, err := domain.BindInputs(c.Definition.Parameters, c.Inputs)
	if err != nil {
		return nil, err
	}
	def := c.Definition.Stored()
	started := events.RunStarted{
		Workflow:   domain.Ref{ID: def.ID, Version: def.Version, Hash: def.Hash()},
		Definition: def,
		Engine:     Engine,
		Inputs:     inputs,
		Agents:     c.Agents,
		Templates:  c.Templates,
		Files:      c.Files,
		Priority:   c.Priority,
	}
	if limit := time.Duration(def.Deadline); limit > 0 {
		deadline := now.Add(limit).Truncate(time.Microsecond)
		started.Deadline = &deadline
	}
	running := Evolve(initial(), started)
	d := newDecision(&running, c.Run, now, started)
	for i := range running.steps {
		if running.steps[i].waits == 0 {
			d.due = append(d.due, i)
		}
	}
	return d.proceed(), nil
}

// pinned checks that the version of every agent and template is known.
func pinned(c commands.StartRun) error {
	for i, s := range c.Definition.Steps {
		if s.Kind != domain.AgentStep {
			continue
		}
		if _, ok := c.Agents[s.Agent]; !ok {
			return ErrUnknownAgent.With("there is no agent %q", s.Agent).At(fmt.Sprintf("steps[%d].agent", i))
		}
		if _, ok := c.Templates[s.Template]; !ok {
			return ErrUnknownTemplate.With("there is no template %q", s.Template).At(fmt.Sprintf("steps[%d].template", i))
		}
	}
	return nil
}

func completeStep(s State, c commands.CompleteStep, now time.Time) ([]events.Run, error) {
	i, err := s.find(c.Path, c.Attempt)
	if err != nil {
		return nil, err
	}
	d := newDecision(&s, c.Run, now, spent(&s.steps[i], c.StepResult)...)
	if !s.isOpen(i, c.Attempt) { // rule 8: too late to count
		return d.out, nil
	}
	output, err := domain.StoredJSON(c.Output)
	if err != nil {
		return nil, domain.InvalidField("output", "is not JSON", "send any JSON value")
	}
	d.emit(events.StepCompleted{
		Path: c.Path, Attempt: c.Attempt, Output: output,
		Provider: c.Provider, Model: c.Model, Simulated: c.Simulated,
		Started: c.Started.UTC().Truncate(time.Microsecond),
	})
	d.end(i, outcome{status: StepCompleted, output: output})
	return d.proceed(), nil
}

func failStep(s State, c commands.FailStep, now time.Time) ([]events.Run, error) {
	i, err := s.find(c.Path, c.Attempt)
	if err != nil {
		return nil, err
	}
	d := newDecision(&s, c.Run, now, spent(&s.steps[i], c.StepResult)...)
	if !s.isOpen(i, c.Attempt) { // rule 8: too late to count
		return d.out, nil
	}
	return d.fail(i, c.Fault), nil
}

// beginStep protects rule 12. An effect that is keyed may be begun by a second
// worker, because whoever performs it knows the key.
func beginStep(s State, c commands.BeginStep) ([]events.Run, error) {
	i, err := s.find(c.Path, c.Attempt)
	if err != nil {
		return nil, err
	}
	if !s.isOpen(i, c.Attempt) {
		return nil, ErrNotOpen
	}
	def, st := &s.def.Steps[i], &s.steps[i]
	switch def.Effect {
	case domain.Keyed, domain.AtMostOnce:
	case domain.Repeatable, "":
		return nil, nil
	}
	switch {
	case st.begunBy == c.Worker, st.begunBy != "" && def.Effect == domain.Keyed:
		return nil, nil
	case st.begunBy != "":
		return nil, ErrBegunByAnother
	}
	return []events.Run{events.StepStarted{Path: c.Path, Attempt: c.Attempt, Worker: c.Worker, Key: effectKey(c.Run, c.Path, st.inputHash)}}, nil
}

// effectKey names what the action is, so it is the same for every attempt at it.
func effectKey(run domain.StreamID, path domain.StepPath, inputHash string) string {
	return string(domain.DerivedCommandID("effect", domain.EventID(string(run)+"/"+string(path)+"/"+inputHash)))
}

// outcomeUnknown reports whether an effect that may happen once may have.
func (s *State) outcomeUnknown(i int) bool {
	return s.def.Steps[i].Effect == domain.AtMostOnce && s.steps[i].begunBy != ""
}

// lapseStep protects rules 7 and 12.
func lapseStep(s State, c commands.LapseStep, now time.Time) ([]events.Run, error) {
	i, err := s.find(c.Path, c.Attempt)
	if err != nil || !s.isOpen(i, c.Attempt) {
		return nil, err
	}
	d := newDecision(&s, c.Run, now, events.StepLapsed{Path: c.Path, Attempt: c.Attempt, Worker: c.Worker})
	switch {
	case s.outcomeUnknown(i):
		return d.failFinally(i, unknownOutcome("its worker went away")), nil
	case s.steps[i].lapses+1 >= MaxLapses:
		return d.failFinally(i, domain.Fault{Code: CodeAbandoned, Message: fmt.Sprintf("%d workers went away during the step", MaxLapses)}), nil
	}
	d.schedule(i, c.Attempt+1, s.steps[i].inputHash)
	return d.out, nil
}

// fireTimer protects rule 10.
func fireTimer(s State, c commands.FireTimer, now time.Time) ([]events.Run, error) {
	switch s.phase {
	case New:
		return nil, ErrNotFound
	case Completed, Failed, Cancelled:
		return nil, nil
	case Running:
	}
	if c.Timer == deadlineTimer {
		return fireDeadline(s, now), nil
	}
	kind, path, attempt, ok := parseTimer(c.Timer)
	i, known := s.index[path]
	if !ok || !known || s.steps[i].attempt != attempt {
		return nil, nil
	}
	d := newDecision(&s, c.Run, now)
	st := &s.steps[i]
	switch {
	case kind == retryTimer && st.status == StepRetrying && !now.Before(st.retryAt):
		d.schedule(i, attempt+1, st.inputHash)
		return d.out, nil
	case kind == timeoutTimer && st.status == StepScheduled && !now.Before(st.deadline):
		return d.timeOut(i), nil
	}
	return nil, nil
}

func fireDeadline(s State, now time.Time) []events.Run {
	if s.deadline.IsZero() || now.Before(s.deadline) {
		return nil
	}
	return []events.Run{events.RunFailed{Fault: domain.Fault{
		Code:    CodeDeadline,
		Message: fmt.Sprintf("the run took longer than %s", time.Duration(s.def.Deadline)),
	}}}
}

func cancelRun(s State, c commands.CancelRun) ([]events.Run, error) {
	switch s.phase {
	case New:
		return nil, ErrNotFound
	case Completed, Failed, Cancelled:
		return nil, ErrAlreadyEnded
	case Running:
	}
	return []events.Run{events.RunCancelled{Reason: c.Reason}}, nil
}

// find returns the step of an attempt that was once due.
func (s *State) find(path domain.StepPath, attempt int) (int, error) {
	if s.phase == New {
		return 0, ErrNotFound
	}
	i, ok := s.index[string(path)]
	if !ok {
		return 0, ErrUnknownAttempt.With("the run has no step %q", path).At("path")
	}
	if attempt < 1 || attempt > s.steps[i].attempt {
		return 0, ErrUnknownAttempt.With("attempt %d of step %s was never due", attempt, path).At("attempt")
	}
	return i, nil
}

// isOpen reports whether an attempt's result would count.
func (s *State) isOpen(i, attempt int) bool {
	return s.phase == Running && s.steps[i].status == StepScheduled && s.steps[i].attempt == attempt
}

// spent protects rule 9: one event per model call that is not on the stream yet.
func spent(st *step, r commands.StepResult) []events.Run {
	var out []events.Run
	for call := st.recorded(r.Attempt) + 1; call <= len(r.Spent); call++ {
		out = append(out, events.TokensSpent{
			Path: r.Path, Attempt: r.Attempt, Call: call, Usage: r.Spent[call-1], PriceTable: r.PriceTable,
		})
	}
	return out
}

func unknownOutcome(why string) domain.Fault {
	return domain.Fault{
		Code: CodeOutcomeUnknown, Final: true,
		Message: why + "; its effect may have happened and must not happen twice",
	}
}

// noInput is the input of a step that is given nothing.
const noInput = "{}"

// hashInput is the hash of a step's input, "sha256:" and hex; empty if it has none:
// that needs no hash, and a sealed one is half of the event.
func hashInput(input json.RawMessage) string {
	if string(input) == noInput {
		return ""
	}
	return "sha256:" + hexSHA256(input)
}
