package liblint

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/internal/schema"
	"github.com/hishamos/hishamos/library"
)

// mutation is an answer with one mistake in it.
type mutation struct {
	name   string // operator and place
	output json.RawMessage
}

// sites is at how many places of an answer the mistakes of an operator count:
// the first, the last and one between them. Otherwise mistakes that any schema
// notices would outnumber the others.
const sites = 3

// place is a value in an answer: and how to put another there.
type place struct {
	path   string
	name   string // of the property it is, or that its list is
	value  any
	kind   map[string]any // the schema it keeps to
	inList bool
	set    func(any) // changes the tree the place is in
}

// operator makes one kind of mistake. It says whether a place suits it, and
// what to put there.
type operator struct {
	name  string
	apply func(p place) (any, bool)
}

// operators are the mistakes that models make. Most break a schema, a quote, an
// id or a list; swapped values and changed numbers may leave an answer that
// nothing but a reader can doubt.
var operators = []operator{
	{"field removed", func(p place) (any, bool) { return without(p.value) }},
	{"field added", func(p place) (any, bool) {
		m, ok := p.value.(map[string]any)
		return with(m, "remark", "added"), ok
	}},
	{"wrong type", func(p place) (any, bool) { _, ok := p.value.(string); return 7, ok }},
	{"nothing instead", func(p place) (any, bool) { return nil, p.name != "" && !p.inList }},
	{"words for a list", func(p place) (any, bool) { _, ok := p.value.([]any); return "none", ok }},
	{"wrong enum", func(p place) (any, bool) { return "none of these", p.kind["enum"] != nil }},
	{"text emptied", func(p place) (any, bool) { s, ok := p.value.(string); return "", ok && s != "" }},
	{"text overlong", func(p place) (any, bool) {
		s, ok := p.value.(string)
		return strings.Repeat(s+" ", 300/max(1, words(s))+1), ok && words(s) > 2 && !copiedField(p.name)
	}},
	{"language switched", func(p place) (any, bool) {
		s, ok := p.value.(string)
		return french, ok && words(s) > 4 && !copiedField(p.name)
	}},
	{"quote invented", func(p place) (any, bool) {
		s, ok := p.value.(string)
		return s + " and nobody ever wrote this", ok && s != "" && (p.name == "quote" || p.name == "before")
	}},
	{"number changed", func(p place) (any, bool) { return otherNumber(p.value) }},
	{"id reused", func(p place) (any, bool) { return reused(p.value) }},
	{"id malformed", func(p place) (any, bool) { s, ok := p.value.(string); return "the " + s, ok && isID(s) }},
	{"reference to nothing", func(p place) (any, bool) {
		s, ok := p.value.(string)
		prefix, _, _ := strings.Cut(s, "-")
		return prefix + "-9999", ok && isID(s) && p.name != "id"
	}},
	{"item doubled", func(p place) (any, bool) {
		list, ok := p.value.([]any)
		if !ok || len(list) == 0 {
			return nil, false
		}
		return append(slices.Clone(list), list[len(list)-1]), true
	}},
	{"item dropped", func(p place) (any, bool) {
		list, ok := p.value.([]any)
		if !ok || len(list) == 0 {
			return nil, false
		}
		return list[1:], true
	}},
	{"value swapped", func(p place) (any, bool) {
		if b, ok := p.value.(bool); ok {
			return !b, true
		}
		list, ok := p.kind["enum"].([]any)
		for _, v := range list {
			if v != p.value {
				return v, ok
			}
		}
		return nil, false
	}},
}

const french = "C'est une phrase qui n'est pas dans la langue de la source et que les lecteurs ne peuvent pas lire."

func isID(s string) bool {
	prefix, number, ok := strings.Cut(s, "-")
	return ok && len(prefix) == 1 && number != "" && strings.Trim(number, "0123456789") == ""
}

func copiedField(name string) bool { return name == "quote" || name == "before" || name == "after" }

func without(v any) (any, bool) {
	m, ok := v.(map[string]any)
	if !ok || len(m) == 0 {
		return nil, false
	}
	m = maps.Clone(m)
	delete(m, slices.Sorted(maps.Keys(m))[0])
	return m, true
}

func with(m map[string]any, name string, v any) map[string]any {
	m = maps.Clone(m)
	if m != nil {
		m[name] = v
	}
	return m
}

// otherNumber changes a number, or the first figure of a text.
func otherNumber(v any) (any, bool) {
	switch v := v.(type) {
	case float64:
		return v + 1000, true
	case string:
		i := strings.IndexAny(v, "0123456789")
		if i < 0 || isID(v) || words(v) < 2 {
			return nil, false
		}
		return v[:i] + "77" + v[i:], true
	}
	return nil, false
}

// reused gives the last record of a list the id of the first.
func reused(v any) (any, bool) {
	list, ok := v.([]any)
	if !ok || len(list) < 2 {
		return nil, false
	}
	first, ok := list[0].(map[string]any)
	last, ok2 := list[len(list)-1].(map[string]any)
	if !ok || !ok2 || first["id"] == nil {
		return nil, false
	}
	list = slices.Clone(list)
	list[len(list)-1] = with(last, "id", first["id"])
	return list, true
}

