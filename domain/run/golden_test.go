package run_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
)

var record = flag.Bool("record", false, "write the histories that are missing; existing ones are never written again")

// history is a run as it was once decided. A build that decides it differently
// needs a new engine number, and must keep the old one.
type history struct {
	Engine int        `json:"engine"`
	Steps  []decision `json:"decisions"`
}

type decision struct {
	At      time.Time       `json:"at"`
	Command string          `json:"command"`
	Data    json.RawMessage `json:"data"`
	Events  []stored        `json:"events"`
}

type stored struct {
	Type    string          `json:"type"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

const corpus = "testdata/histories"

func TestRecordedHistoriesAreDecidedAsTheyWere(t *testing.T) {
	t.Parallel()
	if *record {
		recordMissing(t)
	}
	files, err := filepath.Glob(corpus + "/*.json")
	if err != nil || len(files) < len(scripts) {
		t.Fatalf("the corpus has %d histories: %v", len(files), err)
	}
	seen := make(map[transition]bool)
	for _, file := range files {
		h := readHistory(t, file)
		s := run.Decider.Initial()
		for i, d := range h.Steps {
			es, err := run.Decide(s, decodeCommand(t, d), d.At)
			if err != nil {
				t.Fatalf("%s[%d] %s was refused: %v", file, i, d.Command, err)
			}
			if diff := cmp.Diff(d.Events, encode(t, es), cmp.Transformer("text", func(raw json.RawMessage) string { return string(raw) })); diff != "" {
				t.Fatalf("%s[%d] %s is decided differently (-was +is):\n%s", file, i, d.Command, diff)
			}
			for _, e := range d.Events {
				before := stateAfter(t, h, i, e)
				s = run.Evolve(s, decodeEvent(t, e))
				for _, change := range changes(before, s) {
					seen[change] = true
				}
			}
		}
	}
	for change := range documentedTransitions(t) {
		if !seen[change] {
			t.Errorf("no recorded history shows %s: %s → %s", change.of, change.from, change.to)
		}
	}
}

// stateAfter folds a history up to an event of its i-th decision, into a state of
// its own.
func stateAfter(t *testing.T, h history, i int, until stored) run.State {
	s := run.Decider.Initial()
	for _, d := range h.Steps[:i] {
		for _, e := range d.Events {
			s = run.Evolve(s, decodeEvent(t, e))
		}
	}
	for _, e := range h.Steps[i].Events {
		if cmp.Equal(e, until) {
			break
		}
		s = run.Evolve(s, decodeEvent(t, e))
	}
	return s
}

func readHistory(t *testing.T, file string) history {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var h history
	if err := json.Unmarshal(raw, &h); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for i := range h.Steps { // the files are indented to be read
		for j := range h.Steps[i].Events {
			h.Steps[i].Events[j].Data, _ = domain.StoredJSON(h.Steps[i].Events[j].Data)
		}
	}
	return h
}

func decodeCommand(t *testing.T, d decision) commands.Run {
	t.Helper()
	switch d.Command {
	case "run.start":
		return read[commands.StartRun](t, d.Data)
	case "run.complete_step":
		return read[commands.CompleteStep](t, d.Data)
	case "run.fail_step":
		return read[commands.FailStep](t, d.Data)
	case "run.begin_step":
		return read[commands.BeginStep](t, d.Data)
	case "run.lapse_step":
		return read[commands.LapseStep](t, d.Data)
	case "run.fire_timer":
		return read[commands.FireTimer](t, d.Data)
	case "run.cancel":
		return read[commands.CancelRun](t, d.Data)
	}
	t.Fatalf("unknown command %s", d.Command)
	return nil
}

// read refuses unknown fields: a renamed field would otherwise go missing.
func read[C commands.Run](t *testing.T, data []byte) C {
	t.Helper()
	var c C
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatalf("%s: %v", c.CommandName(), err)
	}
	return c
}

func decodeEvent(t *testing.T, e stored) events.Run {
	t.Helper()
	decoded, err := events.Decode(e.Type, e.Version, e.Data)
	if err != nil {
		t.Fatal(err)
	}
	return decoded.(events.Run)
}

func encode(t *testing.T, es []events.Run) []stored {
	t.Helper()
	out := make([]stored, len(es))
	for i, e := range es {
		version, data, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = stored{e.EventType(), version, data}
	}
	return out
}

func recordMissing(t *testing.T) {
	for name, script := range scripts {
		file := filepath.Join(corpus, name+".json")
		if _, err := os.Stat(file); err == nil {
			continue
		}
		h, s, now := history{Engine: run.Engine}, run.Decider.Initial(), t0
		for i, line := range script {
			now = now.Add(line.wait)
			es, err := run.Decide(s, line.command, now)
			if err != nil {
				t.Fatalf("%s[%d]: %v", name, i, err)
			}
			for _, e := range es {
				s = run.Evolve(s, e)
			}
			data, err := json.Marshal(line.command)
			if err != nil {
				t.Fatal(err)
			}
			h.Steps = append(h.Steps, decision{now, line.command.CommandName(), data, encode(t, es)})
		}
		raw, err := json.MarshalIndent(h, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// line is a command of a script, and how long after the one before.
type line struct {
	wait    time.Duration
	command commands.Run
}

// scripts are what was recorded.
var scripts = map[string][]line{
	"linear": {
		{0, article(noop("plan"), agent("draft", "plan"), noop("check", "draft"))},
		{time.Second, complete("plan", 1, `{"title":"A & B","parts":[1,2]}`)},
		{time.Second, paid(complete("draft", 1, `"text"`))},
		{time.Second, complete("check", 1, `{"ok":true}`)},
	},
	"diamond_with_skip": {
		{0, article(noop("plan"), when(noop("long", "plan"), "size(steps.plan.output.parts) > 1"),
			when(noop("short", "plan"), "size(steps.plan.output.parts) <= 1"), noop("polish", "short"), noop("join", "long", "polish"))},
		{time.Second, complete("plan", 1, `{"title":"A","parts":[1,2]}`)},
		{time.Second, complete("long", 1, `"text"`)},
		{time.Second, complete("join", 1, `null`)},
	},
	"retry": {
		{0, article(noop("plan"))},
		{time.Second, paid2(fail("plan", 1))},
		{time.Minute, fire("retry:plan#1")},
		{10 * time.Minute, fire("timeout:plan#2")},
		{time.Minute, paid(complete("plan", 2, `"late"`))},
		{time.Minute, fire("retry:plan#2")},
		{time.Second, fail("plan", 3)},
		{time.Second, paid(complete("plan", 3, `"after the end"`))},
	},
	"lapse": {
		{0, article(noop("plan"), atMostOnce(noop("send", "plan")))},
		{time.Second, lapse("plan", 1)},
		{time.Second, paid(complete("plan", 1, `"late"`))},
		{time.Second, complete("plan", 2, `{"title":"A"}`)},
		{time.Second, lapse("send", 1)}, // not begun: it is safe to try again
		{time.Second, begin("send", 2)},
		{time.Second, lapse("send", 2)},
	},
	"cancel": {
		{0, article(noop("plan"), noop("other"), noop("last", "plan"))},
		{time.Second, fail("plan", 1)},
		{time.Second, cancel()},
		{time.Second, paid(complete("other", 1, `1`))},
		{time.Minute, fire("retry:plan#1")},
	},
	"deadline": {
		{0, article(noop("plan"))},
		{time.Minute, fire("deadline")},
		{2 * time.Hour, fire("deadline")},
	},
	"on_error_continue": {
		{0, article(carryOn(noop("plan")), when(noop("repair", "plan"), `steps.plan.error.code == "provider.refused"`), noop("last", "repair"))},
		{time.Second, fail("plan", 1)},
		{time.Second, complete("repair", 1, `1`)},
		{time.Second, complete("last", 1, `2`)},
	},
	"expression_failed": {
		{0, article(noop("plan"), when(noop("next", "plan"), "steps.plan.output.missing"))},
		{time.Second, complete("plan", 1, `{}`)},
	},
}

// article is a run with a deadline, an agent and every kind of value.
func article(steps ...domain.Step) commands.StartRun {
	for i := range steps {
		steps[i].With = map[string]any{"topic": "${inputs.topic}", "words": "${inputs.words * 2}", "tone": "plain", "price": "$${5}"}
		for _, need := range steps[i].Needs {
			steps[i].With["from_"+need] = "${steps." + need + ".output}"
		}
	}
	last := steps[len(steps)-1].ID
	return commands.StartRun{
		Run: stream,
		Definition: domain.Definition{
			ID: "article", Version: 2, Title: "Article", Steps: steps, Deadline: domain.Duration(2 * time.Hour),
			Parameters: []domain.Parameter{{Name: "topic", Type: "text", Required: true}, {Name: "words", Type: "integer", Default: 500}},
			Outputs:    map[string]string{"text": "${steps." + last + ".output}", "states": fmt.Sprintf("${[steps.%s.state]}", last)},
		},
		Inputs:    map[string]json.RawMessage{"topic": json.RawMessage(`"<cats> & dogs"`)},
		Agents:    map[string]domain.Ref{"writer": {ID: "writer", Version: 4, Hash: "sha256:w"}},
		Templates: map[string]domain.Ref{"draft": {ID: "draft", Version: 1, Hash: "sha256:d"}},
		Priority:  10,
	}
}

func agent(id string, needs ...string) domain.Step {
	return domain.Step{ID: id, Kind: domain.AgentStep, Agent: "writer", Template: "draft", Needs: slices.Clone(needs)}
}

func when(s domain.Step, condition string) domain.Step { s.When = condition; return s }

func carryOn(s domain.Step) domain.Step {
	s.OnError, s.Retry.MaxAttempts = domain.ContinueRun, 1
	return s
}

func atMostOnce(s domain.Step) domain.Step { s.Effect = domain.AtMostOnce; return s }

func paid(c commands.CompleteStep) commands.CompleteStep {
	c.Spent = []domain.Usage{call}
	c.Provider, c.Model = "p", "m"
	return c
}

func paid2(c commands.FailStep) commands.FailStep { c.Spent = []domain.Usage{call, call}; return c }
