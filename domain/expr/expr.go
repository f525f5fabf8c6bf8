// Package expr evaluates the expressions of a workflow definition: the Common
// Expression Language over inputs and the steps that came before.
//
// It must not know what a run is, and has no clock, no I/O and no randomness:
// the same expression over the same values gives the same bytes on every
// machine, because runs are decided again from their histories. It imports
// domain and cel-go.
//
// What an expression sees:
//
//	inputs.<name>            the input; null if it is optional and was not given
//	steps.<id>.output        the step's output; null if it has none
//	steps.<id>.state         "completed", "failed" or "skipped"
//	steps.<id>.error         {"code", "message"} of a failed step, else null
//
// An id with a dash is written steps["my-step"]. A step may only be named by a
// step that needs it, directly or through others, so that its value is final.
//
// Start reading at Eval; check.go finds mistakes before anything runs.
package expr

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/domain"
)

// Vars is what an expression sees.
type Vars struct {
	Inputs map[string]json.RawMessage
	Step   func(id string) Step // only asked for steps the expression names
}

// Step is a step that has ended, as expressions see it.
type Step struct {
	State  string
	Output json.RawMessage // nil: null
	Fault  *domain.Fault   // nil: null
}

// Error says why an expression has no value. Reason never quotes a value, so
// that an event may carry it.
type Error struct {
	Field      string // within the map that Interpolate was given
	Expression string
	Reason     string
}

func (e *Error) Error() string { return fmt.Sprintf("`%s`: %s", e.Expression, e.Reason) }

// Eval returns the value of an expression as JSON, with sorted keys. The error
// is an *Error.
func Eval(source string, vars Vars) (json.RawMessage, error) {
	p, err := compile(source)
	if err != nil {
		return nil, err
	}
	if p.plain {
		return p.lookUp(vars), nil
	}
	v, err := p.eval(vars)
	if err != nil {
		return nil, err
	}
	native, err := fromCEL(v)
	if err != nil {
		return nil, &Error{Expression: source, Reason: err.Error()}
	}
	raw, err := json.Marshal(native)
	if err != nil {
		return nil, &Error{Expression: source, Reason: "its value cannot be written as JSON"}
	}
	return raw, nil
}

// EvalBool returns the value of a condition. The error is an *Error.
func EvalBool(source string, vars Vars) (bool, error) {
	p, err := compile(source)
	if err != nil {
		return false, err
	}
	v, err := p.eval(vars)
	if err != nil {
		return false, err
	}
	truth, ok := v.Value().(bool)
	if !ok {
		return false, &Error{Expression: source, Reason: "is not true or false"}
	}
	return truth, nil
}

// Interpolate returns a map as JSON with every text "${expression}", at any
// depth, replaced by the expression's value; other values stay as they are, and
// $${ stands for ${. The error is an *Error that names the field.
func Interpolate(with map[string]any, vars Vars) (json.RawMessage, error) {
	filled, err := fill("", with, vars)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(filled)
	if err != nil {
		return nil, &Error{Reason: "the value cannot be written as JSON"}
	}
	return raw, nil
}

func fill(at string, v any, vars Vars) (any, error) {
	switch v := v.(type) {
	case string:
		source, ok := expression(v)
		if !ok {
			return strings.ReplaceAll(v, "$${", "${"), nil
		}
		raw, err := Eval(source, vars)
		if e, ok := err.(*Error); ok {
			e.Field = at
		}
		return raw, err
	case map[string]any:
		filled := make(map[string]any, len(v))
		for _, key := range keys(v) { // in order, so that the first error is always the same
			item, err := fill(join(at, key), v[key], vars)
			if err != nil {
				return nil, err
			}
			filled[key] = item
		}
		return filled, nil
	case []any:
		filled := make([]any, len(v))
		for i := range v {
			item, err := fill(fmt.Sprintf("%s[%d]", at, i), v[i], vars)
			if err != nil {
				return nil, err
			}
			filled[i] = item
		}
		return filled, nil
	}
	return v, nil
}

// expression returns what is between ${ and } if that is the whole text.
func expression(text string) (string, bool) {
	if !strings.HasPrefix(text, "${") || !strings.HasSuffix(text, "}") {
		return "", false
	}
	return strings.TrimSpace(text[2 : len(text)-1]), true
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
