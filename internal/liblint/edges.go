package liblint

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/library"
)

// node is a place in the schema of a template's answer.
type node struct {
	template string // set if it is the whole answer
	root     map[string]any
	kind     map[string]any // with a reference to a shared type unresolved
}

func answer(t *library.Template) node {
	var root map[string]any
	if json.Unmarshal(t.AnswerSchema(), &root) != nil {
		return node{} // schema/json says so
	}
	return node{template: t.ID, root: root, kind: root}
}

// field follows one name.
func (n node) field(name string) (node, bool) {
	properties, _ := resolve(n.root, n.kind)["properties"].(map[string]any)
	inner, ok := properties[name].(map[string]any)
	return node{root: n.root, kind: inner}, ok
}

// typeName is a template's id, a shared type, such a type followed by [], or a
// type of JSON.
func (n node) typeName() string {
	if n.template != "" {
		return n.template
	}
	if ref, ok := n.kind["$ref"].(string); ok {
		return strings.TrimPrefix(ref, "#/$defs/")
	}
	kind, _ := n.kind["type"].(string)
	if items, ok := n.kind["items"].(map[string]any); ok && kind == "array" {
		return node{root: n.root, kind: items}.typeName() + "[]"
	}
	return kind
}

// accepts are the types a parameter takes from an earlier step.
func accepts(t *library.Template, parameter string) []string {
	var types []string
	for one := range strings.SplitSeq(t.Accepts[parameter], "|") {
		if one = strings.TrimSpace(one); one != "" {
			types = append(types, one)
		}
	}
	return types
}

// checkAccepts: a parameter that holds a result says of what, and the types
// exist; what the answer feeds has a parameter for it.
func (c *checker) checkAccepts(t *library.Template) {
	for _, p := range t.Parameters {
		if p.Type == "result" && t.Accepts[p.Name] == "" {
			c.add("types/accepts", "%q is a result; say of which type", p.Name)
		}
	}
	shared := c.lib.TypeNames()
	for _, name := range slices.Sorted(maps.Keys(t.Accepts)) {
		if p, ok := t.Parameter(name); !ok || p.Type != "result" {
			c.add("types/accepts", "there is no parameter %q of type result", name)
		}
		for _, one := range accepts(t, name) {
			if _, ok := c.lib.Template(one); !ok && !slices.Contains(shared, strings.TrimSuffix(one, "[]")) {
				c.add("types/accepts", "%s: %q is neither a shared type nor a template", name, one)
			}
		}
	}
	for _, id := range t.Feeds {
		if next, ok := c.lib.Template(id); ok && !feeds(answer(t), next) {
			c.add("types/feeds", "%s has no parameter for this answer or a part of it", id)
		}
	}
}

func feeds(from node, to *library.Template) bool {
	parts := []string{from.typeName()}
	properties, _ := from.kind["properties"].(map[string]any)
	for name := range properties {
		if part, ok := from.field(name); ok {
			parts = append(parts, part.typeName())
		}
	}
	for _, p := range to.Parameters {
		for _, one := range accepts(to, p.Name) {
			if slices.Contains(parts, one) {
				return true
			}
		}
	}
	return false
}

var (
	fromInput  = regexp.MustCompile(`^\$\{inputs\.([a-z0-9_]+)\}$`)
	fromStep   = regexp.MustCompile(`^\$\{steps\.([a-z0-9_]+)\.output((?:\.[a-z0-9_]+)*)\}$`)
	mention    = regexp.MustCompile(`steps\.([a-z0-9_]+)\.output((?:\.[a-z0-9_]+)*)(\()?`)
	comparison = regexp.MustCompile(`steps\.([a-z0-9_]+)\.output((?:\.[a-z0-9_]+)+) [!=]= "([^"]*)"`)
)

// edges looks at one workflow.
type edges struct {
	*checker
	definition domain.Definition
}

