package run_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
)

func TestRunKeepsTheLawsOfDeciders(t *testing.T) {
	t.Parallel()
	allowed := documentedTransitions(t)
	domaintest.Laws(t, domaintest.Model[run.State, commands.Run, events.Run]{
		Decider: run.Decider,
		Next:    nextCommand,
		Control: func(s run.State) any { return run.Control(s) },
		Ended: func(s run.State) bool {
			return slices.Contains([]run.Phase{run.Completed, run.Failed, run.Cancelled}, s.Phase())
		},
		AfterEnd: func(e events.Run) bool { _, money := e.(events.TokensSpent); return money },
		Evolved: func(t *rapid.T, before, after run.State, e events.Run) {
			for _, change := range changes(before, after) {
				if !allowed[change] {
					t.Fatalf("%s caused an undocumented transition: %s", e.EventType(), change)
				}
			}
			checkInputs(t, after, e)
		},
	})
}

// checkInputs requires that the input of due work follows from the state alone.
func checkInputs(t *rapid.T, s run.State, e events.Run) {
	scheduled, ok := e.(events.StepScheduled)
	if !ok {
		return
	}
	w, ok := run.Work(stream, s, scheduled.Path)
	if !ok || w.Attempt != scheduled.Attempt || hash(w.Input) != scheduled.InputHash {
		t.Fatalf("work of %s does not have the input that was hashed: %s", scheduled.Path, w.Input)
	}
}

// nextCommand draws mostly what could happen, and sometimes what should not.
func nextCommand(t *rapid.T, s run.State) commands.Run {
	if s.Phase() == run.New && rapid.IntRange(0, 9).Draw(t, "nonsense") > 0 {
		return drawStart(t)
	}
	in := run.Intents(stream, s)
	path, attempt := drawAttempt(t, in.Work)
	switch rapid.IntRange(0, 11).Draw(t, "command") {
	case 0, 1, 2, 3:
		return commands.CompleteStep{StepResult: drawResult(t, path, attempt), Output: drawOutput(t), Started: domaintest.Epoch}
	case 4, 5:
		return commands.FailStep{
			StepResult: drawResult(t, path, attempt),
			Fault:      domain.Fault{Code: "provider.refused", Final: rapid.Bool().Draw(t, "final")},
		}
	case 6, 7:
		if rapid.Bool().Draw(t, "begins") {
			return commands.BeginStep{Run: stream, Path: path, Attempt: attempt, Worker: "w1"}
		}
		return commands.LapseStep{Run: stream, Path: path, Attempt: attempt, Worker: "w1"}
	case 8, 9, 10:
		ids := []string{"deadline", "retry:s0#1", "timeout:s0#1", "retry:nobody#1", "nonsense", "timeout:s0#x"}
		for _, timer := range in.Timers {
			ids = append(ids, timer.ID, timer.ID)
		}
		return commands.FireTimer{Run: stream, Timer: rapid.SampledFrom(ids).Draw(t, "timer")}
	}
	if rapid.IntRange(0, 4).Draw(t, "cancel") > 0 {
		return drawStart(t)
	}
	return commands.CancelRun{Run: stream, Reason: "no longer needed"}
}

func drawAttempt(t *rapid.T, open []domain.Work) (domain.StepPath, int) {
	if len(open) == 0 || rapid.IntRange(0, 5).Draw(t, "other attempt") == 0 {
		path := rapid.SampledFrom([]domain.StepPath{"s0", "s1", "s2", "nobody"}).Draw(t, "path")
		return path, rapid.IntRange(1, 4).Draw(t, "attempt")
	}
	w := rapid.SampledFrom(open).Draw(t, "work")
	return w.Path, w.Attempt
}

func drawResult(t *rapid.T, path domain.StepPath, attempt int) commands.StepResult {
	r := commands.StepResult{Run: stream, Path: path, Attempt: attempt, PriceTable: "prices-1"}
	for range rapid.IntRange(0, 2).Draw(t, "calls") {
		r.Spent = append(r.Spent, domain.Usage{Provider: "simulated", Model: "m", Tokens: domain.Tokens{Input: 7, Output: 3}})
	}
	return r
}

func drawOutput(t *rapid.T) json.RawMessage {
	return json.RawMessage(rapid.SampledFrom([]string{
		`{"ok":true}`, `{ "ok": false, "text": "<b>&" }`, `9007199254740993`, `"text"`, `null`, `[1.0, 2e3]`,
	}).Draw(t, "output"))
}

func drawStart(t *rapid.T) commands.StartRun {
	def := domain.Definition{
		ID: "drawn", Version: 1, Deadline: rapid.SampledFrom([]domain.Duration{0, domain.Duration(time.Hour)}).Draw(t, "deadline"),
		Parameters: []domain.Parameter{{Name: "n", Type: "integer", Default: 2}, {Name: "text", Type: "string"}},
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "steps") {
		def.Steps = append(def.Steps, drawStep(t, i))
	}
	if rapid.Bool().Draw(t, "outputs") {
		def.Outputs = map[string]string{"first": "${steps.s0.output}", "all": "${[steps.s0.state, inputs.text]}"}
	}
	return commands.StartRun{
		Run: stream, Definition: def, Inputs: map[string]json.RawMessage{"text": json.RawMessage(` "a <b>" `)},
		Agents:    map[string]domain.Ref{"writer": {ID: "writer", Version: 1}},
		Templates: map[string]domain.Ref{"draft": {ID: "draft", Version: 2}},
		Priority:  5,
	}
}

func drawStep(t *rapid.T, i int) domain.Step {
	s := domain.Step{
		ID: fmt.Sprintf("s%d", i), Kind: domain.NoopStep,
		Retry:   domain.Retry{MaxAttempts: rapid.IntRange(0, 3).Draw(t, "attempts")},
		OnError: rapid.SampledFrom([]domain.OnError{"", domain.FailRun, domain.ContinueRun}).Draw(t, "on_error"),
		Effect:  rapid.SampledFrom([]domain.EffectClass{"", domain.Keyed, domain.AtMostOnce}).Draw(t, "effect"),
		With:    map[string]any{"n": "${inputs.n + 1}", "text": "${inputs.text}", "literal": 1.5},
	}
	if rapid.Bool().Draw(t, "agent") {
		s.Kind, s.Agent, s.Template = domain.AgentStep, "writer", "draft"
	}
	conditions := []string{"", "", "", "inputs.n > 1", "inputs.n > 2", "inputs.n / 0 == 1"}
	for j := range i {
		if !rapid.Bool().Draw(t, "need") {
			continue
		}
		id := fmt.Sprintf("s%d", j)
		s.Needs = append(s.Needs, id)
		s.With["from_"+id] = "${steps." + id + ".output}"
		conditions = append(conditions, "steps."+id+`.state == "completed"`, "steps."+id+".output.ok", "steps."+id+".error == null")
	}
	s.When = rapid.SampledFrom(conditions).Draw(t, "when")
	return s
}
