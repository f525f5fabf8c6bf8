package markdown

import (
	"fmt"
	"strings"
)

// known renders the shapes that have a form of their own, wherever they are in
// an output: user stories, the points of a review, a triaged bug. It reports
// whether it did.
func (w *writer) known(o object, level int) bool {
	switch {
	case isStory(o):
		w.story(o, level)
	case isPoint(o):
		w.point(o, level)
	case isTriage(o):
		w.triage(o, level)
	default:
		return false
	}
	return true
}

// The names that templates use for the parts of a story.
var (
	storyRole    = []string{"as_a", "role", "actor", "persona"}
	storyWant    = []string{"i_want", "want", "goal", "capability"}
	storyBenefit = []string{"so_that", "benefit", "value", "reason"}
	storyTests   = []string{"acceptance_criteria", "acceptance", "criteria"}
)

func isStory(o object) bool { return o.text(storyRole...) != "" && o.text(storyWant...) != "" }

// story renders: As a …, I want …, so that …, and its criteria as a check list.
func (w *writer) story(o object, level int) {
	s := fmt.Sprintf("**As a** %s, **I want to** %s", without(o.text(storyRole...), "as a ", "as an "),
		without(o.text(storyWant...), "i want to ", "i want ", "to "))
	if b := o.text(storyBenefit...); b != "" {
		s += ", **so that** " + without(b, "so that ")
	}
	w.line("%s.\n", strings.TrimRight(s, "."))
	done := append(append(append([]string{"title", "name"}, storyRole...), storyWant...), storyBenefit...)
	for _, n := range storyTests {
		items, ok := o.values[n].([]any)
		if !ok {
			continue
		}
		done = append(done, n)
		w.line("Acceptance criteria:\n")
		for _, item := range items {
			w.line("- [ ] %s", criterion(item))
		}
		w.line("")
		break
	}
	w.members(o, level, done)
}

// criterion is one acceptance criterion: text, or given, when, then.
func criterion(v any) string {
	o, ok := v.(object)
	if !ok {
		return scalar(v)
	}
	if o.text("then") != "" {
		var parts []string
		for _, n := range []string{"given", "when", "then"} {
			if t := o.text(n); t != "" {
				parts = append(parts, "**"+n+"** "+without(t, n+" "))
			}
		}
		return strings.Join(parts, ", ")
	}
	if t := o.text("text", "criterion", "description", "title"); t != "" {
		return inline(t)
	}
	var parts []string
	for _, n := range o.names {
		if isShort(o.values[n]) {
			parts = append(parts, heading(n)+": "+scalar(o.values[n]))
		}
	}
	return strings.Join(parts, "; ")
}

// without drops words that the form says already.
func without(s string, prefixes ...string) string {
	s = inline(s)
	for _, p := range prefixes {
		if len(s) >= len(p) && strings.EqualFold(s[:len(p)], p) {
			return s[len(p):]
		}
	}
	return s
}

func isPoint(o object) bool {
	return o.text("verdict", "rating", "result") != "" && o.text("point", "aspect", "criterion") != ""
}

// point renders one point of a review: the verdict first, then the reason.
func (w *writer) point(o object, level int) {
	s := "**" + heading(o.text("verdict", "rating", "result")) + "**"
	if c := o.text("comment", "reason"); c != "" {
		s += ": " + inline(c)
	}
	w.line("%s\n", s)
	w.members(o, level, []string{"verdict", "rating", "result", "point", "aspect", "criterion", "comment", "reason"})
}

func isTriage(o object) bool {
	return o.text("severity") != "" && o.text("priority") != "" && o.text("component", "category", "assignee", "team") != ""
}

// triage renders a triaged bug: how bad, how soon, whose.
func (w *writer) triage(o object, level int) {
	w.line("**Severity %s, priority %s**, %s\n", inline(o.text("severity")), inline(o.text("priority")),
		inline(o.text("component", "category", "assignee", "team")))
	w.members(o, level, []string{"severity", "priority"})
}
