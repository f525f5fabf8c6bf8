package domain

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The limits of a definition.
const (
	MaxSteps       = 5000
	MaxRetries     = 100
	MaxExpression  = 4096 // bytes of one expression
	maxExactNumber = 1 << 53
)

// ErrInvalidDefinition is the sentinel of every refused definition. Field names
// the place, such as steps[2].needs[0].
var ErrInvalidDefinition = &Error{Kind: Invalid, Code: "definition.invalid", Message: "the workflow definition is not valid"}

// InvalidDefinition is the error for one place in a definition.
func InvalidDefinition(field, message, fix string) *Error {
	e := ErrInvalidDefinition.With("%s", message).At(field)
	e.Fix = fix
	return e
}

var (
	definitionID  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)
	stepID        = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)
	parameterName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)
)

// Validate checks everything about a definition that does not need its
// expressions to be understood: names, references, the graph, limits. The error
// is an *Error that names the first offending field in reading order.
func (d Definition) Validate() error {
	if !definitionID.MatchString(d.ID) {
		return InvalidDefinition("id", fmt.Sprintf("%q is not an id", d.ID), "use up to 128 letters, digits and . _ / -")
	}
	if d.Version < 0 {
		return InvalidDefinition("version", "is negative", "count from 1")
	}
	if d.Deadline < 0 {
		return InvalidDefinition("deadline", "is negative", "write it like 2h, or leave it out")
	}
	if err := ValidateParameters(d.Parameters); err != nil {
		return err
	}
	switch {
	case len(d.Steps) == 0:
		return InvalidDefinition("steps", "there is no step", "add at least one")
	case len(d.Steps) > MaxSteps:
		return InvalidDefinition("steps", fmt.Sprintf("there are %d steps", len(d.Steps)), fmt.Sprintf("use at most %d", MaxSteps))
	}
	index := make(map[string]int, len(d.Steps))
	for i, s := range d.Steps {
		if s.validate("") != nil { // most often it is nil, and nobody asks where
			return s.validate(fmt.Sprintf("steps[%d]", i))
		}
		if first, twice := index[s.ID]; twice {
			return InvalidDefinition(fmt.Sprintf("steps[%d].id", i), fmt.Sprintf("%q is also the id of steps[%d]", s.ID, first), "give each step its own id")
		}
		index[s.ID] = i
	}
	if err := d.validateNeeds(index); err != nil {
		return err
	}
	return d.validateOutputs()
}

func (s Step) validate(at string) error {
	switch {
	case !stepID.MatchString(s.ID):
		return InvalidDefinition(at+".id", fmt.Sprintf("%q is not a step id", s.ID), "use a letter, then up to 63 letters, digits, _ and -")
	case len(s.When) > MaxExpression:
		return InvalidDefinition(at+".when", "is too long", fmt.Sprintf("use at most %d bytes", MaxExpression))
	case s.OnError != "" && s.OnError != FailRun && s.OnError != ContinueRun:
		return InvalidDefinition(at+".on_error", fmt.Sprintf("%q is not known", s.OnError), "use fail or continue")
	case s.Effect != "" && s.Effect != Repeatable && s.Effect != Keyed && s.Effect != AtMostOnce:
		return InvalidDefinition(at+".effect", fmt.Sprintf("%q is not known", s.Effect), "use repeatable, keyed or at_most_once")
	case s.Timeout < 0:
		return InvalidDefinition(at+".timeout", "is negative", "write it like 90s, or leave it out")
	case s.Retry.MaxAttempts < 0 || s.Retry.MaxAttempts > MaxRetries:
		return InvalidDefinition(at+".retry.max_attempts", fmt.Sprintf("%d is out of range", s.Retry.MaxAttempts), fmt.Sprintf("use 1 to %d", MaxRetries))
	case s.Retry.Delay < 0:
		return InvalidDefinition(at+".retry.delay", "is negative", "write it like 2s")
	case s.Retry.MaxDelay < 0:
		return InvalidDefinition(at+".retry.max_delay", "is negative", "write it like 1m")
	}
	if err := s.validateKind(at); err != nil {
		return err
	}
	return validateLiteral(at+".with", s.With)
}

func (s Step) validateKind(at string) error {
	switch s.Kind {
	case AgentStep:
		if s.Agent == "" {
			return InvalidDefinition(at+".agent", "is missing", "name the agent that performs the step")
		}
		if s.Template == "" {
			return InvalidDefinition(at+".template", "is missing", "name the template the agent answers")
		}
		return nil
	case NoopStep:
		if s.Agent != "" || s.Template != "" {
			return InvalidDefinition(at+".kind", "a noop step has no agent and no template", "use kind agent, or remove them")
		}
		return nil
	}
	return InvalidDefinition(at+".kind", fmt.Sprintf("%q is not a kind of step", s.Kind), "use agent or noop")
}

