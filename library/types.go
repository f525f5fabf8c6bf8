package library

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/domain"
)

// typesFile holds the JSON Schemas that answers share, such as finding and
// story.
type typesFile struct {
	Schema string         `json:"schema"`
	Kind   string         `json:"kind"`
	Types  map[string]any `json:"types"`
}

const refPrefix = "#/$defs/"

func (l *Library) loadTypes() error {
	const name = "types.yaml"
	data, err := fs.ReadFile(l.source, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r := &report{file: "library/" + name}
	n := parseSource(r, data)
	if n == nil {
		return r.err()
	}
	var f typesFile
	if !decode(r, n, &f) {
		return r.err()
	}
	if f.Schema != "types/v1" || f.Kind != "types" {
		r.add(n, "schema", "write schema: types/v1 and kind: types", "%q is not a known schema", f.Schema)
	}
	l.read().types = f.Types
	return r.err()
}

// TypeNames lists the shared types, sorted.
func (l *Library) TypeNames() []string { return slices.Sorted(maps.Keys(l.read().types)) }

// addTemplate completes a template's schema with the shared types it uses, and
// its hash with what they say.
func (l *Library) addTemplate(n *node, r *report, t *Template) {
	if err := domain.ValidateParameters(t.Parameters); err != nil {
		if e, ok := errors.AsType[*domain.Error](err); ok {
			r.add(n.at(splitField(e.Field)...), e.Field, e.Fix, "%s", e.Message)
		}
	}
	used := map[string]any{}
	for pending := refsIn(t.Output.Schema); len(pending) > 0; pending = pending[1:] {
		name := pending[0]
		if _, done := used[name]; done {
			continue
		}
		shared, ok := l.read().types[name]
		if !ok {
			r.add(n.at("output", "schema"), "output.schema", suggest(name, slices.Sorted(maps.Keys(l.read().types))), "there is no shared type %q", name)
			continue
		}
		used[name] = shared
		pending = append(pending, refsIn(shared)...)
	}
	whole := maps.Clone(t.Output.Schema)
	if whole == nil {
		whole = map[string]any{}
	}
	if len(used) > 0 {
		whole["$defs"] = used
	}
	b, err := json.Marshal(whole)
	if err != nil { // it was JSON
		r.add(n.at("output", "schema"), "output.schema", "", "%s", err)
	}
	t.schema = b
	t.hash = "sha256:" + sum(t.hash+"\n"+string(b))
	if _, err := parseTask(t); err != nil {
		r.add(n.at("prompt", "task"), "prompt.task", "see text/template", "%s", err)
	}
	l.read().templates[t.ID] = t
}

// refsIn lists the shared types a schema refers to, in a fixed order.
func refsIn(v any) []string {
	var found []string
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if s, ok := v[k].(string); ok && k == "$ref" && strings.HasPrefix(s, refPrefix) {
				found = append(found, strings.TrimPrefix(s, refPrefix))
				continue
			}
			found = append(found, refsIn(v[k])...)
		}
	case []any:
		for _, item := range v {
			found = append(found, refsIn(item)...)
		}
	}
	return found
}
