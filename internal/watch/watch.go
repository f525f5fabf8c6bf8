// Package watch shows a run while it goes on: a table that is redrawn in a
// terminal, or a line per change elsewhere.
//
// It must not know where the runs come from. It imports api/v1, internal/output/
// plain and go-pretty. Start reading at View.
package watch

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/output/plain"
)

// Options say what the output can do.
type Options struct {
	Terminal bool             // redraw in place
	Colour   bool             // NO_COLOR is the caller's to respect
	Width    int              // columns of the terminal; 0: 100
	Height   int              // lines of the terminal; 0: any
	Now      func() time.Time // nil: the machine's clock
}

// View shows one run. It is used by one goroutine. The first error of the
// output is kept and returned by every call.
type View struct {
	out   io.Writer
	opts  Options
	drawn int // lines on the screen
	last  v1.Run
	seen  bool
	err   error
}

// New returns a view that writes to out.
func New(out io.Writer, opts Options) *View {
	if opts.Width == 0 {
		opts.Width = 100
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &View{out: out, opts: opts}
}

// Show shows the run as it stands now.
func (v *View) Show(r v1.Run) error {
	if v.seen && r.Version < v.last.Version {
		return v.err // an older answer that came late
	}
	if v.opts.Terminal {
		v.redraw(r)
	} else {
		v.changes(r)
	}
	v.last, v.seen = r, true
	return v.err
}

// Tick moves the clocks of a terminal on; call it every second or so.
func (v *View) Tick() error {
	if v.opts.Terminal && v.seen && !v1.Final(v.last.State) {
		v.redraw(v.last)
	}
	return v.err
}

func (v *View) print(s string) {
	if v.err == nil {
		_, v.err = io.WriteString(v.out, s)
	}
}

// redraw replaces what is on the screen.
func (v *View) redraw(r v1.Run) {
	screen := v.screen(r)
	if v.drawn > 0 {
		screen = fmt.Sprintf("\x1b[%dA\x1b[J", v.drawn) + screen
	}
	v.drawn = strings.Count(screen, "\n")
	v.print(screen)
}

// Columns that do not depend on the width: mark, state, tokens, cost, elapsed
// and the borders.
const fixedColumns = 62

func (v *View) screen(r v1.Run) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options.SeparateRows = false
	t.AppendHeader(table.Row{"Step", "Agent", "State", "Tokens", "Cost", "Elapsed"})
	wide := max(10, (v.opts.Width-fixedColumns)/2)
	steps, hidden := v.fitting(r.Steps)
	for _, s := range steps {
		t.AppendRow(table.Row{
			plain.Line(s.Path, wide), plain.Line(agentOf(s), wide), v.paint(s.State, stateOf(s)),
			Number(s.Cost.Tokens.Total()), s.Cost.Amount.USD(), Elapsed(v.elapsed(s)),
		})
	}
	right := []table.ColumnConfig{{Number: 4, Align: text.AlignRight}, {Number: 5, Align: text.AlignRight}, {Number: 6, Align: text.AlignRight}}
	t.SetColumnConfigs(right)
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  %s\n", plain.Line(r.ID, 0), plain.Line(title(r), max(10, v.opts.Width-60)), v.paint(r.State, r.State))
	b.WriteString(t.Render() + "\n")
	if hidden > 0 {
		fmt.Fprintf(&b, "and %d more steps\n", hidden)
	}
	b.WriteString(summary(r, v.runElapsed(r)) + "\n")
	return b.String()
}

// fitting leaves out steps for which a terminal has no line: first those that
// wait, then the oldest. What scrolled away could not be redrawn.
func (v *View) fitting(steps []v1.Step) (shown []v1.Step, hidden int) {
	const around = 8 // lines of the header, the borders and the summary
	room := max(1, v.opts.Height-around)
	if v.opts.Height == 0 || len(steps) <= room {
		return steps, 0
	}
	for _, s := range steps {
		if s.State != v1.StepWaiting {
			shown = append(shown, s)
		}
	}
	shown = shown[max(0, len(shown)-room):]
	return shown, len(steps) - len(shown)
}

