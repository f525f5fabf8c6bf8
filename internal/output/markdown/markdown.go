// Package markdown renders the outputs of runs and tasks as Markdown.
//
// It must not know which template made an output: it goes by the shape, so that
// a new template needs no code here. It imports api/v1, internal/output/plain
// and the standard library.
//
// Start reading at Run; shapes.go has the shapes that have a form of their own.
package markdown

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/output/plain"
)

// simulated stands above everything that no model answered.
const simulated = "> **SIMULATED**: no model was called. This is sample text of the built-in provider.\n\n"

// Run renders the outputs of a run. A run without outputs is rendered by the
// results of its steps.
func Run(r v1.Run) string {
	var w writer
	title := r.Title
	if title == "" {
		title = r.Workflow.ID
	}
	w.line("# %s\n", inline(title))
	w.line("Run `%s`, workflow %s version %d: **%s**.\n", code(r.ID), inline(r.Workflow.ID), r.Workflow.Version, inline(r.State))
	if r.Cost.Simulated || slices.ContainsFunc(r.Steps, func(s v1.Step) bool { return s.Simulated }) {
		w.b.WriteString(simulated)
	}
	if r.Fault != nil {
		w.line("**Failed**: %s (`%s`)\n", inline(r.Fault.Message), code(r.Fault.Code))
	}
	if r.Reason != "" {
		w.line("**Reason**: %s\n", inline(r.Reason))
	}
	if len(r.Outputs) > 0 {
		for _, name := range ordered(r.Outputs) {
			w.output(name, r.Outputs[name])
		}
		return w.String()
	}
	for _, s := range r.Steps {
		if len(s.Output) > 0 {
			w.output(s.Path, s.Output)
		}
	}
	return w.String()
}

// leading are the outputs that a reader looks for first, where there are any.
var leading = []string{"summary", "verdict", "outcome", "stories", "points", "triage", "brief"}

