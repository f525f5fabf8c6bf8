package domain

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// StoredJSON returns a JSON value in the form in which an event keeps it:
// without white space, and with <, > and & escaped. State that was decided and
// state that was read back then hold the same bytes. Nil becomes null.
func StoredJSON(raw json.RawMessage) (json.RawMessage, error) {
	if isStored(raw) && json.Valid(raw) {
		return raw, nil
	}
	return json.Marshal(raw)
}

// isStored reports that a value, if it is valid, has its stored form already. It may
// miss some that have.
func isStored(raw json.RawMessage) bool {
	quoted := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '<', c == '>', c == '&', c == 0xE2: // the last begins U+2028 and U+2029, among others
			return false
		case c == '"':
			quoted = !quoted
		case c == '\\':
			i++ // an escaped quote does not end a string
		case !quoted && c <= ' ':
			return false
		}
	}
	return len(raw) > 0
}

// BindInputs checks values against declared parameters and fills in defaults.
// The result holds every value in its stored form, and no entry for an optional
// parameter without value or default. The error is an *Error whose field begins
// with inputs.
func BindInputs(parameters []Parameter, inputs map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	bound := make(map[string]json.RawMessage, len(parameters))
	for _, p := range parameters {
		field := "inputs." + p.Name
		value, err := StoredJSON(inputs[p.Name])
		if err != nil {
			return nil, InvalidField(field, "is not JSON", "send any JSON value")
		}
		if string(value) == "null" && p.Default != nil {
			if value, err = json.Marshal(p.Default); err != nil {
				return nil, InvalidField(field, "the default is not JSON", "send a value")
			}
		}
		if string(value) == "null" {
			if p.Required {
				return nil, InvalidField(field, "is missing", "send "+p.expects())
			}
			continue
		}
		if message, fix := p.check(value); message != "" {
			return nil, InvalidField(field, message, fix)
		}
		bound[p.Name] = value
	}
	for _, name := range sortedKeys(inputs) {
		if !slices.ContainsFunc(parameters, func(p Parameter) bool { return p.Name == name }) {
			return nil, InvalidField("inputs."+name, "is not an input", "inputs are: "+strings.Join(names(parameters), ", "))
		}
	}
	return bound, nil
}

func names(parameters []Parameter) []string {
	if len(parameters) == 0 {
		return []string{"none"}
	}
	out := make([]string, len(parameters))
	for i, p := range parameters {
		out[i] = p.Name
	}
	return out
}

// ValidateParameters checks declarations, including that defaults keep to them.
// The error is an *Error whose field begins with parameters.
func ValidateParameters(parameters []Parameter) error {
	for i, p := range parameters {
		at := fmt.Sprintf("parameters[%d]", i)
		if err := p.validate(at); err != nil {
			return err
		}
		if first := slices.IndexFunc(parameters[:i], func(q Parameter) bool { return q.Name == p.Name }); first >= 0 {
			return InvalidDefinition(at+".name", fmt.Sprintf("%q is also the name of parameters[%d]", p.Name, first), "give each parameter its own name")
		}
	}
	return nil
}

func (p Parameter) validate(at string) error {
	switch {
	case !parameterName.MatchString(p.Name):
		return InvalidDefinition(at+".name", fmt.Sprintf("%q is not a name", p.Name), "use a letter, then up to 63 letters, digits and _")
	case !slices.Contains(ParameterTypes, p.Type):
		return InvalidDefinition(at+".type", fmt.Sprintf("%q is not a type", p.Type), "use one of "+strings.Join(ParameterTypes, ", "))
	case p.Type == "enum" && len(p.Enum) == 0:
		return InvalidDefinition(at+".enum", "is empty", "list the values")
	case p.Trust != "" && p.Trust != "trusted" && p.Trust != "untrusted":
		return InvalidDefinition(at+".trust", fmt.Sprintf("%q is not known", p.Trust), "use trusted or untrusted")
	case p.Sensitivity != "" && p.Sensitivity != "none" && p.Sensitivity != "personal":
		return InvalidDefinition(at+".sensitivity", fmt.Sprintf("%q is not known", p.Sensitivity), "use none or personal; secrets are never inputs")
	}
	if l := p.Validation; l != nil {
		if l.Min != nil && l.Max != nil && *l.Min > *l.Max {
			return InvalidDefinition(at+".validation.min", "is greater than max", "swap them")
		}
		if _, err := regexp.Compile(l.Pattern); err != nil {
			return InvalidDefinition(at+".validation.pattern", "is not a regular expression", "use RE2 syntax")
		}
	}
	if err := validateLiteral(at+".examples", p.Examples); err != nil {
		return err
	}
	if p.Default == nil {
		return nil
	}
	if err := validateLiteral(at+".default", p.Default); err != nil {
		return err
	}
	raw, err := json.Marshal(p.Default)
	if err != nil {
		return InvalidDefinition(at+".default", "is not a JSON value", "use text, numbers, true, false, lists and maps")
	}
	if message, fix := p.check(raw); message != "" {
		return InvalidDefinition(at+".default", message, fix)
	}
	return nil
}

