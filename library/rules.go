package library

import (
	"encoding/json"
	"fmt"
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

// breaks says how an answer breaks a rule, or "".
func breaks(rule Validator, input map[string]any, answer any) string {
	values := pick(answer, rule.At)
	switch rule.Kind {
	case "count":
		n := len(values)
		if len(values) == 1 {
			if list, ok := values[0].([]any); ok {
				n = len(list)
			}
		}
		if rule.Min != nil && n < *rule.Min || rule.Max != nil && n > *rule.Max {
			return fmt.Sprintf("%s has %d entries", rule.At, n)
		}
	case "unique":
		seen := map[string]bool{}
		for _, v := range values {
			key := strings.ToLower(text(v))
			if seen[key] {
				return fmt.Sprintf("%s holds %q twice", rule.At, text(v))
			}
			seen[key] = true
		}
	case "length":
		for _, v := range values {
			if n := len(strings.Fields(text(v))); rule.Min != nil && n < *rule.Min || rule.Max != nil && n > *rule.Max {
				return fmt.Sprintf("an entry of %s has %d words", rule.At, n)
			}
		}
	case "cites_input":
		said := squeeze(allText(pick(any(input), rule.Of)))
		for _, v := range values {
			if q := squeeze(text(v)); q != "" && !strings.Contains(said, q) {
				return fmt.Sprintf("%q is not in the input word for word", shorten(text(v)))
			}
		}
	case "coverage":
		named := map[string]bool{}
		for _, v := range values {
			named[text(v)] = true
		}
		for _, v := range pick(any(input), rule.Of) {
			if !named[text(v)] {
				return fmt.Sprintf("%s does not name %q", rule.At, text(v))
			}
		}
	}
	return ""
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

func allText(values []any) string {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(text(v))
		b.WriteByte('\n')
	}
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
