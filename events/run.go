package events

import (
	"encoding/json"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Run is what can happen to one execution of a workflow.
//
//sumtype:decl
type Run interface {
	Event
	isRun()
}

// RunStarted begins a run and carries everything it will follow.
type RunStarted struct {
	Workflow   domain.Ref                 `json:"workflow"`
	Definition domain.Definition          `json:"definition"`
	Engine     int                        `json:"engine"` // semantics of the interpreter that decides this run
	Inputs     map[string]json.RawMessage `json:"inputs" class:"content"`
	Agents     map[string]domain.Ref      `json:"agents,omitempty"`    // by agent id
	Templates  map[string]domain.Ref      `json:"templates,omitempty"` // by template id
	Files      []string                   `json:"files,omitempty"`     // that the inputs refer to
	Priority   int                        `json:"priority,omitempty"`
	Deadline   *time.Time                 `json:"deadline,omitempty"`
}

// StepScheduled makes an attempt of a step due: its effect is intended and
// decided.
type StepScheduled struct {
	Path      domain.StepPath    `json:"path"`
	Attempt   int                `json:"attempt"`
	Agent     *domain.Ref        `json:"agent,omitempty"`
	Template  *domain.Ref        `json:"template,omitempty"`
	InputHash string             `json:"input_hash" class:"content"` // a hash lets one guess what was hashed; empty: the step has no input
	Effect    domain.EffectClass `json:"effect"`
	Deadline  time.Time          `json:"deadline"` // of this attempt
}

// StepStarted says that a worker is about to perform a guarded effect: one that
// is keyed or may happen at most once. From here on its outcome is unknown until
// a result is observed.
type StepStarted struct {
	Path    domain.StepPath `json:"path"`
	Attempt int             `json:"attempt"`
	Worker  string          `json:"worker"`
	Key     string          `json:"key" class:"content"` // made from the input's hash; of the effect, for whoever performs it; the same for every attempt
}

// StepCompleted is the accepted result of a step.
type StepCompleted struct {
	Path      domain.StepPath `json:"path"`
	Attempt   int             `json:"attempt"`
	Output    json.RawMessage `json:"output" class:"content"`
	Provider  string          `json:"provider,omitempty"`
	Model     string          `json:"model,omitempty"`
	Simulated bool            `json:"simulated,omitempty"`
	Started   time.Time       `json:"started"`   // when the worker began
	Workspace string          `json:"workspace"` // content hash of the files after it; empty until tools exist
}

// StepFailed ends an attempt. RetryAt says when the next becomes due; absent,
// the failure is final.
type StepFailed struct {
	Path    domain.StepPath `json:"path"`
	Attempt int             `json:"attempt"`
	Fault   domain.Fault    `json:"fault"`
	RetryAt *time.Time      `json:"retry_at,omitempty"`
}

// StepLapsed ends an attempt whose worker went away; its outcome is unknown.
type StepLapsed struct {
	Path    domain.StepPath `json:"path"`
	Attempt int             `json:"attempt"`
	Worker  string          `json:"worker,omitempty"`
}

// StepSkipped ends a step that a condition or a skipped dependency left out.
type StepSkipped struct {
	Path   domain.StepPath `json:"path"`
	Reason string          `json:"reason"`
}

// TokensSpent is what one attempt's model calls consumed and cost, as charged.
// It is recorded even when the attempt's result came too late to count.
type TokensSpent struct {
	Path       domain.StepPath `json:"path"`
	Attempt    int             `json:"attempt"`
	Call       int             `json:"call"` // of the attempt, from 1
	Usage      domain.Usage    `json:"usage"`
	PriceTable string          `json:"price_table,omitempty"`
}

// RunCompleted ends a run well.
type RunCompleted struct {
	Outputs map[string]json.RawMessage `json:"outputs" class:"content"`
}

// RunFailed ends a run with the cause.
type RunFailed struct {
	Fault domain.Fault    `json:"fault"`
	Path  domain.StepPath `json:"path,omitempty"` // the step that failed it, if one did
}

// RunCancelled ends a run on request.
type RunCancelled struct {
	Reason string `json:"reason,omitempty" class:"content"`
}

func (RunStarted) EventType() string    { return "run.started" }
func (StepScheduled) EventType() string { return "run.step_scheduled" }
func (StepStarted) EventType() string   { return "run.step_started" }
func (StepCompleted) EventType() string { return "run.step_completed" }
func (StepFailed) EventType() string    { return "run.step_failed" }
func (StepLapsed) EventType() string    { return "run.step_lapsed" }
func (StepSkipped) EventType() string   { return "run.step_skipped" }
func (TokensSpent) EventType() string   { return "run.tokens_spent" }
func (RunCompleted) EventType() string  { return "run.completed" }
func (RunFailed) EventType() string     { return "run.failed" }
func (RunCancelled) EventType() string  { return "run.cancelled" }

func (RunStarted) isRun()    {}
func (StepScheduled) isRun() {}
func (StepStarted) isRun()   {}
func (StepCompleted) isRun() {}
func (StepFailed) isRun()    {}
func (StepLapsed) isRun()    {}
func (StepSkipped) isRun()   {}
func (TokensSpent) isRun()   {}
func (RunCompleted) isRun()  {}
func (RunFailed) isRun()     {}
func (RunCancelled) isRun()  {}

var runTypes = []Type{
	of[RunStarted](), of[StepScheduled](), of[StepStarted](), of[StepCompleted](), of[StepFailed](), of[StepLapsed](),
	of[StepSkipped](), of[TokensSpent](), of[RunCompleted](closes), of[RunFailed](closes), of[RunCancelled](closes),
}
