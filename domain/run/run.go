// Package run is one execution of a workflow: the process that makes steps due,
// retries them and ends.
//
// It must not know who performs a step, what time it is, or that anything is
// stored. It imports domain, domain/expr, events and commands. Start reading at
// Decide; due.go holds what follows from the end of a step.
//
// The states of a run, and of a step:
//
//	run:  new → running
//	run:  running → completed | failed | cancelled
//	step: waiting → scheduled | skipped | cancelled
//	step: scheduled → completed | failed | retrying | cancelled
//	step: retrying → scheduled | cancelled
//
// The rules:
//
//  1. A run starts once, from a valid definition, with inputs that keep to its
//     parameters. Its first event carries everything it will follow.
//  2. A result, the steps it makes due and the end of the run are one append.
//  3. A step becomes due when all it needs have ended: completed, skipped, or
//     failed with on_error continue. Due steps keep their declared order.
//  4. A step is skipped when its condition is false; without a condition of its
//     own, when all it needs were skipped. So what follows an untaken branch is
//     skipped with it, and a join goes on with the branch that was taken.
//  5. A condition, input or output that has no value fails the run with
//     run.expression_failed. Nothing becomes due in that append.
//  6. A failed attempt is tried again after a delay, until the attempts are used
//     up or the fault is final. Then on_error decides: the run fails with the
//     cause, or it goes on.
//  7. An attempt whose worker went away is replaced at once. That costs no
//     attempt of the retry policy, but after MaxLapses the step fails.
//  8. An attempt is open from when it is scheduled until it ends, lapses or is
//     timed out. Only the open attempt's result counts; numbers only grow.
//  9. Money spent is never lost and counted once: a report that comes too late
//     to count, even after the end of the run, still records its model calls.
//  10. A timer that fires early, late, twice or without meaning changes nothing.
//  11. Nothing but money is recorded after a run has ended.
//  12. A guarded effect (keyed, or at most once) is begun by an event of its own,
//     by one worker. The outcome of an attempt that was begun and then lapsed or
//     passed its deadline is unknown: at most once, the step then fails and is
//     not tried again.
package run

import (
	"encoding/json"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Engine is the number of the semantics by which this package decides. It is
// raised only when a recorded history would be decided differently.
const Engine = 1

// MaxLapses is how often a step's worker may go away before the step fails.
const MaxLapses = 10

// Decider is the run as a value.
var Decider = domain.Decider[State, commands.Run, events.Run]{
	Kind:    "run",
	Initial: initial,
	Evolve:  Evolve,
	Decide:  Decide,
}

func initial() State { return State{phase: New} }

// Phase is the state of a run.
type Phase string

// The states of a run.
const (
	New       Phase = "new"
	Running   Phase = "running"
	Completed Phase = "completed"
	Failed    Phase = "failed"
	Cancelled Phase = "cancelled"
)

// Status is the state of a step.
type Status string

// The states of a step.
const (
	StepWaiting   Status = "waiting"
	StepScheduled Status = "scheduled"
	StepRetrying  Status = "retrying"
	StepCompleted Status = "completed"
	StepFailed    Status = "failed"
	StepSkipped   Status = "skipped"
	StepCancelled Status = "cancelled"
)

// ended reports whether the steps that need one in this state may go on.
func (s Status) ended() bool { return s == StepCompleted || s == StepFailed || s == StepSkipped }

// The codes of faults that a run finds by itself.
const (
	CodeExpressionFailed = "run.expression_failed"
	CodeDeadline         = "run.deadline"
	CodeTimeout          = "step.timeout"
	CodeAbandoned        = "step.abandoned"
	CodeOutcomeUnknown   = "step.outcome_unknown"
)

// Why a step was skipped.
const (
	ReasonCondition = "condition"     // its condition was false
	ReasonNeeds     = "needs_skipped" // all it needs were skipped
)

// State is a run as its events tell it.
type State struct {
	phase    Phase
	engine   int
	def      domain.Definition
	inputs   map[string]json.RawMessage
	agents   map[string]domain.Ref
	prompts  map[string]domain.Ref // templates
	files    []string              // that inputs refer to
	priority int
	deadline time.Time // zero: none
	fault    *domain.Fault

	steps []step         // in declared order
	index map[string]int // by id
	open  []int          // scheduled or retrying, in declared order
	ended int            // completed, failed or skipped
}

// step is what the events say of one step. Its definition is at the same place
// in the run's.
type step struct {
	status     Status
	waits      int   // needs that have not ended
	dependents []int // steps that need this one
	attempt    int   // the latest; 0: none yet
	failures   int
	lapses     int
	deadline   time.Time // of the open attempt
	retryAt    time.Time // when retrying
	inputHash  string
	begunBy    string // the worker that began the open attempt's guarded effect; empty: none
	output     json.RawMessage
	fault      *domain.Fault
	calls      []int // recorded model calls, by attempt − 1
}

// recorded returns how many model calls of an attempt are on the stream.
func (s *step) recorded(attempt int) int {
	if attempt > len(s.calls) {
		return 0
	}
	return s.calls[attempt-1]
}

// The sentinels.
var (
	ErrNotFound = &domain.Error{Kind: domain.NotFound, Code: "run.not_found", Message: "there is no such run"}

	ErrAlreadyStarted = &domain.Error{
		Kind: domain.Conflict, Code: "run.already_started",
		Message: "the run has already started", Fix: "start a run with a fresh id",
	}

	ErrNotOpen = &domain.Error{
		Kind: domain.Conflict, Code: "run.attempt_not_open", Message: "the attempt is not open any more",
		Fix: "do not perform it",
	}

	ErrBegunByAnother = &domain.Error{
		Kind: domain.Conflict, Code: "run.begun_by_another", Message: "another worker has begun the effect",
		Fix: "do not perform it",
	}

	ErrAlreadyEnded = &domain.Error{Kind: domain.Conflict, Code: "run.already_ended", Message: "the run has already ended"}

	ErrUnknownAgent = &domain.Error{
		Kind: domain.Invalid, Code: "run.unknown_agent", Message: "the agent is not known",
		Fix: "name an agent of the library",
	}

	ErrUnknownTemplate = &domain.Error{
		Kind: domain.Invalid, Code: "run.unknown_template", Message: "the template is not known",
		Fix: "name a template of the library",
	}

	ErrUnknownAttempt = &domain.Error{
		Kind: domain.Invalid, Code: "run.unknown_attempt",
		Message: "the run never made this attempt due", Fix: "report the path and attempt of the lease",
	}

	ErrNewerEngine = &domain.Error{
		Kind: domain.Unavailable, Code: "run.newer_engine",
		Message: "the run follows rules newer than this process", Fix: "upgrade this process",
	}
)
