package projections

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/projection"
)

// The states of a run.
const (
	Running   = "running"
	Completed = "completed"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// The further states of a step.
const (
	Waiting   = "waiting"
	Scheduled = "scheduled"
	Retrying  = "retrying"
	Skipped   = "skipped"
)

// Run is one execution of a workflow as lists show it: its row, and what its
// steps add up to. An event of a step so writes one row, not two.
type Run struct {
	RunRow
	Progress
}

// RunRow is what a run keeps of its own. What its first event fixes and what is
// written once is marked live: the history does without.
type RunRow struct {
	Tenant          domain.Tenant              `db:"tenant,key"`
	Run             domain.RunID               `db:"run,key"`
	Workflow        string                     `db:"workflow,live"`
	WorkflowVersion int                        `db:"workflow_version,live"`
	Title           string                     `db:"title,live"`
	State           string                     `db:"state"`
	Priority        int                        `db:"priority,live"`
	StepsTotal      int                        `db:"steps_total"`
	Paths           []domain.StepPath          `db:"paths,live"` // of all its steps, in order
	Plan            *Plan                      `db:"plan,live"`
	StartedBy       string                     `db:"started_by,live"`
	Reason          string                     `db:"reason"` // of a cancellation
	ErrorCode       string                     `db:"error_code"`
	ErrorMessage    string                     `db:"error_message"`
	ErrorPath       domain.StepPath            `db:"error_path"`
	Inputs          map[string]json.RawMessage `db:"inputs,live"`
	Outputs         map[string]json.RawMessage `db:"outputs,live"`
	Started         time.Time                  `db:"started,live"`
	Ended           *time.Time                 `db:"ended"`
	Deadline        *time.Time                 `db:"deadline,live"`
	// Of the stream's last event that changed the run or, in answers, a step of it.
	Version  domain.Sequence `db:"version"`
	Position domain.Position `db:"position"`
	Updated  time.Time       `db:"updated"`
}

// Plan is what a run's first event says of steps that are no tasks. Nobody lists
// those, so they get rows when something happens to them; until then a step is as
// it was planned, or cancelled with its run.
type Plan struct {
	Position domain.Position `json:"position"` // of the first event
	Steps    []PlannedStep   `json:"steps"`
}

// PlannedStep is one step of a plan; see Step.
type PlannedStep struct {
	Path      domain.StepPath `json:"path"`
	Ordinal   int             `json:"ordinal"`
	Title     string          `json:"title,omitempty"`
	Kind      domain.StepKind `json:"kind"`
	Needs     []string        `json:"needs,omitempty"`
	Condition string          `json:"condition,omitempty"`
	Input     map[string]any  `json:"input,omitempty"`
}

// Progress is what the steps of a run add up to.
type Progress struct {
	StepsDone        int               `db:"steps_done"`
	CurrentSteps     []domain.StepPath `db:"current_steps"` // those due, the longest due first
	TokensInput      int64             `db:"tokens_input"`
	TokensCached     int64             `db:"tokens_cached"`
	TokensCacheWrite int64             `db:"tokens_cache_write"`
	TokensOutput     int64             `db:"tokens_output"`
	TokensReasoning  int64             `db:"tokens_reasoning"`
	Cost             domain.NanoUSD    `db:"cost"`
	Simulated        bool              `db:"simulated"` // some call reached no model
}

// Step is one step of a run. A step with an agent is also a task; see task.go.
type Step struct {
	Tenant           domain.Tenant   `db:"tenant,key"`
	Run              domain.RunID    `db:"run,key"`
	Path             domain.StepPath `db:"path,key"`
	Ordinal          int             `db:"ordinal,live"`
	Title            string          `db:"title,live"`
	Kind             domain.StepKind `db:"kind,live"`
	Agent            string          `db:"agent"`
	AgentVersion     int             `db:"agent_version"`
	Template         string          `db:"template"`
	TemplateVersion  int             `db:"template_version"`
	Needs            []string        `db:"needs,live"`
	Condition        string          `db:"condition,live"`
	Input            map[string]any  `db:"input,live"` // template parameters, as the definition gives them
	Workflow         string          `db:"workflow,live"`
	Priority         int             `db:"priority,live"`
	RequestedBy      string          `db:"requested_by,live"`
	Created          time.Time       `db:"created,live"`
	State            string          `db:"state"`
	Attempts         int             `db:"attempts"`
	InputHash        string          `db:"input_hash"`
	Output           json.RawMessage `db:"output,live"`
	Reason           string          `db:"reason"` // why it was skipped
	ErrorCode        string          `db:"error_code"`
	ErrorMessage     string          `db:"error_message"`
	Provider         string          `db:"provider"`
	Model            string          `db:"model"`
	Simulated        bool            `db:"simulated"`
	TokensInput      int64           `db:"tokens_input"`
	TokensCached     int64           `db:"tokens_cached"`
	TokensCacheWrite int64           `db:"tokens_cache_write"`
	TokensOutput     int64           `db:"tokens_output"`
	TokensReasoning  int64           `db:"tokens_reasoning"`
	Cost             domain.NanoUSD  `db:"cost"`
	Scheduled        *time.Time      `db:"scheduled"` // the last attempt
	Started          *time.Time      `db:"started"`   // when the worker of the accepted result began
	Ended            *time.Time      `db:"ended"`
	RetryAt          *time.Time      `db:"retry_at"`
	Version          domain.Sequence `db:"version"` // of the stream's last event that changed it
	Position         domain.Position `db:"position"`
	Updated          time.Time       `db:"updated"`
	// The version before, if it said no more than that the last attempt was
	// scheduled: its version and position, and from where on it held.
	DueVersion  domain.Sequence `db:"due_version,live"`
	DuePosition domain.Position `db:"due_position,live"`
	DueFrom     domain.Position `db:"due_from,live"`
}

var (
	runs  = projection.NewHistoryTable[RunRow]("runs")
	steps = projection.NewHistoryTable[Step]("steps").Folds(projection.Fold[Step]{In: foldDue, Out: (*Step).due, Clear: (*Step).clearDue})
)

// foldDue has a step hold the version that was due before it; see Step.due.
func foldDue(before *Step, from domain.Position, s *Step) bool {
	held := *s
	held.DueVersion, held.DuePosition, held.DueFrom = before.Version, before.Position, from
	if due, _, ok := held.due(); !ok || !due.sameAs(before) {
		return false
	}
	*s = held
	return true
}

// due is the version that a step holds beside its own: what its last attempt was
// scheduled as.
func (s *Step) due() (due Step, from domain.Position, ok bool) {
	if s.DueFrom == 0 || s.Scheduled == nil {
		return due, 0, false
	}
	due = Step{
		Agent: s.Agent, AgentVersion: s.AgentVersion, Template: s.Template, TemplateVersion: s.TemplateVersion,
		State: Scheduled, Attempts: s.Attempts, InputHash: s.InputHash, Scheduled: s.Scheduled,
		Tenant: s.Tenant, Run: s.Run, Path: s.Path, Version: s.DueVersion, Position: s.DuePosition, Updated: *s.Scheduled,
	}
	return due, s.DueFrom, true
}

func (s *Step) clearDue() { s.DueVersion, s.DuePosition, s.DueFrom = 0, 0, 0 }

// sameAs compares what the history keeps of a due step.
func (s *Step) sameAs(o *Step) bool {
	same := func(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }
	return s.Agent == o.Agent && s.AgentVersion == o.AgentVersion && s.Template == o.Template && s.TemplateVersion == o.TemplateVersion &&
		s.State == o.State && s.Attempts == o.Attempts && s.InputHash == o.InputHash && s.Reason == o.Reason &&
		s.ErrorCode == o.ErrorCode && s.ErrorMessage == o.ErrorMessage && s.Provider == o.Provider && s.Model == o.Model &&
		s.Simulated == o.Simulated && s.TokensInput == o.TokensInput && s.TokensCached == o.TokensCached &&
		s.TokensCacheWrite == o.TokensCacheWrite && s.TokensOutput == o.TokensOutput && s.TokensReasoning == o.TokensReasoning &&
		s.Cost == o.Cost && same(s.Scheduled, o.Scheduled) && same(s.Started, o.Started) && same(s.Ended, o.Ended) &&
		same(s.RetryAt, o.RetryAt) && s.Version == o.Version && s.Position == o.Position && s.Updated.Equal(o.Updated)
}

// RunsDefinition fills runs and steps.
func RunsDefinition() *projection.Definition {
	return &projection.Definition{
		Name: "runs", Version: runsVersion,
		Tables: []*projection.Schema{runs.Schema, steps.Schema},
		Handlers: []projection.Handler{
			projection.On(runStarted), projection.On(stepScheduled), projection.On(stepStarted), projection.On(stepCompleted), projection.On(stepFailed),
			projection.On(stepLapsed), projection.On(stepSkipped), projection.On(tokensSpent),
			projection.On(runCompleted), projection.On(runFailed), projection.On(runCancelled),
		},
	}
}

func runKey(e events.Envelope) RunRow {
	return RunRow{Tenant: e.Stream.Tenant(), Run: domain.RunID(e.Stream.Entity())}
}

// errNoRun parks a stream whose beginning is missing.
var errNoRun = errors.New("the run has no row: its first event was not applied")

// changeRun reads a run, lets f change it, and writes it with the event's place.
func changeRun(w *projection.Rows, e events.Envelope, f func(*RunRow)) RunRow {
	r, ok := runs.Get(w, runKey(e))
	if !ok {
		w.Fail(errNoRun)
		return r
	}
	f(&r)
	r.Version, r.Position, r.Updated = e.Sequence, e.Position, e.Time
	runs.Put(w, r)
	return r
}

// changeStep does the same for a step.
func changeStep(w *projection.Rows, e events.Envelope, path domain.StepPath, f func(*Step)) {
	change := func(s *Step) {
		f(s)
		s.Version, s.Position, s.Updated = e.Sequence, e.Position, e.Time
	}
	if steps.Change(w, Step{Tenant: e.Stream.Tenant(), Run: domain.RunID(e.Stream.Entity()), Path: path}, change) {
		return
	}
	s := rowlessStep(w, e, path)
	if s.Run == "" { // while the run is not loaded
		return
	}
	change(&s)
	steps.Put(w, s)
}

// rowlessStep is a step to which nothing has happened yet.
func rowlessStep(w *projection.Rows, e events.Envelope, path domain.StepPath) (s Step) {
	if r := runs.Look(w, runKey(e)); r != nil && r.Plan != nil {
		for i := range r.Plan.Steps {
			if p := &r.Plan.Steps[i]; p.Path == path {
				return r.planned(p)
			}
		}
	}
	changeRun(w, e, func(r *RunRow) { s = dynamicStep(r, path) })
	return s
}

// planned is a step of the plan as the run's first event left it.
func (r *RunRow) planned(p *PlannedStep) Step {
	return Step{
		Tenant: r.Tenant, Run: r.Run, Path: p.Path, Ordinal: p.Ordinal, Title: p.Title, Kind: p.Kind,
		Needs: p.Needs, Condition: p.Condition, Input: p.Input,
		Workflow: r.Workflow, Priority: r.Priority, RequestedBy: r.StartedBy, Created: r.Started,
		State: Waiting, Version: 1, Position: r.Plan.Position, Updated: r.Started,
	}
}

// dynamicStep is a step that the definition did not list by its path.
func dynamicStep(r *RunRow, path domain.StepPath) Step {
	s := Step{
		Tenant: r.Tenant, Run: r.Run, Path: path, Ordinal: len(r.Paths), Kind: domain.AgentStep, State: Waiting,
		Workflow: r.Workflow, Priority: r.Priority, RequestedBy: r.StartedBy, Created: r.Started,
	}
	r.Paths = append(slices.Clip(r.Paths), path)
	r.StepsTotal++
	return s
}

// open reports whether a step may still change by itself.
func open(state string) bool { return state == Waiting || state == Scheduled || state == Retrying }

func runStarted(w *projection.Rows, r events.Recorded[events.RunStarted]) {
	e, d := r.Event, r.Event.Definition
	row := runKey(r.Envelope)
	row.Workflow, row.WorkflowVersion, row.Title = e.Workflow.ID, e.Workflow.Version, d.Title
	row.State, row.Priority, row.StepsTotal = Running, e.Priority, len(d.Steps)
	row.StartedBy, row.Inputs, row.Started, row.Deadline = actorID(r.Actor), e.Inputs, r.Time, e.Deadline
	row.Paths = make([]domain.StepPath, len(d.Steps))
	row.Version, row.Position, row.Updated = r.Sequence, r.Position, r.Time
	for i, s := range d.Steps {
		row.Paths[i] = domain.StepPath(s.ID)
		if s.Agent == "" {
			if row.Plan == nil {
				row.Plan = &Plan{Position: r.Position}
			}
			row.Plan.Steps = append(row.Plan.Steps, PlannedStep{row.Paths[i], i, s.Title, s.Kind, s.Needs, s.When, s.With})
			steps.Absent(w, Step{Tenant: row.Tenant, Run: row.Run, Path: row.Paths[i]})
			continue
		}
		agent, template := e.Agents[s.Agent], e.Templates[s.Template]
		steps.Insert(w, Step{
			Tenant: row.Tenant, Run: row.Run, Path: row.Paths[i], Ordinal: i, Title: s.Title, Kind: s.Kind,
			Agent: s.Agent, AgentVersion: agent.Version, Template: s.Template, TemplateVersion: template.Version,
			Needs: s.Needs, Condition: s.When, Input: s.With,
			Workflow: row.Workflow, Priority: row.Priority, RequestedBy: row.StartedBy, Created: row.Started,
			State: Waiting, Version: r.Sequence, Position: r.Position, Updated: r.Time,
		})
	}
	runs.Insert(w, row)
}

func stepScheduled(w *projection.Rows, r events.Recorded[events.StepScheduled]) {
	e := r.Event
	changeStep(w, r.Envelope, e.Path, func(s *Step) {
		s.State, s.Attempts, s.InputHash, s.Scheduled, s.RetryAt = Scheduled, e.Attempt, e.InputHash, &r.Time, nil
		if e.Agent != nil {
			s.Agent, s.AgentVersion = e.Agent.ID, e.Agent.Version
		}
		if e.Template != nil {
			s.Template, s.TemplateVersion = e.Template.ID, versionOf(e.Template)
		}
	})
}

// stepStarted changes nothing but the step's version.
func stepStarted(w *projection.Rows, r events.Recorded[events.StepStarted]) {
	changeStep(w, r.Envelope, r.Event.Path, func(*Step) {})
}

func stepCompleted(w *projection.Rows, r events.Recorded[events.StepCompleted]) {
	e := r.Event
	changeStep(w, r.Envelope, e.Path, func(s *Step) {
		s.State, s.Output, s.Provider, s.Model, s.Simulated = Completed, e.Output, e.Provider, e.Model, e.Simulated
		s.Started, s.Ended, s.ErrorCode, s.ErrorMessage = &e.Started, &r.Time, "", ""
	})
}

func stepFailed(w *projection.Rows, r events.Recorded[events.StepFailed]) {
	e := r.Event
	changeStep(w, r.Envelope, e.Path, func(s *Step) {
		s.ErrorCode, s.ErrorMessage, s.RetryAt = e.Fault.Code, e.Fault.Message, e.RetryAt
		if s.State = Retrying; e.RetryAt == nil {
			s.State, s.Ended = Failed, &r.Time
		}
	})
}

// A lapsed attempt leaves the step due; the next attempt is an event of its own.
func stepLapsed(w *projection.Rows, r events.Recorded[events.StepLapsed]) {
	changeStep(w, r.Envelope, r.Event.Path, func(s *Step) {
		s.ErrorCode, s.ErrorMessage = "step.lapsed", "the worker went away"
	})
}

func stepSkipped(w *projection.Rows, r events.Recorded[events.StepSkipped]) {
	changeStep(w, r.Envelope, r.Event.Path, func(s *Step) {
		s.State, s.Reason, s.Ended = Skipped, r.Event.Reason, &r.Time
	})
}

// Tokens count even when they were spent on an attempt that came too late.
func tokensSpent(w *projection.Rows, r events.Recorded[events.TokensSpent]) {
	u := r.Event.Usage
	changeStep(w, r.Envelope, r.Event.Path, func(s *Step) {
		s.TokensInput += u.Tokens.Input
		s.TokensCached += u.Tokens.CachedInput
		s.TokensCacheWrite += u.Tokens.CacheWrite
		s.TokensOutput += u.Tokens.Output
		s.TokensReasoning += u.Tokens.Reasoning
		s.Cost += u.Amount
		s.Simulated = s.Simulated || u.Simulated
	})
}

func runCompleted(w *projection.Rows, r events.Recorded[events.RunCompleted]) {
	endRun(w, r.Envelope, func(run *RunRow) { run.State, run.Outputs = Completed, r.Event.Outputs })
}

func runFailed(w *projection.Rows, r events.Recorded[events.RunFailed]) {
	endRun(w, r.Envelope, func(run *RunRow) {
		run.State, run.ErrorCode, run.ErrorMessage, run.ErrorPath = Failed, r.Event.Fault.Code, r.Event.Fault.Message, r.Event.Path
	})
}

func runCancelled(w *projection.Rows, r events.Recorded[events.RunCancelled]) {
	endRun(w, r.Envelope, func(run *RunRow) { run.State, run.Reason = Cancelled, r.Event.Reason })
}

// endRun ends a run and cancels the steps that have not ended by themselves. Those
// without a row are cancelled with it; see Runs.Get.
func endRun(w *projection.Rows, e events.Envelope, f func(*RunRow)) {
	run := changeRun(w, e, func(r *RunRow) {
		f(r)
		r.Ended = &e.Time
	})
	for _, path := range run.Paths {
		step := steps.Look(w, Step{Tenant: run.Tenant, Run: run.Run, Path: path})
		if step == nil || !open(step.State) {
			continue
		}
		s := *step
		s.State, s.Ended, s.RetryAt = Cancelled, &e.Time, nil
		s.Version, s.Position, s.Updated = e.Sequence, e.Position, e.Time
		steps.Put(w, s)
	}
}