// changes prints a line for everything that differs from the run shown before.
func (v *View) changes(r v1.Run) {
	if !v.seen {
		v.print(fmt.Sprintf("%s run %s: %s %s\n", v.stamp(), plain.Line(r.ID, 0), plain.Line(title(r), 0), r.State))
	}
	before := make(map[string]v1.Step, len(v.last.Steps))
	for _, s := range v.last.Steps {
		before[s.Path] = s
	}
	for _, s := range r.Steps {
		old, known := before[s.Path]
		if known && old.State == s.State && old.Attempt == s.Attempt || !known && s.State == v1.StepWaiting {
			continue
		}
		line := fmt.Sprintf("%s %s: %s", v.stamp(), plain.Line(s.Path, 0), stateOf(s))
		if a := agentOf(s); a != "" {
			line += " by " + plain.Line(a, 0)
		}
		if n := s.Cost.Tokens.Total(); n > 0 {
			line += fmt.Sprintf(", %s tokens, %s", Number(n), s.Cost.Amount.USD())
		}
		if s.Ended != nil {
			line += ", " + Elapsed(v.elapsed(s))
		}
		if s.Fault != nil && (s.State == v1.StepFailed || s.State == v1.StepRetrying) {
			line += ": " + plain.Line(s.Fault.Message, 200)
		}
		v.print(line + "\n")
	}
	if v1.Final(r.State) && (!v.seen || v.last.State != r.State) {
		v.print(v.stamp() + " " + summary(r, v.runElapsed(r)) + "\n")
	}
}

func (v *View) stamp() string { return v.opts.Now().Format("15:04:05") }

func title(r v1.Run) string {
	if r.Title != "" {
		return r.Title
	}
	return r.Workflow.ID
}

func agentOf(s v1.Step) string {
	if s.Agent == nil {
		return ""
	}
	return s.Agent.ID
}

// stateOf is a step's state with its attempt, if it is not the first.
func stateOf(s v1.Step) string {
	if s.Attempt > 1 {
		return fmt.Sprintf("%s (attempt %d)", s.State, s.Attempt)
	}
	return s.State
}

func (v *View) elapsed(s v1.Step) time.Duration {
	from := s.Started
	if from == nil {
		from = s.Scheduled
	}
	if from == nil {
		return 0
	}
	return v.between(*from, s.Ended)
}

func (v *View) runElapsed(r v1.Run) time.Duration { return v.between(r.Started, r.Ended) }

func (v *View) between(from time.Time, to *time.Time) time.Duration {
	if to == nil {
		now := v.opts.Now()
		to = &now
	}
	return max(0, to.Sub(from))
}

// summary is the run in one line.
func summary(r v1.Run, took time.Duration) string {
	s := fmt.Sprintf("run %s: %d of %d steps, %s tokens, %s, %s", r.State, r.Progress.Done, r.Progress.Total,
		Number(r.Cost.Tokens.Total()), r.Cost.Amount.USD(), Elapsed(took))
	if r.Cost.Simulated {
		s += ", SIMULATED: no model was called"
	}
	if r.Fault != nil {
		s += ": " + plain.Line(r.Fault.Message, 200)
	}
	if r.Reason != "" {
		s += ": " + plain.Line(r.Reason, 200)
	}
	return s
}

func (v *View) paint(state, label string) string {
	if !v.opts.Colour {
		return label
	}
	switch state {
	case v1.StepCompleted:
		return text.Colors{text.FgGreen}.EscapeSeq() + label + text.EscapeReset
	case v1.StepFailed:
		return text.Colors{text.FgRed}.EscapeSeq() + label + text.EscapeReset
	case v1.StepScheduled, v1.StepRetrying, v1.RunRunning:
		return text.Colors{text.FgYellow}.EscapeSeq() + label + text.EscapeReset
	}
	return label
}

// Number prints a count with thousands apart.
func Number(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Elapsed prints a duration as short as it is precise enough to follow.
func Elapsed(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}
