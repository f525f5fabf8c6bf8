package v1

import (
	"encoding/json"
	"time"
)

// The states of a run.
const (
	RunRunning   = "running"
	RunCompleted = "completed"
	RunFailed    = "failed"
	RunCancelled = "cancelled"
)

// The states of a step.
const (
	StepWaiting   = "waiting"   // for the steps it needs
	StepScheduled = "scheduled" // due; a worker may have it
	StepRetrying  = "retrying"  // an attempt failed, the next has a date
	StepCompleted = "completed" // has its accepted result
	StepFailed    = "failed"    // for good
	StepSkipped   = "skipped"   // left out by a condition
	StepCancelled = "cancelled" // the run ended before it did
)

// StartRun is the body of a request to start a run.
type StartRun struct {
	Inputs   map[string]json.RawMessage `json:"inputs,omitempty" nullable:"false" doc:"Values of the workflow's parameters, by name"`
	Priority int                        `json:"priority,omitempty" minimum:"-100" maximum:"100" doc:"Greater first"`
	Version  int                        `json:"version,omitempty" minimum:"1" doc:"Version of the workflow; the newest if left out"`
}

// Started is the answer to a request to start a run.
type Started struct {
	Receipt
	Ended *RunEnd `json:"ended,omitempty" doc:"How the run ended, if the answer waited for that: Prefer: hishamos-after=ended, wait=30"`
}

// RunEnd is how a run ended.
type RunEnd struct {
	State     string                     `json:"state" enum:"completed,failed,cancelled"`
	Outputs   map[string]json.RawMessage `json:"outputs,omitempty"`
	Fault     *Fault                     `json:"fault,omitempty" doc:"Why it failed"`
	FaultStep string                     `json:"fault_step,omitempty" doc:"The step that failed it"`
	Reason    string                     `json:"reason,omitempty" doc:"Why it was cancelled"`
	Time      time.Time                  `json:"time" doc:"When it ended"`
	Sealed    bool                       `json:"sealed,omitempty" doc:"It has content, which needs permission content:read: such values are [sealed]"`
}

// CancelRun is the body of a request to cancel a run.
type CancelRun struct {
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the history"`
}

// Progress counts the steps of a run.
type Progress struct {
	Done    int      `json:"done" doc:"Steps that ended"`
	Total   int      `json:"total" doc:"All steps"`
	Current []string `json:"current" nullable:"false" doc:"Paths of the steps at work"`
}

// Run is one execution of a workflow. In lists, Steps, Inputs and Outputs are
// left out.
type Run struct {
	ID        string                     `json:"id"`
	Workflow  Ref                        `json:"workflow"`
	Title     string                     `json:"title,omitempty"`
	State     string                     `json:"state" enum:"running,completed,failed,cancelled"`
	Priority  int                        `json:"priority"`
	Progress  Progress                   `json:"progress"`
	Cost      Cost                       `json:"cost"`
	StartedBy string                     `json:"started_by,omitempty" doc:"Who started it"`
	Started   time.Time                  `json:"started"`
	Ended     *time.Time                 `json:"ended,omitempty"`
	Fault     *Fault                     `json:"fault,omitempty" doc:"Why it failed"`
	FaultStep string                     `json:"fault_step,omitempty" doc:"The step that failed it"`
	Reason    string                     `json:"reason,omitempty" doc:"Why it was cancelled"`
	Version   Ordinal                    `json:"version" doc:"Number of its events; the ETag"`
	Degraded  bool                       `json:"degraded,omitempty" doc:"An event of it could not be applied: this view is not complete"`
	Erased    bool                       `json:"erased,omitempty" doc:"Some of it was erased for ever: such values are [erased]"`
	Sealed    bool                       `json:"sealed,omitempty" doc:"It has content, which needs permission content:read: such values are [sealed]"`
	Inputs    map[string]json.RawMessage `json:"inputs,omitempty"`
	Outputs   map[string]json.RawMessage `json:"outputs,omitempty"`
	Steps     []Step                     `json:"steps,omitempty" nullable:"false"`
}

// Step is one step of a run.
type Step struct {
	Path      string          `json:"path"`
	Title     string          `json:"title,omitempty"`
	Kind      string          `json:"kind,omitempty"`
	Agent     *Ref            `json:"agent,omitempty"`
	Template  *Ref            `json:"template,omitempty"`
	State     string          `json:"state" enum:"waiting,scheduled,retrying,completed,failed,skipped,cancelled"`
	Attempt   int             `json:"attempt,omitempty" doc:"From 1; 0 before the first"`
	Output    json.RawMessage `json:"output,omitempty"`
	Fault     *Fault          `json:"fault,omitempty"`
	Reason    string          `json:"reason,omitempty" doc:"Why it was skipped"`
	Provider  string          `json:"provider,omitempty"`
	Model     string          `json:"model,omitempty"`
	Simulated bool            `json:"simulated,omitempty" doc:"No model was called"`
	Cost      Cost            `json:"cost"`
	Scheduled *time.Time      `json:"scheduled,omitempty" doc:"When its newest attempt became due"`
	Started   *time.Time      `json:"started,omitempty" doc:"When a worker began the accepted attempt"`
	Ended     *time.Time      `json:"ended,omitempty"`
	RetryAt   *time.Time      `json:"retry_at,omitempty"`
}

// RunList is one page of runs.
type RunList struct {
	Items []Run  `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}

// Final reports whether a run in this state can still change.
func Final(state string) bool {
	return state == RunCompleted || state == RunFailed || state == RunCancelled
}
