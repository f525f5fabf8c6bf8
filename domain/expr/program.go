package expr

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/hishamos/hishamos/domain"
)

// costLimit stops an expression that does too much: about 50 ms of work. It is
// part of the semantics of a run, so a change needs a new engine number.
const costLimit = 1_000_000

// environment is CEL's standard library and our two variables. It has no
// function that knows the time.
var environment = sync.OnceValue(func() *cel.Env {
	env, err := cel.NewEnv(
		cel.Variable("inputs", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("steps", cel.MapType(cel.StringType, cel.MapType(cel.StringType, cel.DynType))),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(domain.MaxExpression),
		cel.ParserRecursionLimit(64),
	)
	if err != nil { // the table above is wrong
		panic(fmt.Sprintf("make CEL environment: %v", err))
	}
	return env
})

// program is a compiled expression and what it names.
type program struct {
	source string
	cel    cel.Program
	result *cel.Type
	inputs []string // named one by one
	all    bool     // uses inputs as a whole
	steps  []stepRef
	plain  bool // the expression is one name and nothing else
}

// stepRef is one steps.<id>.<field> in an expression.
type stepRef struct{ id, field string }

// The fields of a step.
const (
	outputField = "output"
	stateField  = "state"
	errorField  = "error"
)

// compile returns the program of an expression, from memory if it was seen
// lately. The error is an *Error.
func compile(source string) (*program, error) {
	if p, ok := programs.get(source); ok {
		return p, nil
	}
	checked, issues := environment().Compile(source)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, &Error{Expression: source, Reason: fmt.Sprintf("column %d: %s", first.Location.Column()+1, first.Message)}
	}
	p := &program{source: source, result: checked.OutputType()}
	if reason := p.collect(ast.NavigateAST(checked.NativeRep())); reason != "" {
		return nil, &Error{Expression: source, Reason: reason}
	}
	var err error
	if p.cel, err = environment().Program(checked, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize)); err != nil {
		return nil, &Error{Expression: source, Reason: "cannot be prepared: " + firstLine(err)}
	}
	programs.put(source, p)
	return p, nil
}

// collect notes what the expression names, or says what it may not do.
func (p *program) collect(root ast.NavigableExpr) (reason string) {
	for _, e := range ast.MatchDescendants(root, ast.KindMatcher(ast.IdentKind)) {
		switch e.AsIdent() {
		case "inputs":
			name, at := member(e)
			if name == "" {
				p.all = true
				continue
			}
			p.inputs = append(p.inputs, name)
			p.plain = p.plain || isRoot(at)
		case "steps":
			id, at := member(e)
			if id == "" {
				return "a step must be named, as in steps.plan.output"
			}
			field, at := member(at)
			if field != outputField && field != stateField && field != errorField {
				return fmt.Sprintf("say what of step %s: steps.%s.output, .state or .error", id, id)
			}
			p.steps = append(p.steps, stepRef{id, field})
			p.plain = p.plain || isRoot(at) && field == outputField
		}
	}
	return ""
}

// member returns the name that is selected from an expression, by e.name or
// e["name"], and the selection; or nothing.
func member(e ast.NavigableExpr) (name string, at ast.NavigableExpr) {
	parent, ok := e.Parent()
	if !ok {
		return "", e
	}
	switch parent.Kind() {
	case ast.SelectKind:
		return parent.AsSelect().FieldName(), parent
	case ast.CallKind:
		call := parent.AsCall()
		if call.FunctionName() == operators.Index && call.Args()[0].ID() == e.ID() && call.Args()[1].Kind() == ast.LiteralKind {
			name, _ := call.Args()[1].AsLiteral().Value().(string)
			return name, parent
		}
	}
	return "", e
}

func isRoot(e ast.NavigableExpr) bool {
	_, inner := e.Parent()
	return !inner && (e.Kind() != ast.SelectKind || !e.AsSelect().IsTestOnly())
}

// lookUp answers a plain expression with the value's own bytes: no number
// passes through a float.
func (p *program) lookUp(vars Vars) json.RawMessage {
	var raw json.RawMessage
	if len(p.steps) == 1 {
		raw = vars.Step(p.steps[0].id).Output
	} else {
		raw = vars.Inputs[p.inputs[0]]
	}
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func (p *program) eval(vars Vars) (ref.Val, error) {
	activation, err := p.activation(vars)
	if err != nil {
		return nil, &Error{Expression: p.source, Reason: err.Error()}
	}
	v, _, err := p.cel.Eval(activation)
	if err != nil {
		return nil, &Error{Expression: p.source, Reason: reasonOf(err)}
	}
	if types.IsUnknownOrError(v) {
		return nil, &Error{Expression: p.source, Reason: "has no value"}
	}
	return v, nil
}

// activation decodes what the expression names, and no more.
func (p *program) activation(vars Vars) (map[string]any, error) {
	names := p.inputs
	if p.all {
		names = append(keys(vars.Inputs), names...)
	}
	inputs := make(map[string]any, len(names))
	for _, name := range names {
		v, err := decode(vars.Inputs[name])
		if err != nil {
			return nil, fmt.Errorf("inputs.%s %w", name, err)
		}
		inputs[name] = v
	}
	steps := make(map[string]any, len(p.steps))
	for _, r := range p.steps {
		fields, ok := steps[r.id].(map[string]any)
		if !ok {
			fields = make(map[string]any, 1)
			steps[r.id] = fields
		}
		v, err := vars.Step(r.id).field(r.field)
		if err != nil {
			return nil, fmt.Errorf("steps.%s.%s %w", r.id, r.field, err)
		}
		fields[r.field] = v
	}
	return map[string]any{"inputs": inputs, "steps": steps}, nil
}

func (s Step) field(name string) (any, error) {
	switch name {
	case stateField:
		return s.State, nil
	case errorField:
		if s.Fault == nil {
			return nil, nil
		}
		return map[string]any{"code": s.Fault.Code, "message": s.Fault.Message}, nil
	}
	return decode(s.Output)
}

// reasons are the beginnings of CEL's messages that tell a user something and
// hold no value.
var reasons = []struct{ has, say string }{
	{"no such key", "a field it names is not there"},
	{"no such attribute", "a field it names is not there"},
	{"no such overload", "an operator or function was given values of the wrong types"},
	{"index out of bounds", "a list is shorter than the index it uses"},
	{"division by zero", "division by zero"},
	{"modulus by zero", "division by zero"},
	{"overflow", "a number is out of range"},
	{"range", "a number is out of range"},
	{"cost limit exceeded", "it does too much work"},
	{"invalid type conversion", "a value cannot be converted"},
	{"type conversion error", "a value cannot be converted"},
	{"cannot convert", "a value cannot be converted"},
}

func reasonOf(err error) string {
	message := err.Error()
	for _, r := range reasons {
		if strings.Contains(message, r.has) {
			return r.say
		}
	}
	return "cannot be evaluated"
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