func (d Definition) validateNeeds(index map[string]int) error {
	named := make([]int, len(d.Steps)) // by which step last, from 1
	for i, s := range d.Steps {
		for j, id := range s.Needs {
			need, ok := index[id]
			if !ok {
				return InvalidDefinition(fmt.Sprintf("steps[%d].needs[%d]", i, j), fmt.Sprintf("there is no step %q", id), "name the id of a step of this workflow")
			}
			if named[need] == i+1 {
				return InvalidDefinition(fmt.Sprintf("steps[%d].needs[%d]", i, j), fmt.Sprintf("%q is named twice", id), "name each step once")
			}
			named[need] = i + 1
		}
	}
	if cycle := d.cycle(index); cycle != nil {
		return InvalidDefinition(fmt.Sprintf("steps[%d].needs", index[cycle[0]]),
			"the steps wait for each other: "+strings.Join(cycle, " → "), "remove one of these needs")
	}
	return nil
}

// cycle returns the ids of steps that wait for each other, the first repeated at
// the end, or nil. All needs are known.
func (d Definition) cycle(index map[string]int) []string {
	const (
		unseen = iota
		onPath
		cleared
	)
	mark := make([]int, len(d.Steps))
	next := make([]int, len(d.Steps)) // need of the step to look at next
	for root := range d.Steps {
		if mark[root] != unseen {
			continue
		}
		path := []int{root}
		mark[root] = onPath
		for len(path) > 0 {
			i := path[len(path)-1]
			if next[i] == len(d.Steps[i].Needs) {
				mark[i] = cleared
				path = path[:len(path)-1]
				continue
			}
			need := index[d.Steps[i].Needs[next[i]]]
			next[i]++
			switch mark[need] {
			case unseen:
				mark[need] = onPath
				path = append(path, need)
			case onPath:
				return d.namesFrom(path[slices.Index(path, need):])
			}
		}
	}
	return nil
}

func (d Definition) namesFrom(path []int) []string {
	names := make([]string, 0, len(path)+1)
	for _, i := range path {
		names = append(names, d.Steps[i].ID)
	}
	return append(names, names[0])
}

func (d Definition) validateOutputs() error {
	for _, name := range sortedKeys(d.Outputs) {
		if !parameterName.MatchString(name) {
			return InvalidDefinition("outputs."+name, fmt.Sprintf("%q is not a name", name), "use a letter, then up to 63 letters, digits and _")
		}
	}
	return nil
}

// validateLiteral refuses values that JSON would not give back as they are: the
// definition a run decides by must be the one that is stored.
func validateLiteral(at string, v any) error {
	switch v := v.(type) {
	case nil, bool:
		return nil
	case string:
		if len(v) > MaxExpression && strings.HasPrefix(v, "${") {
			return InvalidDefinition(at, "the expression is too long", fmt.Sprintf("use at most %d bytes", MaxExpression))
		}
		return nil
	case int:
		return exact(at, v <= maxExactNumber && v >= -maxExactNumber)
	case int64:
		return exact(at, v <= maxExactNumber && v >= -maxExactNumber)
	case uint64:
		return exact(at, v <= maxExactNumber)
	case float64:
		return exact(at, v <= maxExactNumber && v >= -maxExactNumber)
	case []any:
		for i, item := range v {
			if err := validateLiteral(at+"["+strconv.Itoa(i)+"]", item); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		for _, key := range sortedKeys(v) {
			if err := validateLiteral(at+"."+key, v[key]); err != nil {
				return err
			}
		}
		return nil
	}
	return InvalidDefinition(at, fmt.Sprintf("a %T is not a JSON value", v), "use text, numbers, true, false, null, lists and maps with text keys")
}

func exact(at string, ok bool) error {
	if !ok {
		return InvalidDefinition(at, "the number is too large to be kept exactly", "write it as text, in quotes")
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Stored returns the definition as it is read back from JSON: every number in
// its literals is a float64, whichever format it came from. Validate has made
// sure that this loses nothing.
func (d Definition) Stored() Definition {
	d.Parameters = slices.Clone(d.Parameters)
	for i := range d.Parameters {
		p := &d.Parameters[i]
		p.Default = storedLiteral(p.Default)
		p.Examples = slices.Clone(p.Examples)
		for j := range p.Examples {
			p.Examples[j] = storedLiteral(p.Examples[j])
		}
	}
	d.Steps = slices.Clone(d.Steps)
	for i := range d.Steps {
		if with := d.Steps[i].With; with != nil {
			d.Steps[i].With, _ = storedLiteral(with).(map[string]any)
		}
	}
	return d
}

func storedLiteral(v any) any {
	switch v := v.(type) {
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = storedLiteral(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = storedLiteral(v[k])
		}
		return out
	}
	return v
}
