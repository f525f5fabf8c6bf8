package commands

import (
	"encoding/json"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Run is what may be asked of a run.
//
//sumtype:decl
type Run interface {
	Command
	isRun()
}

// StartRun begins a run of a definition. Agents and Templates pin the library
// versions the run will use.
type StartRun struct {
	Run        domain.StreamID
	Definition domain.Definition
	Inputs     map[string]json.RawMessage
	Agents     map[string]domain.Ref
	Templates  map[string]domain.Ref
	Files      []string // that the inputs refer to, and that who starts the run may read
	Priority   int      // -100 to 100, greater first
}

// StepResult names the attempt a worker reports on and what it spent.
type StepResult struct {
	Run        domain.StreamID `json:"run"`
	Path       domain.StepPath `json:"path"`
	Attempt    int             `json:"attempt"`
	Spent      []domain.Usage  `json:"spent,omitempty"` // one per model call, in order
	PriceTable string          `json:"price_table,omitempty"`
}

// BeginStep records, before a guarded effect is performed, that it is about to
// be. A refusal means: do not perform it.
type BeginStep struct {
	Run     domain.StreamID `json:"run"`
	Path    domain.StepPath `json:"path"`
	Attempt int             `json:"attempt"`
	Worker  string          `json:"worker"`
}

// CompleteStep reports an attempt's result.
type CompleteStep struct {
	StepResult
	Output    json.RawMessage `json:"output"`
	Provider  string          `json:"provider,omitempty"`
	Model     string          `json:"model,omitempty"`
	Simulated bool            `json:"simulated,omitempty"`
	Started   time.Time       `json:"started"`
}

// FailStep reports that an attempt failed.
type FailStep struct {
	StepResult
	Fault domain.Fault `json:"fault"`
}

// LapseStep reports that an attempt's worker is gone.
type LapseStep struct {
	Run     domain.StreamID
	Path    domain.StepPath
	Attempt int
	Worker  string
}

// FireTimer says that a due time of the run has come. The state judges.
type FireTimer struct {
	Run   domain.StreamID
	Timer string
}

// CancelRun ends a run on request.
type CancelRun struct {
	Run    domain.StreamID
	Reason string
}

func (StartRun) CommandName() string     { return "run.start" }
func (BeginStep) CommandName() string    { return "run.begin_step" }
func (CompleteStep) CommandName() string { return "run.complete_step" }
func (FailStep) CommandName() string     { return "run.fail_step" }
func (LapseStep) CommandName() string    { return "run.lapse_step" }
func (FireTimer) CommandName() string    { return "run.fire_timer" }
func (CancelRun) CommandName() string    { return "run.cancel" }

func (c StartRun) Target() domain.StreamID   { return c.Run }
func (c BeginStep) Target() domain.StreamID  { return c.Run }
func (c StepResult) Target() domain.StreamID { return c.Run }
func (c LapseStep) Target() domain.StreamID  { return c.Run }
func (c FireTimer) Target() domain.StreamID  { return c.Run }
func (c CancelRun) Target() domain.StreamID  { return c.Run }

func (StartRun) Needs() domain.Permission   { return domain.RunStart }
func (BeginStep) Needs() domain.Permission  { return domain.RunWork }
func (StepResult) Needs() domain.Permission { return domain.RunWork }
func (LapseStep) Needs() domain.Permission  { return domain.RunWork }
func (FireTimer) Needs() domain.Permission  { return domain.RunWork }
func (CancelRun) Needs() domain.Permission  { return domain.RunCancel }

// Urgent implements the interface of that name.
func (BeginStep) Urgent() {}

// Urgent implements the interface of that name.
func (StepResult) Urgent() {}

// Urgent implements the interface of that name.
func (LapseStep) Urgent() {}

// Urgent implements the interface of that name.
func (FireTimer) Urgent() {}

// Urgent implements the interface of that name.
func (CancelRun) Urgent() {}

func (StartRun) isRun()     {}
func (BeginStep) isRun()    {}
func (CompleteStep) isRun() {}
func (FailStep) isRun()     {}
func (LapseStep) isRun()    {}
func (FireTimer) isRun()    {}
func (CancelRun) isRun()    {}

// Validate implements Command. The definition itself is checked where it enters
// the system (domain/workflow), and again by the decider.
func (c StartRun) Validate() error {
	if c.Priority < -100 || c.Priority > 100 {
		return domain.InvalidField("priority", "must be between -100 and 100", "leave it out for 0")
	}
	return validStream("run", c.Run, "run")
}

// Validate implements Command.
func (c BeginStep) Validate() error {
	if c.Worker == "" {
		return domain.InvalidField("worker", "is missing", "name the worker that holds the lease")
	}
	return validAttempt(c.Run, c.Path, c.Attempt)
}

// Validate implements Command.
func (c StepResult) Validate() error { return validAttempt(c.Run, c.Path, c.Attempt) }

// Validate implements Command.
func (c CompleteStep) Validate() error {
	if !json.Valid(c.Output) {
		return domain.InvalidField("output", "is not JSON", "send any JSON value")
	}
	return c.StepResult.Validate()
}

// Validate implements Command.
func (c FailStep) Validate() error {
	if c.Fault.Code == "" {
		return domain.InvalidField("fault.code", "is missing", "name the cause, such as provider.timeout")
	}
	return c.StepResult.Validate()
}

// Validate implements Command.
func (c LapseStep) Validate() error { return validAttempt(c.Run, c.Path, c.Attempt) }

// Validate implements Command.
func (c FireTimer) Validate() error {
	if c.Timer == "" {
		return domain.InvalidField("timer", "is missing", "name the timer")
	}
	return validStream("run", c.Run, "run")
}

// Validate implements Command.
func (c CancelRun) Validate() error {
	if len(c.Reason) > 1000 {
		return domain.InvalidField("reason", "is longer than 1000 bytes", "shorten it")
	}
	return validStream("run", c.Run, "run")
}

func validAttempt(run domain.StreamID, path domain.StepPath, attempt int) error {
	if path == "" {
		return domain.InvalidField("path", "is missing", "name the step")
	}
	if attempt < 1 {
		return domain.InvalidField("attempt", "must be at least 1", "send the attempt number of the lease")
	}
	return validStream("run", run, "run")
}