// mutate makes every mistake at every place of an answer it suits, or only at
// those that count.
func mutate(root map[string]any, output json.RawMessage, all bool) ([]mutation, error) {
	list, err := places(root, output)
	if err != nil {
		return nil, err
	}
	var made []mutation
	for _, op := range operators {
		var fitting []int
		for i, p := range list {
			if _, ok := op.apply(p); ok {
				fitting = append(fitting, i)
			}
		}
		if !all {
			fitting = spread(fitting)
		}
		for _, i := range fitting {
			var tree any // a fresh one: places write into it
			if err := json.Unmarshal(output, &tree); err != nil {
				return nil, err
			}
			holder := []any{tree}
			var fresh []place
			collect(&fresh, root, root, tree, place{set: func(v any) { holder[0] = v }})
			value, _ := op.apply(fresh[i])
			fresh[i].set(value)
			b, err := json.Marshal(holder[0])
			if err != nil {
				return nil, err
			}
			made = append(made, mutation{op.name + " at " + fresh[i].path, b})
		}
	}
	return made, nil
}

func spread(list []int) []int {
	if len(list) <= sites {
		return list
	}
	return []int{list[0], list[len(list)/2], list[len(list)-1]}
}

func places(root map[string]any, output json.RawMessage) ([]place, error) {
	var tree any
	if err := json.Unmarshal(output, &tree); err != nil {
		return nil, err
	}
	var list []place
	collect(&list, root, root, tree, place{set: func(any) {}})
	return list, nil
}

// collect lists a value and all within it, in a fixed order.
func collect(list *[]place, root, kind map[string]any, v any, p place) {
	p.value, p.kind = v, resolve(root, kind)
	*list = append(*list, p)
	switch v := v.(type) {
	case map[string]any:
		properties, _ := p.kind["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			inner, _ := properties[name].(map[string]any)
			collect(list, root, inner, v[name], place{path: p.path + "/" + name, name: name, set: func(x any) { v[name] = x }})
		}
	case []any:
		items, _ := p.kind["items"].(map[string]any)
		for i := range v {
			collect(list, root, items, v[i], place{path: fmt.Sprintf("%s/%d", p.path, i), name: p.name, inList: true, set: func(x any) { v[i] = x }})
		}
	}
}

// resolve follows a reference to a shared type.
func resolve(root, kind map[string]any) map[string]any {
	for {
		ref, ok := kind["$ref"].(string)
		if !ok {
			return kind
		}
		defs, _ := root["$defs"].(map[string]any)
		kind, _ = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
}

// The bounds of how well a template's checks must notice mistakes.
const (
	minMutations = 10  // of each golden answer
	minKilled    = 0.8 // of a template's mutations
)

// CheckMutations puts mistakes into the golden answers of a template: schema and
// validators must notice four in five, and each validator one. It takes longer
// than all other rules and is not part of Check.
func CheckMutations(t *library.Template) []Finding {
	c := &checker{item: "template:" + t.ID}
	var root map[string]any
	s, err := schema.Compile(t.AnswerSchema())
	if err == nil {
		err = json.Unmarshal(t.AnswerSchema(), &root)
	}
	if err == nil {
		err = c.checkMutations(t, root, s)
	}
	if err != nil {
		c.add("mutations/made", "%v", err)
	}
	return c.findings
}

func (c *checker) checkMutations(t *library.Template, root map[string]any, s *schema.Schema) error {
	useful, total := map[string]bool{}, 0
	var survivors []string
	for _, g := range t.Golden {
		list, err := mutate(root, g.Output, false)
		if err != nil {
			return err
		}
		if len(list) < minMutations {
			c.add("mutations/made", "%s allows %d mistakes only, not %d", g.ID, len(list), minMutations)
		}
		total += len(list)
		for _, m := range list {
			noticed := len(s.Check(m.output)) > 0
			useful["schema"] = useful["schema"] || noticed
			for _, id := range broken(t, g, m) {
				useful[id], noticed = true, true
			}
			if !noticed {
				survivors = append(survivors, g.ID+": "+m.name)
			}
		}
	}
	if killed := total - len(survivors); float64(killed) < minKilled*float64(total) {
		c.add("mutations/killed", "%d of %d mistakes are noticed; not noticed: %s", killed, total, strings.Join(survivors, "; "))
	}
	if !useful["schema"] {
		c.add("mutations/useful", "the schema notices no mistake")
	}
	for _, v := range t.Validators {
		if useful[v.ID] {
			continue
		}
		if ok, err := noticesAny(t, root, v); err != nil {
			return err
		} else if !ok {
			c.add("mutations/useful", "validator %s notices no mistake", v.ID)
		}
	}
	return nil
}

// noticesAny tries the mistakes that do not count: a validator may be about a
// place of its own.
func noticesAny(t *library.Template, root map[string]any, v library.Validator) (bool, error) {
	alone := &library.Template{Validators: []library.Validator{v}}
	for _, g := range t.Golden {
		list, err := mutate(root, g.Output, true)
		if err != nil {
			return false, err
		}
		for _, m := range list {
			if len(broken(alone, g, m)) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// broken are the ids of the validators that notice a mistake.
func broken(t *library.Template, g library.Golden, m mutation) (ids []string) {
	wrong, warnings := t.CheckRules(g.Input, m.output)
	for _, line := range slices.Concat(wrong, warnings) {
		id, _, _ := strings.Cut(line, ":")
		ids = append(ids, id)
	}
	return ids
}
