package expr_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/expr"
)

// definition is a → b → c, and d beside them.
func definition() domain.Definition {
	return domain.Definition{
		ID: "test", Parameters: []domain.Parameter{{Name: "n", Type: "integer"}},
		Steps: []domain.Step{
			{ID: "a", Kind: domain.NoopStep},
			{ID: "b", Kind: domain.NoopStep, Needs: []string{"a"}},
			{ID: "c", Kind: domain.NoopStep, Needs: []string{"b"}},
			{ID: "d", Kind: domain.NoopStep},
		},
	}
}

func TestASoundDefinitionPasses(t *testing.T) {
	t.Parallel()
	d := definition()
	d.Steps[2].When = `steps.a.output.ok && inputs.n > 1`
	d.Steps[2].With = map[string]any{"x": "${steps.b.output}", "y": "costs $${5}", "z": []any{1, "${inputs}"}}
	d.Outputs = map[string]string{"all": "${[steps.c.output, steps.d.state]}"}
	if err := expr.Check(d); err != nil {
		t.Error(err)
	}
}

func TestMistakesInExpressionsAreFoundBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change         func(*domain.Definition)
		field, message string
	}{
		"syntax":          {func(d *domain.Definition) { d.Steps[2].When = "inputs.n >" }, "steps[2].when", "Syntax error"},
		"function":        {func(d *domain.Definition) { d.Steps[2].When = "now() > 1" }, "steps[2].when", "undeclared reference"},
		"type":            {func(d *domain.Definition) { d.Steps[2].When = "1 + 1" }, "steps[2].when", "not true or false"},
		"braces":          {func(d *domain.Definition) { d.Steps[2].When = "${true}" }, "steps[2].when", "already"},
		"unknown input":   {func(d *domain.Definition) { d.Steps[2].When = "inputs.m > 1" }, "steps[2].when", `no input "m"`},
		"unknown step":    {func(d *domain.Definition) { d.Steps[2].When = `steps.q.state == ""` }, "steps[2].when", `no step "q"`},
		"not needed":      {func(d *domain.Definition) { d.Steps[2].When = `steps.d.state == ""` }, "steps[2].when", "may not have ended"},
		"itself":          {func(d *domain.Definition) { d.Steps[2].When = `steps.c.state == ""` }, "steps[2].when", "may not have ended"},
		"a later one":     {func(d *domain.Definition) { d.Steps[1].When = `steps.c.state == ""` }, "steps[1].when", "may not have ended"},
		"field of a step": {func(d *domain.Definition) { d.Steps[2].When = `steps.a.outptu == ""` }, "steps[2].when", "say what of step a"},
		"any step":        {func(d *domain.Definition) { d.Steps[2].When = `size(steps) > 1` }, "steps[2].when", "must be named"},
		"deep in with": {func(d *domain.Definition) {
			d.Steps[3].With = map[string]any{"l": []any{map[string]any{"x": "${inputs.m}"}}}
		}, "steps[3].with.l[0].x", "no input"},
		"part of a text": {func(d *domain.Definition) { d.Steps[3].With = map[string]any{"x": "Dear ${inputs.n}"} }, "steps[3].with.x", "whole value"},
		"two in a text":  {func(d *domain.Definition) { d.Steps[3].With = map[string]any{"x": "${inputs.n} ${inputs.n}"} }, "steps[3].with.x", "yntax error"},
		"bare output":    {func(d *domain.Definition) { d.Outputs = map[string]string{"x": "steps.a.output"} }, "outputs.x", "not an expression"},
		"output":         {func(d *domain.Definition) { d.Outputs = map[string]string{"x": "${steps.q.output}"} }, "outputs.x", "no step"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := definition()
			c.change(&d)
			err := expr.Check(d)
			e, ok := errors.AsType[*domain.Error](err)
			if !ok || !errors.Is(err, domain.ErrInvalidDefinition) || e.Field != c.field || !strings.Contains(e.Message, c.message) || e.Fix == "" {
				t.Errorf("got %+v", err)
			}
		})
	}
}
