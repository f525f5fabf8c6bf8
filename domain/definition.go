package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Definition is a workflow as data: what a run follows. The run's first event
// carries it whole, so a run never depends on a file or on a later version.
type Definition struct {
	ID          string            `json:"id"`
	Version     int               `json:"version"`
	Title       string            `json:"title"`
	Summary     string            `json:"summary,omitempty"`
	Description string            `json:"description,omitempty"`
	Parameters  []Parameter       `json:"parameters,omitempty"`
	Steps       []Step            `json:"steps"`
	Outputs     map[string]string `json:"outputs,omitempty"` // name → "${expression}"
	Deadline    Duration          `json:"deadline,omitempty"`
}

// Parameter is one declared input of a workflow or a template.
type Parameter struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"` // see ParameterTypes
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description,omitempty"`
	Required    bool     `json:"required,omitempty"`
	Default     any      `json:"default,omitempty"`
	Examples    []any    `json:"examples,omitempty"`
	Validation  *Limits  `json:"validation,omitempty"`
	Trust       string   `json:"trust,omitempty"`       // trusted (default) or untrusted
	Sensitivity string   `json:"sensitivity,omitempty"` // none (default) or personal
	Enum        []string `json:"enum,omitempty"`
}

// Limits bounds the value of a parameter.
type Limits struct {
	Min       *float64 `json:"min,omitempty"` // least number, or least length
	Max       *float64 `json:"max,omitempty"` // greatest number, or greatest length
	Pattern   string   `json:"pattern,omitempty"`
	MaxTokens int      `json:"max_tokens,omitempty"`
}

// ParameterTypes are the types a parameter may have.
var ParameterTypes = []string{
	"string", "text", "document", "code", "integer", "number", "boolean", "date", "enum", "list", "object",
	"url", "file", "repository", "diff", "result", "work_item", "table",
}

// Step is one node of the graph.
type Step struct {
	ID       string         `json:"id"`
	Title    string         `json:"title,omitempty"`
	Kind     StepKind       `json:"kind"`
	Agent    string         `json:"agent,omitempty"`    // agent id, for kind agent
	Template string         `json:"template,omitempty"` // template id, for kind agent
	Needs    []string       `json:"needs,omitempty"`    // ids of steps that must end first
	When     string         `json:"when,omitempty"`     // CEL over inputs and steps; false: skipped
	With     map[string]any `json:"with,omitempty"`     // template parameter → literal or "${expression}"
	Retry    Retry          `json:"retry,omitempty"`
	Timeout  Duration       `json:"timeout,omitempty"`  // per attempt; 0: DefaultStepTimeout
	OnError  OnError        `json:"on_error,omitempty"` // default: fail
	Effect   EffectClass    `json:"effect,omitempty"`   // default: repeatable
}

// StepKind says who performs a step.
type StepKind string

// The kinds of step.
const (
	AgentStep StepKind = "agent" // an agent answers a template through a model
	NoopStep  StepKind = "noop"  // a worker returns the step's input: benches and tests
)

// OnError says what a step's final failure means for the run.
type OnError string

// What a final failure leads to.
const (
	FailRun     OnError = "fail"     // the run fails with the cause
	ContinueRun OnError = "continue" // the step counts as ended; dependants see its error
)

// EffectClass says what a repetition of a step's effect would do.
type EffectClass string

// The classes of effect.
const (
	Repeatable EffectClass = "repeatable"
	Keyed      EffectClass = "keyed"
	AtMostOnce EffectClass = "at_most_once"
)

// Retry is the policy for failed attempts: exponential backoff with full
// jitter, bounded by MaxDelay.
type Retry struct {
	MaxAttempts int      `json:"max_attempts,omitempty"` // 0: DefaultAttempts
	Delay       Duration `json:"delay,omitempty"`        // before the second attempt; 0: one second
	MaxDelay    Duration `json:"max_delay,omitempty"`    // 0: one minute
}

// The defaults of a definition that says nothing.
const (
	DefaultAttempts    = 3
	DefaultStepTimeout = 5 * time.Minute
	DefaultRetryDelay  = time.Second
	DefaultMaxDelay    = time.Minute
)

// Hash is the content hash of a definition: "sha256:" and the hex digest of its
// JSON, whose fields have a fixed order and whose maps are sorted.
func (d Definition) Hash() string {
	b, err := json.Marshal(d)
	if err != nil { // With and Default hold values that came from JSON or YAML
		panic(fmt.Sprintf("hash definition %s: %v", d.ID, err))
	}
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

// Step returns the step with an id.
func (d Definition) Step(id string) (Step, bool) {
	for _, s := range d.Steps {
		if s.ID == id {
			return s, true
		}
	}
	return Step{}, false
}

// Duration is a time.Duration written as text ("90s", "5m").
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = 0
		return nil
	}
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration; write it like 90s or 5m", b)
	}
	*d = Duration(v)
	return nil
}
