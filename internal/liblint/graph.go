package liblint

import (
	"errors"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/library"
)

// skeleton is the one stock workflow that may have fewer than four steps.
const skeleton = "two-step"

func (c *checker) checkTemplateGraph(t *library.Template) {
	if t.Status != "published" && t.Status != "draft" && t.Status != "withdrawn" {
		c.add("graph/status", "%q is not a status", t.Status)
	}
	if !slices.Contains([]string{"none", "reads", "proposes"}, t.Effect) {
		c.add("graph/effect", "%q is not an effect a template may have yet", t.Effect)
	}
	if len(t.Agents.Recommended) == 0 {
		c.add("graph/agents", "no agent is recommended")
	}
	for _, id := range append(slices.Clone(t.Agents.Recommended), t.Agents.Fallback) {
		if _, ok := c.lib.Agent(id); !ok && id != "" {
			c.add("graph/agents", "there is no agent %q", id)
		}
	}
	for _, id := range t.Agents.Recommended {
		if a, ok := c.lib.Agent(id); ok && !serves(a, t.ID) {
			c.add("graph/capability", "no capability of %s names it", id)
		}
	}
	others := slices.Concat(t.Feeds, t.SeeAlso)
	for _, n := range t.DistinctFrom {
		others = append(others, n.ID)
	}
	for _, id := range others {
		if _, ok := c.lib.Template(id); !ok || id == t.ID {
			c.add("graph/neighbours", "there is no other template %q", id)
		}
	}
	if len(t.DistinctFrom) == 0 {
		c.add("graph/neighbours", "distinct_from names nobody")
	}
}

func serves(a *library.Agent, template string) bool {
	for _, k := range a.Capabilities {
		if slices.Contains(k.Templates, template) {
			return true
		}
	}
	return false
}

func (c *checker) checkAgentGraph(a *library.Agent) {
	if len(a.Capabilities) == 0 || len(a.SuccessCriteria) == 0 || len(a.Permissions) == 0 {
		c.add("graph/complete", "capabilities, permissions and success criteria are needed")
	}
	for _, k := range a.Capabilities {
		if len(k.Templates) == 0 {
			c.add("graph/capability", "%s has no template", k.ID)
		}
		for _, id := range k.Templates {
			if _, ok := c.lib.Template(id); !ok {
				c.add("graph/capability", "%s: there is no template %q", k.ID, id)
			}
		}
		id, golden, _ := strings.Cut(k.Golden, "/")
		t, ok := c.lib.Template(id)
		if !ok || !slices.ContainsFunc(t.Golden, func(g library.Golden) bool { return g.ID == golden }) {
			c.add("graph/golden", "%s: there is no golden case %q", k.ID, k.Golden)
		}
	}
	for _, n := range a.NotFor {
		if _, ok := c.lib.Agent(n.HandTo); !ok && n.HandTo != "person" {
			c.add("graph/hand-over", "there is no agent %q", n.HandTo)
		}
	}
	if _, ok := c.lib.Agent(a.EscalatesTo); !ok && a.EscalatesTo != "person" {
		c.add("graph/hand-over", "there is no agent %q", a.EscalatesTo)
	}
}

func (c *checker) checkWorkflow(w *library.Workflow, checks []library.Check) {
	d := w.ToDefinition()
	for _, check := range checks {
		if err := check(d); err != nil {
			c.add("graph/definition", "%v", err)
		}
	}
	if d.Deadline == 0 || d.Summary == "" || len(d.Outputs) == 0 {
		c.add("graph/complete", "deadline, summary and outputs are needed")
	}
	if len(w.Golden) == 0 {
		c.add("graph/golden", "there is no golden run")
	}
	distinct, conditions, heads := map[string]bool{}, 0, map[string]int{}
	for _, s := range d.Steps {
		distinct[s.Template] = true
		heads[strings.Join(s.Needs, " ")]++
		if s.When != "" {
			conditions++
		}
		if s.Timeout == 0 || s.Retry.MaxAttempts == 0 {
			c.add("graph/step", "%s has no timeout or no retry", s.ID)
		}
		t, ok := c.lib.Template(s.Template)
		if !ok {
			continue // the reader refuses it
		}
		if !slices.Contains(t.Agents.Recommended, s.Agent) && t.Agents.Fallback != s.Agent {
			c.add("graph/agent", "%s: %s does not recommend %s", s.ID, t.ID, s.Agent)
		}
		c.checkLiterals(s, t)
	}
	parallel := slices.ContainsFunc(d.Steps, func(s domain.Step) bool { return heads[strings.Join(s.Needs, " ")] > 1 })
	if w.ID != skeleton && (len(distinct) < 4 || conditions == 0 || !parallel) {
		c.add("graph/shape", "a stock workflow has four different steps, a parallel branch and a condition")
	}
}

// checkLiterals: values that are no expressions keep to the parameter.
func (c *checker) checkLiterals(s domain.Step, t *library.Template) {
	for name, v := range s.With {
		if text, ok := v.(string); ok && strings.HasPrefix(text, "${") {
			continue
		}
		p, ok := t.Parameter(name)
		if !ok {
			continue
		}
		p.Default, p.Required = v, false
		if err := domain.ValidateParameters([]domain.Parameter{p}); err != nil {
			e, _ := errors.AsType[*domain.Error](err)
			c.add("graph/with", "%s.%s: %v", s.ID, name, e)
		}
	}
}
