package watch_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/watch"
)

var began = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func run(version v1.Ordinal, state string, steps ...v1.Step) v1.Run {
	return v1.Run{
		ID: "run_1", Title: "Stories", State: state, Version: version, Started: began, Steps: steps,
		Progress: v1.Progress{Done: 1, Total: 2}, Cost: v1.Cost{Tokens: domain.Tokens{Input: 1234}, Amount: 1_200_000, Simulated: true},
	}
}

func step(path, state string) v1.Step {
	return v1.Step{
		Path: path, State: state, Attempt: 1, Agent: &v1.Ref{ID: "analyst"}, Scheduled: &began,
		Cost: v1.Cost{Tokens: domain.Tokens{Output: 50}, Amount: 7_000},
	}
}

func view(out *strings.Builder, o watch.Options) *watch.View {
	o.Now = func() time.Time { return began.Add(90 * time.Second) }
	return watch.New(out, o)
}

func TestOutsideATerminalEveryChangeIsOneLine(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	v := view(&out, watch.Options{})
	first := run(2, "running", step("a", "scheduled"), v1.Step{Path: "b", State: "waiting"})
	second := run(4, "running", step("a", "completed"), step("b", "scheduled"))
	ended := began.Add(2 * time.Second)
	second.Steps[0].Ended = &ended
	final := run(6, "completed", second.Steps[0], step("b", "completed"))
	for _, r := range []v1.Run{first, first, second, first, final, final} {
		if err := v.Show(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Tick(); err != nil {
		t.Fatal(err)
	}
	const want = `09:01:30 run run_1: Stories running
09:01:30 a: scheduled by analyst, 50 tokens, $0.000007
09:01:30 a: completed by analyst, 50 tokens, $0.000007, 2.0s
09:01:30 b: scheduled by analyst, 50 tokens, $0.000007
09:01:30 b: completed by analyst, 50 tokens, $0.000007
09:01:30 run completed: 1 of 2 steps, 1,234 tokens, $0.001200, 1m30s, SIMULATED: no model was called
`
	if out.String() != want {
		t.Errorf("got:\n%s", out.String())
	}
}

func TestInATerminalTheTableIsRedrawnInPlace(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	v := view(&out, watch.Options{Terminal: true, Width: 80})
	if err := v.Show(run(2, "running", step("a", "scheduled"))); err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(out.String(), "\n")
	out.Reset()
	if err := v.Tick(); err != nil {
		t.Fatal(err)
	}
	if up := "\x1b[" + string(rune('0'+lines)) + "A\x1b[J"; !strings.HasPrefix(out.String(), up) {
		t.Errorf("the second drawing begins with %q, want %q", out.String()[:8], up)
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(line)); n > 120 {
			t.Errorf("a line has %d characters", n)
		}
	}
	if strings.Contains(out.String(), "\x1b[3") {
		t.Error("colours without having been asked for")
	}
}

func TestATableNeverOutgrowsItsTerminal(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := run(2, "running")
	for range 100 {
		r.Steps = append(r.Steps, step("done", "completed"), step("later", "waiting"))
	}
	r.Steps = append(r.Steps, step("now", "scheduled"))
	if err := view(&out, watch.Options{Terminal: true, Height: 24}).Show(r); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n >= 24 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(out.String(), "now") || !strings.Contains(out.String(), "and 185 more steps") {
		t.Errorf("got:\n%s", out.String())
	}
}

func TestColoursOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := view(&out, watch.Options{Terminal: true, Colour: true}).Show(run(2, "running", step("a", "failed"))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\x1b[31mfailed") {
		t.Errorf("got %q", out.String())
	}
}

func TestTextOfOthersCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	for _, terminal := range []bool{true, false} {
		var out strings.Builder
		r := run(2, "failed", step("a\x1b[2J", "failed"))
		r.Title, r.Fault = "\x1b]0;evil\x07", &v1.Fault{Message: "bad\x1b[1m"}
		if err := view(&out, watch.Options{Terminal: terminal}).Show(r); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "\x07") {
			t.Errorf("terminal %v: %q", terminal, out.String())
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestAClosedOutputIsReported(t *testing.T) {
	t.Parallel()
	if err := watch.New(broken{}, watch.Options{}).Show(run(1, "running")); err == nil {
		t.Error("no error")
	}
}

func TestNumbersAndDurationsAreShort(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := watch.Number(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{1500 * time.Millisecond: "1.5s", 95 * time.Second: "1m35s", 3*time.Hour + 40*time.Second: "3h1m0s"} {
		if got := watch.Elapsed(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}