// ordered lists what leads, then the rest by name.
func ordered(outputs map[string]json.RawMessage) []string {
	names := slices.Sorted(maps.Keys(outputs))
	rank := func(name string) int {
		if i := slices.Index(leading, name); i >= 0 {
			return i
		}
		return len(leading)
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return names
}

// Task renders the result of a task.
func Task(t v1.Task) string {
	var w writer
	title := t.Title
	if title == "" {
		title = t.ID
	}
	w.line("# %s\n", inline(title))
	w.line("Task `%s`: **%s**.\n", code(t.ID), inline(t.State))
	if t.Simulated || t.Cost.Simulated {
		w.b.WriteString(simulated)
	}
	if t.Fault != nil && t.State != v1.StepCompleted {
		w.line("**Failed**: %s (`%s`)\n", inline(t.Fault.Message), code(t.Fault.Code))
	}
	if len(t.Output) > 0 {
		w.output("result", t.Output)
	}
	return w.String()
}

// writer collects Markdown.
type writer struct{ b strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

func (w *writer) String() string { return strings.TrimRight(w.b.String(), "\n") + "\n" }

func (w *writer) output(name string, raw json.RawMessage) {
	w.line("## %s\n", heading(name))
	v, err := decode(raw)
	if err != nil {
		w.line("```\n%s\n```\n", strings.ReplaceAll(plain.Text(string(raw)), "```", "'''"))
		return
	}
	w.value(v, 3)
}

// object keeps the order of its members: authors of schemas put what matters
// first.
type object struct {
	names  []string
	values map[string]any
}

func (o object) text(names ...string) string {
	for _, n := range names {
		if s, ok := o.values[n].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// decode reads JSON into object, []any, string, json.Number, bool and nil.
func decode(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := decodeNext(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is more than one value")
	}
	return v, nil
}

func decodeNext(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := object{values: make(map[string]any)}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeNext(d)
			if err != nil {
				return nil, err
			}
			key := fmt.Sprint(name)
			if _, twice := o.values[key]; !twice {
				o.names = append(o.names, key)
			}
			o.values[key] = v
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		items := []any{}
		for d.More() {
			v, err := decodeNext(d)
			if err != nil {
				return nil, err
			}
			items = append(items, v)
		}
		_, err := d.Token()
		return items, err
	}
	return t, nil
}

// maxHeading is the deepest heading; what lies deeper becomes lists.
const maxHeading = 5

// value renders any value at a level of headings.
func (w *writer) value(v any, level int) {
	switch v := v.(type) {
	case object:
		if w.known(v, level) {
			return
		}
		w.members(v, level, nil)
	case []any:
		w.list(v, level)
	case string:
		w.line("%s\n", block(v))
	default:
		w.line("%s\n", scalar(v))
	}
}

// members renders those members of an object that were not rendered before:
// short ones as a list, long ones under headings.
func (w *writer) members(o object, level int, done []string) {
	var long []string
	short := 0
	for _, n := range o.names {
		if slices.Contains(done, n) || empty(o.values[n]) {
			continue
		}
		if !isShort(o.values[n]) {
			long = append(long, n)
			continue
		}
		w.line("- **%s**: %s", heading(n), scalar(o.values[n]))
		short++
	}
	if short > 0 {
		w.line("")
	}
	for _, n := range long {
		if level <= maxHeading {
			w.line("%s %s\n", strings.Repeat("#", level), heading(n))
		} else {
			w.line("**%s**\n", heading(n))
		}
		w.value(o.values[n], level+1)
	}
}

func (w *writer) list(items []any, level int) {
	if len(items) == 0 {
		w.line("None.\n")
		return
	}
	if w.table(items) {
		return
	}
	plainItems := true
	for i, item := range items {
		if isShort(item) {
			w.line("- %s", scalar(item))
			continue
		}
		plainItems = false
		name := fmt.Sprint(i + 1)
		if o, ok := item.(object); ok {
			if t := o.text("title", "name", "id", "story_id"); t != "" {
				name = t
			} else if t := o.text("point", "aspect", "criterion"); t != "" {
				name = heading(t)
			}
		}
		if level <= maxHeading {
			w.line("%s %s\n", strings.Repeat("#", level), inline(name))
		} else {
			w.line("**%s**\n", inline(name))
		}
		w.value(item, level+1)
	}
	if plainItems {
		w.line("")
	}
}

// table renders a list of flat objects with the same few members.
func (w *writer) table(items []any) bool {
	const maxColumns, maxCell = 5, 80
	first, ok := items[0].(object)
	if !ok || len(items) < 2 || len(first.names) < 2 || len(first.names) > maxColumns {
		return false
	}
	for _, item := range items {
		o, ok := item.(object)
		if !ok || !slices.Equal(o.names, first.names) {
			return false
		}
		for _, n := range o.names {
			if !isShort(o.values[n]) || len(scalar(o.values[n])) > maxCell {
				return false
			}
		}
	}
	row := func(cell func(string) string) {
		cells := make([]string, len(first.names))
		for i, n := range first.names {
			cells[i] = strings.ReplaceAll(cell(n), "|", "\\|")
		}
		w.line("| %s |", strings.Join(cells, " | "))
	}
	row(heading)
	row(func(string) string { return "---" })
	for _, item := range items {
		row(func(n string) string { return scalar(item.(object).values[n]) })
	}
	w.line("")
	return true
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case object:
		return len(v.names) == 0
	}
	return false
}

func isShort(v any) bool {
	switch v := v.(type) {
	case object, []any:
		return false
	case string:
		return !strings.Contains(strings.TrimSpace(v), "\n") && len(v) <= 400
	}
	return true
}

func scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return "–"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case string:
		return inline(v)
	}
	return fmt.Sprint(v)
}

// heading makes a title of a member's name.
func heading(name string) string {
	s := inline(strings.NewReplacer("_", " ", "-", " ").Replace(name))
	if s == "" {
		return s
	}
	r := []rune(s)
	return strings.ToUpper(string(r[0])) + string(r[1:])
}

// escaper keeps text of others from becoming markup: no images or links that
// load something, no HTML, no headings.
var escaper = strings.NewReplacer("\\", "\\\\", "<", "&lt;", "`", "\\`", "[", "\\[", "]", "\\]", "*", "\\*", "_", "\\_")

// inline is text inside a line.
func inline(s string) string { return escaper.Replace(plain.Line(s, 0)) }

func code(s string) string { return strings.ReplaceAll(plain.Line(s, 0), "`", "'") }

// block is text of several lines. It may be Markdown itself, so only what is
// active is taken out of it: HTML, and images, which would be loaded.
func block(s string) string {
	return strings.NewReplacer("<", "&lt;", "![", "!\\[").Replace(strings.TrimSpace(plain.Text(s)))
}
