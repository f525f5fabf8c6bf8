package library

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/hishamos/hishamos/domain"
)

// Workflow is a stock workflow: a definition with the keys that only the
// library needs.
type Workflow struct {
	Schema      string             `json:"schema"`
	Kind        string             `json:"kind"`
	ID          string             `json:"id"`
	Version     int                `json:"version"`
	Title       string             `json:"title"`
	Summary     string             `json:"summary"`
	Description string             `json:"description"`
	Trigger     string             `json:"trigger,omitempty"` // manual
	Parameters  []domain.Parameter `json:"parameters"`
	Steps       []domain.Step      `json:"steps"`
	Outputs     map[string]string  `json:"outputs"`
	Deadline    domain.Duration    `json:"deadline"`
	Golden      []WorkflowGolden   `json:"golden,omitempty"`
	Authors     []string           `json:"authors,omitempty"`
	Review
	Changelog []Change `json:"changelog,omitempty"`
	hash      string
}

// WorkflowGolden is an example of a whole run.
type WorkflowGolden struct {
	ID      string            `json:"id"`
	Case    string            `json:"case"` // happy, branch or failure
	Input   map[string]any    `json:"input,omitempty"`
	Fixture map[string]string `json:"fixture,omitempty"` // parameter → file under library/
	Expect  GoldenExpectation `json:"expect"`
}

// GoldenExpectation says how a golden run ends on the simulated provider.
type GoldenExpectation struct {
	Completed []string `json:"completed"`
	Skipped   []string `json:"skipped,omitempty"`
}

// Ref names this version of the workflow.
func (w *Workflow) Ref() domain.Ref { return domain.Ref{ID: w.ID, Version: w.Version, Hash: w.hash} }

// ToDefinition returns the workflow as runs follow it, in its stored form: its
// hash is the same after a journey through JSON.
func (w *Workflow) ToDefinition() domain.Definition {
	return domain.Definition{
		ID: w.ID, Version: w.Version, Title: w.Title, Summary: w.Summary, Description: w.Description,
		Parameters: w.Parameters, Steps: w.Steps, Outputs: w.Outputs, Deadline: w.Deadline,
	}.Stored()
}

func (w *Workflow) header() (schema, kind, id string, version int) {
	return w.Schema, w.Kind, w.ID, w.Version
}
func (w *Workflow) setHash(h string) { w.hash = h }

// A Check looks at a definition for what this package cannot see, such as its
// expressions. A *domain.Error whose Field is a path is reported at the place
// of that path.
type Check func(domain.Definition) error

// ParseWorkflow reads a definition a user wrote, as YAML or JSON, and checks it
// as strictly as the library's own: keys, types, names, the graph, and the
// agents, templates and parameters it names. The error is Problems.
func (l *Library) ParseWorkflow(name string, data []byte, checks ...Check) (domain.Definition, error) {
	r := &report{file: name}
	n := parseSource(r, data)
	if n == nil {
		return domain.Definition{}, r.err()
	}
	var w Workflow
	if !decode(r, n, &w) {
		return domain.Definition{}, r.err()
	}
	r.checkHeader(n, &w)
	d := w.ToDefinition()
	r.checkDefinition(n, d, checks)
	if len(r.problems) == 0 {
		r.checkReferences(n, d, l)
	}
	if err := r.err(); err != nil {
		return domain.Definition{}, err
	}
	return d, nil
}

// checkDefinition reports what the domain refuses, at the place it names.
func (r *report) checkDefinition(n *node, d domain.Definition, checks []Check) {
	for _, check := range append([]Check{domain.Definition.Validate}, checks...) {
		err := check(d)
		if err == nil {
			continue
		}
		e, ok := errors.AsType[*domain.Error](err)
		if !ok {
			e = &domain.Error{Message: err.Error()}
		}
		r.add(n.at(splitField(e.Field)...), e.Field, e.Fix, "%s", e.Message)
		return // later checks rely on earlier ones
	}
}

// checkReferences reports agents, templates and parameters that do not exist.
func (r *report) checkReferences(n *node, d domain.Definition, l *Library) {
	for i, s := range d.Steps {
		if s.Kind != domain.AgentStep {
			continue
		}
		at := fmt.Sprintf("steps[%d]", i)
		if _, ok := l.read().agents[s.Agent]; !ok {
			r.add(n.at("steps", i, "agent"), at+".agent", suggest(s.Agent, l.AgentIDs()), "there is no agent %q", s.Agent)
		}
		t, ok := l.read().templates[s.Template]
		if !ok {
			r.add(n.at("steps", i, "template"), at+".template", suggest(s.Template, l.TemplateIDs()), "there is no template %q", s.Template)
			continue
		}
		var names []string
		for _, p := range t.Parameters {
			names = append(names, p.Name)
			if _, given := s.With[p.Name]; p.Required && !given {
				r.add(n.at("steps", i, "with"), at+".with", "add "+p.Name, "the template %s needs the parameter %q", t.ID, p.Name)
			}
		}
		for _, f := range n.at("steps", i, "with").fields {
			if _, known := s.With[f.name]; known && !slices.Contains(names, f.name) {
				r.add(&node{line: f.line, column: f.column}, at+".with."+f.name, suggest(f.name, names), "the template %s has no parameter %q", t.ID, f.name)
			}
		}
	}
}

var pathPart = regexp.MustCompile(`[^.\[\]]+|\[\d+\]`)

// splitField splits steps[2].needs[0] into its parts.
func splitField(field string) []any {
	var parts []any
	for _, p := range pathPart.FindAllString(field, -1) {
		if p[0] == '[' {
			i, err := strconv.Atoi(p[1 : len(p)-1])
			if err != nil { // more digits than any list has items
				return parts
			}
			parts = append(parts, i)
			continue
		}
		parts = append(parts, p)
	}
	return parts
}
