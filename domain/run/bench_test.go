package run_test

import (
	"fmt"
	"testing"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/run"
)

// chain is n steps, each given the output of the one before.
func chain(n int) []domain.Step {
	steps := []domain.Step{noop("s0")}
	for i := 1; i < n; i++ {
		s := noop(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d", i-1))
		s.With = map[string]any{"before": fmt.Sprintf("${steps.s%d.output}", i-1), "n": "${inputs.n}"}
		steps = append(steps, s)
	}
	return steps
}

// fan is a first step, n beside each other, and a join.
func fan(n int) []domain.Step {
	steps, join := []domain.Step{noop("s0")}, noop("join")
	for i := 1; i <= n; i++ {
		s := noop(fmt.Sprintf("s%d", i), "s0")
		s.With = map[string]any{"before": "${steps.s0.output}"}
		steps, join.Needs = append(steps, s), append(join.Needs, s.ID)
	}
	return append(steps, join)
}

// completeAll completes every step in order, and reports the time of one
// completion: decide, evolve, and the intents that follow.
func completeAll(b *testing.B, c commands.StartRun, intents bool) {
	b.Helper()
	b.ReportAllocs()
	var state run.State
	for left := 0; b.Loop(); left-- {
		if left == 0 {
			b.StopTimer()
			state, left = domaintest.For(b, run.Decider).After(c).State(), len(c.Definition.Steps)
			b.StartTimer()
		}
		id := c.Definition.Steps[len(c.Definition.Steps)-left].ID
		es, err := run.Decide(state, complete(domain.StepPath(id), 1, `{"text":"some output of a step"}`), t0)
		if err != nil || len(es) == 0 {
			b.Fatal(id, es, err)
		}
		for _, e := range es {
			state = run.Evolve(state, e)
		}
		if intents {
			run.Intents(stream, state)
		}
	}
}

func BenchmarkCompleteInChainOf10(b *testing.B)     { completeAll(b, start(chain(10)...), false) }
func BenchmarkCompleteInChainOf2000(b *testing.B)   { completeAll(b, start(chain(2000)...), false) }
func BenchmarkCompleteInFanOf20(b *testing.B)       { completeAll(b, start(fan(20)...), false) }
func BenchmarkCompleteAndIntentsFan20(b *testing.B) { completeAll(b, start(fan(20)...), true) }

func BenchmarkStartChainOf10(b *testing.B) {
	b.ReportAllocs()
	c := start(chain(10)...)
	for b.Loop() {
		if _, err := run.Decide(run.Decider.Initial(), c, t0); err != nil {
			b.Fatal(err)
		}
	}
}