// shapes are the JSON shapes a type accepts; a type that is not listed accepts
// any.
var shapes = map[string]string{
	"string": "text", "text": "text", "document": "text", "code": "text", "date": "text", "enum": "text", "url": "text",
	"repository": "text", "diff": "text", "integer": "number", "number": "number", "boolean": "boolean",
	"list": "list", "table": "list", "object": "object", "file": "text or object", "work_item": "text or object",
}

// fileTypes are the types in whose place a file can be referred to.
var fileTypes = []string{"text", "document", "code", "diff", "file"}

func shapeOf(raw json.RawMessage) string {
	switch raw[0] {
	case '"':
		return "text"
	case '[':
		return "list"
	case '{':
		return "object"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// expects says what a value of the parameter looks like.
func (p Parameter) expects() string {
	switch p.Type {
	case "integer":
		return "a whole number"
	case "number":
		return "a number"
	case "boolean":
		return "true or false"
	case "date":
		return "a date like 2026-11-23"
	case "url":
		return "a URL like https://example.org/page"
	case "enum":
		return "one of " + strings.Join(p.Enum, ", ")
	case "list", "table":
		return "a list"
	case "object":
		return "an object"
	case "result":
		return "any JSON value"
	}
	return "text"
}

// check returns what is wrong with a value in its stored form, and how to mend
// it; both are empty if nothing is. MaxTokens is not its business: only who
// renders a prompt can count tokens.
func (p Parameter) check(raw json.RawMessage) (message, fix string) {
	shape := shapeOf(raw)
	if _, refers := FileReference(raw); refers && slices.Contains(fileTypes, p.Type) {
		return "", ""
	}
	if want, ok := shapes[p.Type]; ok && !strings.Contains(want, shape) {
		return fmt.Sprintf("must be %s, not %s", p.expects(), shape), "send " + p.expects()
	}
	switch shape {
	case "text":
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "is not JSON", "send any JSON value"
		}
		return p.checkText(s)
	case "number":
		return p.checkNumber(string(raw))
	case "list":
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			return "is not JSON", "send any JSON value"
		}
		return p.checkSize(len(items), "items")
	}
	return "", ""
}

func (p Parameter) checkText(s string) (message, fix string) {
	ok := true
	switch p.Type {
	case "date":
		_, err := time.Parse(time.DateOnly, s)
		ok = err == nil
	case "url":
		u, err := url.Parse(s)
		ok = err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	case "enum":
		ok = slices.Contains(p.Enum, s)
	}
	if !ok {
		return "must be " + p.expects(), "send " + p.expects()
	}
	if p.Required && s == "" {
		return "is empty", "send " + p.expects()
	}
	if l := p.Validation; l != nil && l.Pattern != "" {
		re, err := regexp.Compile(l.Pattern)
		if err != nil || !re.MatchString(s) {
			return "does not match " + l.Pattern, "send text that matches it"
		}
	}
	return p.checkSize(utf8.RuneCountInString(s), "characters")
}

func (p Parameter) checkSize(n int, unit string) (message, fix string) {
	if p.Validation == nil {
		return "", ""
	}
	if least := p.Validation.Min; least != nil && float64(n) < *least {
		return fmt.Sprintf("has %d %s", n, unit), fmt.Sprintf("send at least %s", decimal(*least))
	}
	if most := p.Validation.Max; most != nil && float64(n) > *most {
		return fmt.Sprintf("has %d %s", n, unit), fmt.Sprintf("send at most %s", decimal(*most))
	}
	return "", ""
}

func (p Parameter) checkNumber(text string) (message, fix string) {
	if p.Type == "integer" {
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return "must be a whole number of 64 bits", "send a number without a fraction"
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return "is out of range", "send a smaller number"
	}
	if p.Validation == nil {
		return "", ""
	}
	if least := p.Validation.Min; least != nil && f < *least {
		return "is less than " + decimal(*least), "send at least " + decimal(*least)
	}
	if most := p.Validation.Max; most != nil && f > *most {
		return "is greater than " + decimal(*most), "send at most " + decimal(*most)
	}
	return "", ""
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