// checkEdges: every value that moves between steps exists in the answer it is
// taken from and fits the parameter it goes to.
func (c *checker) checkEdges(d domain.Definition) {
	e := edges{c, d}
	for _, s := range d.Steps {
		e.mentions(s.ID+".when", s.When)
		t, ok := c.lib.Template(s.Template)
		if !ok {
			continue // the reader refuses it
		}
		for _, name := range slices.Sorted(maps.Keys(s.With)) {
			text, ok := s.With[name].(string)
			p, declared := t.Parameter(name)
			if !ok || !declared {
				continue // graph/with and the reader
			}
			at := s.ID + "." + name
			e.mentions(at, text)
			if m := fromInput.FindStringSubmatch(text); m != nil {
				e.input(at, m[1], p)
			} else if m := fromStep.FindStringSubmatch(text); m != nil {
				e.output(at, m[1], m[2], t, p)
			} else if strings.Contains(text, "${") {
				c.add("types/edge", "%s: the type of %s cannot be seen; bind an input or a field of an answer", at, text)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Outputs)) {
		e.mentions("outputs."+name, d.Outputs[name])
	}
}

// follow finds a field of a step's answer.
func (e edges) follow(step, path string) (node, bool) {
	i := slices.IndexFunc(e.definition.Steps, func(s domain.Step) bool { return s.ID == step })
	if i < 0 {
		return node{}, false
	}
	t, ok := e.lib.Template(e.definition.Steps[i].Template)
	if !ok {
		return node{}, false
	}
	n := answer(t)
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "."), ".") {
		if name == "" {
			continue
		}
		if n, ok = n.field(name); !ok {
			return node{}, false
		}
	}
	return n, true
}

// mentions checks every field an expression names, and the values it compares
// fields with.
func (e edges) mentions(at, expression string) {
	for _, m := range mention.FindAllStringSubmatch(expression, -1) {
		path := m[2]
		if m[3] != "" { // the last name is a function
			path = path[:strings.LastIndex(path, ".")]
		}
		if _, ok := e.follow(m[1], path); !ok {
			e.add("types/field", "%s: the answer of %s has no field %s", at, m[1], strings.TrimPrefix(path, "."))
		}
	}
	for _, m := range comparison.FindAllStringSubmatch(expression, -1) {
		n, ok := e.follow(m[1], m[2])
		if !ok {
			continue
		}
		if list, ok := resolve(n.root, n.kind)["enum"].([]any); ok && !slices.Contains(list, any(m[3])) {
			e.add("types/value", "%s: steps.%s.output%s is never %q", at, m[1], m[2], m[3])
		}
	}
}

// input: a parameter of the workflow becomes one of a template.
func (e edges) input(at, name string, to domain.Parameter) {
	i := slices.IndexFunc(e.definition.Parameters, func(p domain.Parameter) bool { return p.Name == name })
	if i < 0 {
		return // graph/definition says so
	}
	from := e.definition.Parameters[i]
	if from.Type != to.Type {
		e.add("types/edge", "%s takes %s and gets %s of type %s", at, to.Type, name, from.Type)
	}
	for _, v := range from.Enum {
		if to.Type == "enum" && !slices.Contains(to.Enum, v) {
			e.add("types/edge", "%s does not take %q, which %s may be", at, v, name)
		}
	}
	if to.Required && !from.Required && from.Default == nil {
		e.add("types/edge", "%s is required and %s may be absent", at, name)
	}
	if to.Trust == "untrusted" && from.Trust != "untrusted" {
		e.add("types/edge", "%s is untrusted and %s is not declared so", at, name)
	}
}

// shapesOf are the types of JSON that a type of parameter takes.
var shapesOf = map[string]string{
	"string": "string", "text": "string", "document": "string", "code": "string", "diff": "string", "date": "string", "url": "string",
	"integer": "integer", "number": "number", "boolean": "boolean", "object": "object",
}

