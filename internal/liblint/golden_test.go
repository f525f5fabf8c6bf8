package liblint_test

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/agentloop"
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/llm/simulated"
	"github.com/hishamos/hishamos/library"
)

type clock struct{}

func (clock) Now() time.Time { return time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC) }

func loop(t *testing.T) *agentloop.Loop {
	t.Helper()
	lib, err := library.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	prices, err := llm.BuiltinPrices()
	if err != nil {
		t.Fatal(err)
	}
	return &agentloop.Loop{Library: lib, Provider: simulated.New(simulated.Options{}), Prices: prices, Random: rand.Reader, Clock: clock{}}
}

func TestEveryTemplateIsAnsweredOnTheSimulatedProviderWithoutARepair(t *testing.T) {
	t.Parallel()
	l := loop(t)
	for _, id := range l.Library.TemplateIDs() {
		tmpl, _ := l.Library.Template(id)
		agent, ok := l.Library.Agent(tmpl.Agents.Recommended[0])
		if !ok {
			t.Fatalf("%s: no agent", id)
		}
		for _, g := range tmpl.Golden {
			t.Run(id+"/"+g.ID, func(t *testing.T) {
				t.Parallel()
				input, err := json.Marshal(g.Input)
				if err != nil {
					t.Fatal(err)
				}
				got := l.Do(t.Context(), domain.Work{
					Stream: "default/run_0190f4d2-0000-7000-8000-000000000000", Path: "x", Attempt: 1, Kind: domain.AgentStep,
					Agent: agent.Ref(), Template: tmpl.Ref(), Input: input,
				})
				done, ok := got.(commands.CompleteStep)
				if !ok {
					t.Fatalf("%+v", got)
				}
				if len(done.Spent) != 1 || !done.Simulated {
					t.Errorf("%d calls, simulated %v: %s", len(done.Spent), done.Simulated, done.Output)
				}
			})
		}
	}
}

func TestEveryGoldenRunOfAStockWorkflowEndsAsItSays(t *testing.T) {
	t.Parallel()
	l := loop(t)
	for _, id := range l.Library.WorkflowIDs() {
		w, _ := l.Library.Workflow(id)
		for _, g := range w.Golden {
			t.Run(id+"/"+g.ID, func(t *testing.T) {
				t.Parallel()
				inputs := map[string]json.RawMessage{}
				for name, v := range g.Input {
					inputs[name] = encode(t, v)
				}
				for name, file := range g.Fixture {
					b, err := l.Library.Sample(file)
					if err != nil {
						t.Fatal(err)
					}
					inputs[name] = encode(t, string(b))
				}
				completed, skipped := carryOut(t, l, w.ToDefinition(), inputs)
				if diff := cmp.Diff(sorted(g.Expect.Completed), sorted(completed)); diff != "" {
					t.Errorf("completed (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(sorted(g.Expect.Skipped), sorted(skipped)); diff != "" {
					t.Errorf("skipped (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// carryOut decides a run with the real decider and does its work with the real
// loop, one step at a time.
func carryOut(t *testing.T, l *agentloop.Loop, d domain.Definition, inputs map[string]json.RawMessage) (completed, skipped []string) {
	t.Helper()
	const stream domain.StreamID = "default/run_0190f4d2-0000-7000-8000-000000000000"
	state := run.Decider.Initial()
	var ended string
	decide := func(c commands.Run) {
		t.Helper()
		evs, err := run.Decider.Decide(state, c, clock{}.Now())
		if err != nil {
			t.Fatalf("%s: %v", c.CommandName(), err)
		}
		for _, e := range evs {
			state = run.Decider.Evolve(state, e)
			switch e := e.(type) {
			case events.StepCompleted:
				completed = append(completed, string(e.Path))
			case events.StepSkipped:
				skipped = append(skipped, string(e.Path))
			case events.StepFailed:
				t.Errorf("%s failed: %s", e.Path, e.Fault.Message)
			case events.RunFailed:
				t.Fatalf("the run failed: %s", e.Fault.Message)
			case events.RunCompleted:
				ended = e.EventType()
				if testing.Verbose() {
					for name, out := range e.Outputs {
						t.Logf("%s: %s", name, out)
					}
				}
			}
		}
	}
	agents, templates := l.Library.Pins(d)
	decide(commands.StartRun{Run: stream, Definition: d, Inputs: inputs, Agents: agents, Templates: templates})
	for ended == "" {
		work := run.Intents(stream, state).Work
		if len(work) == 0 {
			t.Fatal("no work is due and the run has not ended")
		}
		decide(l.Do(t.Context(), work[0]))
	}
	return completed, skipped
}

func encode(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sorted(s []string) []string { s = slices.Clone(s); slices.Sort(s); return s }
