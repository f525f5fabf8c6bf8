package expr

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/hishamos/hishamos/domain"
)

// Check compiles every expression of a definition that passed Validate, and
// refuses names that mean nothing: inputs that are not declared, steps that do
// not exist, and steps that the naming step does not need. The error is an
// *domain.Error whose field is like steps[2].when.
func Check(d domain.Definition) error {
	c := checker{parameters: make(map[string]bool, len(d.Parameters)), steps: make(map[string]*domain.Step, len(d.Steps))}
	for _, p := range d.Parameters {
		c.parameters[p.Name] = true
	}
	for i := range d.Steps {
		c.steps[d.Steps[i].ID] = &d.Steps[i]
	}
	for i := range d.Steps {
		s := &d.Steps[i]
		if s.When == "" && len(s.With) == 0 {
			continue
		}
		at := fmt.Sprintf("steps[%d]", i)
		if s.When != "" {
			if err := c.condition(at+".when", s.When, s); err != nil {
				return err
			}
		}
		if err := c.value(at+".with", s.With, s); err != nil {
			return err
		}
	}
	for _, name := range keys(d.Outputs) {
		at := "outputs." + name
		if _, ok := expression(d.Outputs[name]); !ok {
			return domain.InvalidDefinition(at, "is not an expression", "write it like ${steps.plan.output}")
		}
		if err := c.value(at, d.Outputs[name], nil); err != nil {
			return err
		}
	}
	return nil
}

type checker struct {
	parameters map[string]bool
	steps      map[string]*domain.Step
}

func (c checker) condition(at, source string, s *domain.Step) error {
	if strings.HasPrefix(source, "${") {
		return domain.InvalidDefinition(at, "a condition is an expression already", "write it without ${ and }")
	}
	p, err := c.expression(at, source, s)
	if err != nil {
		return err
	}
	if !p.result.IsExactType(cel.BoolType) && !p.result.IsExactType(cel.DynType) {
		return domain.InvalidDefinition(at, fmt.Sprintf("is a %s, not true or false", p.result), "compare it with something")
	}
	return nil
}

// value checks every text of a value, at any depth. A nil step stands for the
// end of the run, which may name every step.
func (c checker) value(at string, v any, s *domain.Step) error {
	switch v := v.(type) {
	case string:
		return c.text(at, v, s)
	case map[string]any:
		for _, key := range keys(v) {
			if err := c.value(join(at, key), v[key], s); err != nil {
				return err
			}
		}
	case []any:
		for i := range v {
			if err := c.value(fmt.Sprintf("%s[%d]", at, i), v[i], s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c checker) text(at, text string, s *domain.Step) error {
	if source, ok := expression(text); ok {
		_, err := c.expression(at, source, s)
		return err
	}
	if strings.Contains(strings.ReplaceAll(text, "$${", ""), "${") {
		return domain.InvalidDefinition(at, "an expression must be the whole value", `write ${"Dear " + inputs.name}, or $${ for a literal ${`)
	}
	return nil
}

func (c checker) expression(at, source string, s *domain.Step) (*program, error) {
	p, err := compile(source)
	if e, ok := errors.AsType[*Error](err); ok {
		return nil, domain.InvalidDefinition(at, e.Error(), "see the expressions page of the reference")
	}
	for _, name := range p.inputs {
		if !c.parameters[name] {
			return nil, domain.InvalidDefinition(at, fmt.Sprintf("there is no input %q", name), "declare it under parameters")
		}
	}
	for _, r := range p.steps {
		if _, ok := c.steps[r.id]; !ok {
			return nil, domain.InvalidDefinition(at, fmt.Sprintf("there is no step %q", r.id), "name a step of this workflow")
		}
		if s != nil && !c.needs(s, r.id, map[string]bool{}) {
			return nil, domain.InvalidDefinition(at, fmt.Sprintf("step %q may not have ended by then", r.id), fmt.Sprintf("add %s to needs", r.id))
		}
	}
	return p, nil
}

// needs reports whether a step waits for another, directly or through others.
func (c checker) needs(s *domain.Step, id string, seen map[string]bool) bool {
	for _, need := range s.Needs {
		if need == id {
			return true
		}
	}
	for _, need := range s.Needs {
		if !seen[need] {
			seen[need] = true
			if c.needs(c.steps[need], id, seen) {
				return true
			}
		}
	}
	return false
}