// output: a field of an answer becomes a parameter of a template.
func (e edges) output(at, step, path string, t *library.Template, to domain.Parameter) {
	n, ok := e.follow(step, path)
	if !ok {
		return // types/field says so
	}
	is := n.typeName()
	switch want := accepts(t, to.Name); {
	case to.Type == "result" && !slices.Contains(want, is):
		e.add("types/edge", "%s takes %s and gets %s", at, strings.Join(want, " or "), is)
	case to.Type == "list" && !strings.HasSuffix(is, "[]"), to.Type == "table" && !strings.HasSuffix(is, "[]"):
		e.add("types/edge", "%s takes a list and gets %s", at, is)
	case shapesOf[to.Type] != "" && resolve(n.root, n.kind)["type"] != shapesOf[to.Type]:
		e.add("types/edge", "%s takes %s and gets %s", at, to.Type, is)
	}
}

// checkCapabilities: what an agent says it takes and gives is what the
// templates that serve the capability take and give.
func (c *checker) checkCapabilities(a *library.Agent) {
	for _, k := range a.Capabilities {
		for _, id := range k.Templates {
			t, ok := c.lib.Template(id)
			if !ok {
				continue // graph/capability says so
			}
			if !slices.ContainsFunc(t.Parameters, func(p domain.Parameter) bool { return p.Type == k.Input }) {
				c.add("types/capability", "%s takes %s, and %s has no such parameter", k.ID, k.Input, id)
			}
			defs, _ := answer(t).root["$defs"].(map[string]any)
			if defs[k.Output] == nil && t.Output.Form != k.Output {
				c.add("types/capability", "%s gives %s, and %s neither has the form nor uses the type", k.ID, k.Output, id)
			}
		}
		if id, _, _ := strings.Cut(k.Golden, "/"); !slices.Contains(k.Templates, id) {
			c.add("types/capability", "%s: the golden case belongs to %s, which does not serve it", k.ID, id)
		}
	}
}

// readers are the permissions that parameters of a type need; other types hold
// nothing that could be read.
var readers = map[string]string{
	"diff": "diff:read", "result": "result:read",
	"text": "document:read", "document": "document:read", "code": "document:read", "list": "document:read",
}

// checkPermissions: an agent may do exactly what its templates need.
func (c *checker) checkPermissions(a *library.Agent) {
	needed := map[string]bool{"result:write": true}
	for _, k := range a.Capabilities {
		for _, id := range k.Templates {
			t, ok := c.lib.Template(id)
			if !ok {
				continue // graph/capability says so
			}
			for _, p := range t.Parameters {
				if r := readers[p.Type]; r != "" {
					needed[r] = true
				}
			}
		}
	}
	want := slices.Sorted(maps.Keys(needed))
	if have := slices.Sorted(slices.Values(a.Permissions)); !slices.Equal(have, want) {
		c.add("graph/permissions", "it has %v, and its templates need %v", have, want)
	}
}

// checkEffect: the effect of a template is not milder than that of its tools,
// and each agent recommended for it may use them.
func (c *checker) checkEffect(t *library.Template) {
	for _, id := range t.Agents.Recommended {
		a, ok := c.lib.Agent(id)
		if !ok {
			continue // graph/agents says so
		}
		for _, tool := range t.Tools {
			i := slices.IndexFunc(a.Tools, func(u library.ToolUse) bool { return u.ID == tool })
			if i < 0 {
				c.add("graph/tools", "%s may not use %s", id, tool)
			} else if slices.Index(library.Effects, a.Tools[i].Effect) > slices.Index(library.Effects, t.Effect) {
				c.add("graph/tools", "its effect %s is milder than that of %s, %s", t.Effect, tool, a.Tools[i].Effect)
			}
		}
	}
	if t.Effect == "reads" && len(t.Tools) == 0 {
		c.add("graph/tools", "its effect is reads, and it has no tool that could")
	}
}
