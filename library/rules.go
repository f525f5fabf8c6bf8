package library

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// CheckRules applies the template's validators to an answer that fits its
// schema. What is wrong asks for a repair, a warning is only noted.
func (t *Template) CheckRules(input map[string]json.RawMessage, output json.RawMessage) (wrong, warnings []string) {
	var answer any
	if err := json.Unmarshal(output, &answer); err != nil {
		return []string{"it is not JSON"}, nil
	}
	given := map[string]any{}
	for name, raw := range input {
		var v any
		if json.Unmarshal(raw, &v) == nil {
			given[name] = v
		}
	}
	for _, rule := range t.Validators {
		if rule.If != nil && !rule.If.holds(given, answer) {
			continue
		}
		broken := breaks(rule, given, answer)
		if broken == "" {
			continue
		}
		line := fmt.Sprintf("%s: %s (%s)", rule.ID, broken, strings.TrimSpace(rule.Message))
		if rule.Severity == "warning" {
			warnings = append(warnings, line)
		} else {
			wrong = append(wrong, line)
		}
	}
	return wrong, warnings
}

func (c *Condition) holds(input map[string]any, answer any) bool {
	values := pickAll(answer, c.At)
	if c.Of != "" {
		values = append(values, pickAll(any(input), c.Of)...)
	}
	return slices.ContainsFunc(values, func(v any) bool { return slices.Contains(c.In, text(v)) })
}

// breaks says how an answer breaks a rule, or "".
func breaks(rule Validator, input map[string]any, answer any) string {
	values := pickAll(answer, rule.At)
	if rule.At == "" {
		values = prose(answer)
	}
	of := []any{input}
	if rule.Of != "" {
		of = pickAll(any(input), rule.Of)
	}
	switch rule.Kind {
	case "count":
		n := len(values)
		if len(values) == 1 {
			if list, ok := values[0].([]any); ok {
				n = len(list)
			}
		}
		if outside(rule, n) {
			return fmt.Sprintf("%s has %d entries", rule.At, n)
		}
	case "unique":
		if rule.At == "" {
			return repeatedAnywhere(answer)
		}
		return repeated(rule.At, values)
	case "sequence":
		return jumps(rule.At, values)
	case "length":
		for _, v := range values {
			if n := len(strings.Fields(text(v))); outside(rule, n) {
				return fmt.Sprintf("%q has %d words", shorten(text(v)), n)
			}
		}
	case "is":
		for _, v := range values {
			if !slices.Contains(rule.In, text(v)) {
				return fmt.Sprintf("%s is %s", rule.At, text(v))
			}
		}
	case "cites_input":
		said := squeeze(allText(of))
		for _, v := range values {
			if q := squeeze(text(v)); q != "" && !strings.Contains(said, q) {
				return fmt.Sprintf("%q is not in the input word for word", shorten(text(v)))
			}
		}
	case "coverage":
		return missing(values, of, rule.At+" does not name %q")
	case "refers":
		known := append(of, any(""))
		return missing(known, values, rule.At+" names %q, which is not in the input")
	case "located":
		return misplaced(values, allText(of))
	case "numbers":
		return inventedFigure(values, allText(of))
	case "language":
		return foreign(values, of)
	}
	return ""
}

func outside(rule Validator, n int) bool {
	return rule.Min != nil && n < *rule.Min || rule.Max != nil && n > *rule.Max
}

func repeated(at string, values []any) string {
	seen := map[string]bool{}
	for _, v := range values {
		key := strings.ToLower(text(v))
		if seen[key] {
			return fmt.Sprintf("%s holds %q twice", at, shorten(text(v)))
		}
		seen[key] = true
	}
	return ""
}

// repeatedAnywhere looks through every list of an answer.
func repeatedAnywhere(v any) string {
	switch v := v.(type) {
	case []any:
		if s := repeated("a list", v); s != "" {
			return s
		}
		for _, item := range v {
			if s := repeatedAnywhere(item); s != "" {
				return s
			}
		}
	case map[string]any:
		for _, inner := range v {
			if s := repeatedAnywhere(inner); s != "" {
				return s
			}
		}
	}
	return ""
}

// jumps finds an id that is not the next one.
func jumps(at string, values []any) string {
	for i, v := range values {
		prefix, number, _ := strings.Cut(text(v), "-")
		if want := fmt.Sprint(i + 1); number != want {
			return fmt.Sprintf("%s holds %q where %s-%s is due", at, text(v), prefix, want)
		}
	}
	return ""
}

// missing finds a wanted value that is not among those there are.
func missing(there, wanted []any, format string) string {
	named := map[string]bool{}
	for _, v := range there {
		named[text(v)] = true
	}
	for _, v := range wanted {
		if !named[text(v)] {
			return fmt.Sprintf(format, text(v))
		}
	}
	return ""
}

// pickAll returns the values at several paths, with blanks between.
func pickAll(v any, paths string) (values []any) {
	for p := range strings.FieldsSeq(paths) {
		values = append(values, pick(v, p)...)
	}
	return values
}

// pick returns the values at a path such as stories[*].id; a path into nothing
// has none.
func pick(v any, path string) []any {
	values := []any{v}
	for _, part := range strings.Split(path, ".") {
		name, each := strings.CutSuffix(part, "[*]")
		var next []any
		for _, v := range values {
			if name != "" {
				m, ok := v.(map[string]any)
				if !ok || m[name] == nil {
					continue
				}
				v = m[name]
			}
			if list, ok := v.([]any); each && ok {
				next = append(next, list...)
			} else if !each {
				next = append(next, v)
			}
		}
		values = next
	}
	return values
}

// copied are the fields that hold words of the input, or code.
var copied = map[string]bool{"quote": true, "before": true, "after": true}

// prose lists every text of an answer that its author worded.
func prose(v any) (texts []any) {
	switch v := v.(type) {
	case string:
		texts = append(texts, v)
	case []any:
		for _, item := range v {
			texts = append(texts, prose(item)...)
		}
	case map[string]any:
		for name, inner := range v {
			if !copied[name] {
				texts = append(texts, prose(inner)...)
			}
		}
	}
	return texts
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil { // it came from JSON
		return ""
	}
	return string(b)
}

// allText joins every text, at any depth.
func allText(values []any) string {
	var b strings.Builder
	var write func(any)
	write = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				write(item)
			}
		case map[string]any:
			for _, item := range v {
				write(item)
			}
		default:
			b.WriteString(text(v))
			b.WriteByte('\n')
		}
	}
	write(values)
	return b.String()
}

// squeeze makes quotes comparable: case, white space and the shape of quotation
// marks do not count.
func squeeze(s string) string {
	s = strings.NewReplacer("’", "'", "‘", "'", "“", `"`, "”", `"`).Replace(strings.ToLower(s))
	return strings.Join(strings.Fields(s), " ")
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
