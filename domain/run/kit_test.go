package run_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
)

const stream domain.StreamID = "default/run_0190f4d2-0000-7000-8000-000000000001"

var t0 = domaintest.Epoch

// scenario saves spelling out three type parameters.
type scenario = domaintest.Scenario[run.State, commands.Run, events.Run]

// started is a run of steps that has begun, with the input n = 3.
func started(t testing.TB, steps ...domain.Step) scenario {
	t.Helper()
	return domaintest.For(t, run.Decider).After(start(steps...))
}

func scenarioAfter(t testing.TB, c commands.Run) scenario {
	t.Helper()
	return domaintest.For(t, run.Decider).After(c)
}

func start(steps ...domain.Step) commands.StartRun {
	return commands.StartRun{
		Run: stream,
		Definition: domain.Definition{
			ID: "test", Version: 1, Steps: steps,
			Parameters: []domain.Parameter{{Name: "n", Type: "integer", Required: true}},
		},
		Inputs: map[string]json.RawMessage{"n": json.RawMessage("3")},
	}
}

// noop is a step that waits for others.
func noop(id string, needs ...string) domain.Step {
	return domain.Step{ID: id, Kind: domain.NoopStep, Needs: needs}
}

func complete(path domain.StepPath, attempt int, output string) commands.CompleteStep {
	return commands.CompleteStep{StepResult: result(path, attempt), Output: json.RawMessage(output), Started: t0}
}

func fail(path domain.StepPath, attempt int) commands.FailStep {
	return commands.FailStep{StepResult: result(path, attempt), Fault: refused}
}

var refused = domain.Fault{Code: "provider.refused", Message: "the provider said no"}

func result(path domain.StepPath, attempt int, spent ...domain.Usage) commands.StepResult {
	return commands.StepResult{Run: stream, Path: path, Attempt: attempt, Spent: spent, PriceTable: "prices-1"}
}

func begin(path domain.StepPath, attempt int) commands.BeginStep {
	return commands.BeginStep{Run: stream, Path: path, Attempt: attempt, Worker: "w1"}
}

func lapse(path domain.StepPath, attempt int) commands.LapseStep {
	return commands.LapseStep{Run: stream, Path: path, Attempt: attempt, Worker: "w1"}
}

func fire(timer string) commands.FireTimer { return commands.FireTimer{Run: stream, Timer: timer} }

func cancel() commands.CancelRun { return commands.CancelRun{Run: stream, Reason: "no longer needed"} }

func scheduled(path domain.StepPath, attempt int, input string, at time.Time) events.StepScheduled {
	return events.StepScheduled{
		Path: path, Attempt: attempt, InputHash: hash(json.RawMessage(input)),
		Effect: domain.Repeatable, Deadline: at.Add(domain.DefaultStepTimeout),
	}
}

func completed(path domain.StepPath, attempt int, output string) events.StepCompleted {
	return events.StepCompleted{Path: path, Attempt: attempt, Output: json.RawMessage(output), Started: t0}
}

func spent(path domain.StepPath, attempt, call int, u domain.Usage) events.TokensSpent {
	return events.TokensSpent{Path: path, Attempt: attempt, Call: call, Usage: u, PriceTable: "prices-1"}
}

func hash(input json.RawMessage) string {
	if string(input) == "{}" {
		return ""
	}
	h := sha256.Sum256(input)
	return "sha256:" + hex.EncodeToString(h[:])
}

// types are the wire names of events, in order.
func types(es []events.Run) string {
	names := make([]string, len(es))
	for i, e := range es {
		names[i] = strings.TrimPrefix(e.EventType(), "run.")
		switch e := e.(type) {
		case events.StepScheduled:
			names[i] += " " + string(e.Path)
		case events.StepSkipped:
			names[i] += " " + string(e.Path)
		case events.StepCompleted:
			names[i] += " " + string(e.Path)
		case events.StepFailed:
			names[i] += " " + string(e.Path)
		case events.RunStarted, events.StepLapsed, events.TokensSpent, events.RunCompleted, events.RunFailed, events.RunCancelled:
		}
	}
	return strings.Join(names, ", ")
}

// transition is one arrow of the package comment.
type transition struct{ of, from, to string }

// documentedTransitions reads the arrows from the package comment, so that the
// comment is true.
func documentedTransitions(t testing.TB) map[transition]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "run.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[transition]bool)
	for _, m := range regexp.MustCompile(`(?m)^\s*(run|step):\s+(\w+) → (.+)$`).FindAllStringSubmatch(file.Doc.Text(), -1) {
		for to := range strings.SplitSeq(m[3], "|") {
			out[transition{m[1], m[2], strings.TrimSpace(to)}] = true
		}
	}
	if len(out) < 10 {
		t.Fatalf("the package comment documents only %v", out)
	}
	return out
}

// changes are the transitions between two states.
func changes(before, after run.State) []transition {
	var out []transition
	if before.Phase() != after.Phase() {
		out = append(out, transition{"run", string(before.Phase()), string(after.Phase())})
	}
	for _, path := range run.Paths(after) {
		from, to := before.Status(path), after.Status(path)
		if from == "" {
			from = run.StepWaiting // before the run started
		}
		if from != to {
			out = append(out, transition{"step", string(from), string(to)})
		}
	}
	return out
}
