package simulated

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// generator walks a schema and fills it from a source.
type generator struct {
	root   map[string]any
	source *source
}

// spot is where in the answer a value stands, and what it is about.
type spot struct {
	name   string         // of the field
	list   string         // the list the field's record is in
	index  int            // in that list
	size   int            // of that list, if its size is fixed
	unit   *unit          // the piece of text the record is about
	record map[string]any // the earlier record the record is about
}

// maxDepth ends schemas that contain themselves.
const maxDepth = 12

func (g *generator) value(schema map[string]any, at spot, depth int) any {
	schema = g.resolve(schema)
	if v, ok := schema["const"]; ok {
		return v
	}
	if list, ok := schema["enum"].([]any); ok && len(list) > 0 {
		return g.choose(list, at)
	}
	switch kind(schema) {
	case "object":
		return g.object(schema, at, depth)
	case "array":
		return g.array(schema, at, depth)
	case "string":
		return g.text(schema, at)
	case "integer":
		return int64(g.number(schema, at))
	case "number":
		return g.number(schema, at)
	case "boolean":
		return g.truth(schema, at)
	}
	return nil
}

// resolve follows references and picks the first of alternatives.
func (g *generator) resolve(schema map[string]any) map[string]any {
	for range maxDepth {
		next := map[string]any(nil)
		if ref, ok := schema["$ref"].(string); ok {
			defs, _ := g.root["$defs"].(map[string]any)
			next, _ = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		for _, k := range []string{"anyOf", "oneOf"} {
			if list, ok := schema[k].([]any); ok && len(list) > 0 && next == nil {
				next, _ = list[0].(map[string]any)
			}
		}
		if next == nil {
			return schema
		}
		schema = next
	}
	return schema
}

func kind(schema map[string]any) string {
	switch t := schema["type"].(type) {
	case string:
		return t
	case []any:
		for _, one := range t {
			if s, ok := one.(string); ok && s != "null" {
				return s
			}
		}
	}
	if schema["properties"] != nil {
		return "object"
	}
	return ""
}

func (g *generator) object(schema map[string]any, at spot, depth int) any {
	out := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range sorted(properties) {
		if depth >= maxDepth && !slices.Contains(required, any(name)) {
			continue
		}
		inner, ok := properties[name].(map[string]any)
		if !ok {
			continue
		}
		next := at
		next.name = name
		out[name] = g.value(inner, next, depth+1)
	}
	return out
}

func (g *generator) array(schema map[string]any, at spot, depth int) any {
	item, _ := schema["items"].(map[string]any)
	item = g.resolve(item)
	least, most := bound(schema, "minItems", 0), bound(schema, "maxItems", 40)
	if depth >= maxDepth {
		most = least
	}
	if kind(item) != "object" {
		return g.scalarsOf(item, at, least, most, depth)
	}
	properties, _ := item["properties"].(map[string]any)
	spots := g.subjects(at, most, properties["quote"] != nil)
	for i := 0; len(spots) < least; i++ {
		s := spot{}
		if len(g.source.units) > 0 {
			s.unit = &g.source.units[i*len(g.source.units)/least]
		} else if len(spots) > 0 {
			s = spots[i%len(spots)]
		}
		spots = append(spots, s)
	}
	out := make([]any, 0, len(spots))
	for i, s := range spots[:min(len(spots), most)] {
		s.list, s.index = at.name, i
		if least == most {
			s.size = most
		}
		out = append(out, g.object(item, s, depth+1))
	}
	return out
}

var (
	asking  = regexp.MustCompile(`question|clarif|open_point`)
	finding = regexp.MustCompile(`finding|risk|issue|problem|contradiction|gap|concern|threat|block`)
)

// subjects decides what the records of a list are about. Records that quote are
// about text where there is any, and not about earlier records.
func (g *generator) subjects(at spot, most int, quoting bool) (out []spot) {
	if at.record != nil { // a list within a record
		if list, ok := at.record[at.name].([]any); ok {
			for _, item := range list {
				if r, ok := item.(map[string]any); ok {
					out = append(out, spot{record: r})
				}
			}
			return out
		}
		return []spot{{record: at.record}}
	}
	if at.unit != nil {
		return []spot{{unit: at.unit}}
	}
	if asking.MatchString(at.name) {
		if out = units(g.source.matching(open, most)); len(out) > 0 {
			return out
		}
	}
	if t := g.source.table(at.name); t != nil && !(quoting && len(g.source.units) > 0) {
		for _, r := range t.records {
			out = append(out, spot{record: r})
		}
		if finding.MatchString(at.name) && !finding.MatchString(t.name) {
			out = out[:min(len(out), 3)]
		}
		return out
	}
	switch {
	case asking.MatchString(at.name):
		return nil
	case len(g.source.units) > 0 && g.source.units[0].code:
		step := max(1, len(g.source.units)/3)
		for i := 0; i < len(g.source.units) && len(out) < min(3, most); i += step {
			out = append(out, spot{unit: &g.source.units[i]})
		}
		return out
	case finding.MatchString(at.name):
		return units(g.source.matching(soft, min(5, most)))
	}
	if out = units(g.source.matching(duty, most)); len(out) > 0 {
		return out
	}
	return units(g.source.units[:min(len(g.source.units), 6, most)])
}

func units(list []unit) (out []spot) {
	for i := range list {
		out = append(out, spot{unit: &list[i]})
	}
	return out
}

// table returns the list of records a list of that name would be about: the one
// of the same name, else the first.
func (s *source) table(name string) *table {
	for i := range s.tables {
		if s.tables[i].name == name {
			return &s.tables[i]
		}
	}
	if len(s.tables) == 0 {
		return nil
	}
	return &s.tables[0]
}

// scalarsOf fills a list of plain values.
func (g *generator) scalarsOf(item map[string]any, at spot, least, most, depth int) any {
	out := []any{}
	add := func(v any) {
		if v != nil && v != "" && len(out) < most && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	if kind(item) == "string" && item["enum"] == nil {
		for _, text := range g.texts(at) {
			add(fit(item, strings.TrimSpace(text)))
		}
	}
	for i := 0; len(out) < least && i < 4*least; i++ {
		next := at
		next.index, next.size = i, least
		v := g.value(item, next, depth+1)
		if s, ok := v.(string); ok && slices.Contains(out, v) {
			v = fit(item, s+" ("+string(rune('1'+i%9))+")")
		}
		out = append(out, v)
	}
	return out
}

// texts are the entries of a list of texts.
func (g *generator) texts(at spot) (out []string) {
	if list, ok := g.known(at, at.name).([]any); ok {
		for _, item := range list {
			if s, ok := item.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	refersTo := strings.HasSuffix(at.name, "_ids") || slices.Contains([]string{"sources", "covers", "concerns"}, at.name)
	switch {
	case at.record != nil && refersTo:
		for _, k := range []string{strings.TrimSuffix(at.name, "s"), "id"} {
			if s, ok := at.record[k].(string); ok {
				return []string{s}
			}
		}
	case asking.MatchString(at.name):
		if at.record == nil && at.unit == nil {
			for _, u := range g.source.matching(open, 6) {
				out = append(out, short(u.text, 40))
			}
		}
		return out
	case at.record != nil || at.unit != nil:
		return []string{g.word(at)}
	case refersTo:
		return nil
	}
	for _, u := range g.source.units[:min(len(g.source.units), 3)] {
		out = append(out, "Simulated: "+short(u.text, 16))
	}
	return out
}

// known looks a value up in the earlier record, and in records that refer to it.
func (g *generator) known(at spot, name string) any {
	if at.record == nil {
		return nil
	}
	if v, ok := at.record[name]; ok {
		return v
	}
	id, ok := at.record["id"].(string)
	if !ok {
		return nil
	}
	for _, t := range g.source.tables {
		for _, r := range t.records {
			for k, v := range r {
				if strings.HasSuffix(k, "_id") && v == id && r[name] != nil {
					return r[name]
				}
			}
		}
	}
	return nil
}

func bound(schema map[string]any, key string, otherwise int) int {
	if f, ok := schema[key].(float64); ok {
		return int(f)
	}
	return otherwise
}

var idPattern = regexp.MustCompile(`^\^([A-Za-z]+-?)(?:\[0-9\]|\\d)`)

// fit makes a text keep to the lengths and the pattern of its schema.
func fit(schema map[string]any, text string) string {
	if most := bound(schema, "maxLength", 2000); utf8.RuneCountInString(text) > most {
		text = strings.TrimSpace(string([]rune(text)[:most]))
	}
	for utf8.RuneCountInString(text) < bound(schema, "minLength", 0) {
		text += "."
	}
	if p, ok := schema["pattern"].(string); ok {
		if re, err := regexp.Compile(p); err == nil && !re.MatchString(text) {
			if m := idPattern.FindStringSubmatch(p); m != nil {
				return m[1] + "1"
			}
		}
	}
	return text
}

func sorted(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func float(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case float64:
		return v, true
	}
	return 0, false
}
