package liblint

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/internal/schema"
	"github.com/hishamos/hishamos/library"
)

// checkSchema: every object is closed and requires all it has, every property
// is described, and examples and golden answers keep to schema and validators.
func (c *checker) checkSchema(t *library.Template) {
	var root map[string]any
	if err := json.Unmarshal(t.AnswerSchema(), &root); err != nil {
		c.add("schema/json", "%v", err)
		return
	}
	c.closed(root, "output")
	s, err := schema.Compile(t.AnswerSchema())
	if err != nil {
		c.add("schema/valid", "%v", err)
		return
	}
	for i, e := range t.Prompt.Examples {
		b, err := json.Marshal(e.Output)
		if err != nil {
			c.add("schema/example", "example %d: %v", i+1, err)
			continue
		}
		for _, line := range s.Check(b) {
			c.add("schema/example", "example %d: %s", i+1, line)
		}
	}
	cases := map[string]int{}
	for _, g := range t.Golden {
		cases[g.Case]++
		for _, line := range s.Check(g.Output) {
			c.add("schema/golden", "%s: %s", g.ID, line)
		}
		wrong, warnings := t.CheckRules(g.Input, g.Output)
		for _, line := range slices.Concat(wrong, warnings) {
			c.add("schema/golden-rules", "%s: %s", g.ID, line)
		}
		if g.Authored == "" {
			c.add("schema/golden-author", "%s: the author of the answer is not named", g.ID)
		}
	}
	if cases["positive"] < 2 {
		c.add("schema/golden-cases", "there are %d positive cases, not two that differ", cases["positive"])
	}
	if cases["insufficient"]+cases["hostile"] == 0 {
		c.add("schema/golden-cases", "there is no insufficient or hostile case")
	}
	for _, v := range t.Validators {
		if !slices.Contains(library.ValidatorKinds, v.Kind) {
			c.add("schema/validator", "%s: %q is not a kind; use one of %s", v.ID, v.Kind, strings.Join(library.ValidatorKinds, ", "))
		}
		if v.Severity != "error" && v.Severity != "warning" {
			c.add("schema/validator", "%s: severity is %q, not error or warning", v.ID, v.Severity)
		}
		if v.Message == "" {
			c.add("schema/validator", "%s: the message that says how to repair is missing", v.ID)
		}
	}
}

func (c *checker) closed(node map[string]any, at string) {
	if properties, ok := node["properties"].(map[string]any); ok {
		if node["additionalProperties"] != false {
			c.add("schema/closed", "%s takes unknown properties", at)
		}
		required, _ := node["required"].([]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			p, ok := properties[name].(map[string]any)
			if !ok {
				c.add("schema/described", "%s.%s is not an object", at, name)
				continue
			}
			if !slices.Contains(required, any(name)) {
				c.add("schema/required", "%s.%s is not required; let it be empty instead", at, name)
			}
			c.described(p, at+"."+name)
			c.closed(p, at+"."+name)
		}
		if len(required) != len(properties) {
			c.add("schema/required", "%s requires what it does not have", at)
		}
	}
	if items, ok := node["items"].(map[string]any); ok {
		c.described(items, at+"[]")
		c.closed(items, at+"[]")
	}
	if defs, ok := node["$defs"].(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(defs)) {
			if d, ok := defs[name].(map[string]any); ok {
				c.described(d, "$defs."+name)
				c.closed(d, "$defs."+name)
			}
		}
	}
}

func (c *checker) described(node map[string]any, at string) {
	if _, shared := node["$ref"]; shared {
		return
	}
	if d, _ := node["description"].(string); d == "" {
		c.add("schema/described", "%s has no description", at)
	}
}
