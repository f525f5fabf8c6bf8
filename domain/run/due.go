package run

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/expr"
	"github.com/hishamos/hishamos/events"
)

// decision is what one command leads to: the events so far, and what they
// change, laid over a state that must stay as it is. Its cost is that of the
// steps it touches, not of the run.
type decision struct {
	s     *State
	run   domain.StreamID
	now   time.Time
	out   []events.Run
	ended map[int]outcome // steps that end in this decision
	waits map[int]int     // open needs of steps, where this decision changes them
	due   []int           // steps whose needs have ended, in declared order
}

// outcome is how a step ended.
type outcome struct {
	status Status
	output json.RawMessage
	fault  *domain.Fault
}

func newDecision(s *State, run domain.StreamID, now time.Time, out ...events.Run) *decision {
	return &decision{s: s, run: run, now: now, out: out}
}

func (d *decision) emit(e events.Run) { d.out = append(d.out, e) }

// end notes that a step has ended, and which steps that makes due.
func (d *decision) end(i int, o outcome) {
	if d.ended == nil {
		d.ended, d.waits = make(map[int]outcome), make(map[int]int)
	}
	d.ended[i] = o
	for _, j := range d.s.steps[i].dependents {
		open, changed := d.waits[j]
		if !changed {
			open = d.s.steps[j].waits
		}
		d.waits[j] = open - 1
		if open == 1 {
			at, _ := slices.BinarySearch(d.due, j)
			d.due = slices.Insert(d.due, at, j)
		}
	}
}

// proceed schedules or skips what is due, and ends the run if nothing is left.
// It protects rules 2, 3 and 5.
func (d *decision) proceed() []events.Run {
	settled := len(d.out)
	for len(d.due) > 0 {
		i := d.due[0]
		d.due = d.due[1:]
		if failed := d.begin(i); failed != nil {
			d.out = append(d.out[:settled], failed)
			return d.out
		}
	}
	if d.s.ended+len(d.ended) == len(d.s.steps) {
		d.emit(d.finish())
	}
	return d.out
}

// begin schedules or skips one step. It returns the event that fails the run if
// one of the step's expressions has no value.
func (d *decision) begin(i int) events.Run {
	st := &d.s.def.Steps[i]
	switch {
	case st.When != "":
		truth, err := expr.EvalBool(st.When, d.vars())
		if err != nil {
			return d.expressionFailed(i, "when", err)
		}
		if !truth {
			d.skip(i, ReasonCondition)
			return nil
		}
	case d.allSkipped(st.Needs):
		d.skip(i, ReasonNeeds)
		return nil
	}
	input, err := expr.Interpolate(st.With, d.vars())
	if err != nil {
		return d.expressionFailed(i, "with", err)
	}
	d.schedule(i, 1, hashInput(input))
	return nil
}

// allSkipped protects rule 4.
func (d *decision) allSkipped(needs []string) bool {
	for _, id := range needs {
		if d.outcome(d.s.index[id]).status != StepSkipped {
			return false
		}
	}
	return len(needs) > 0
}

func (d *decision) skip(i int, reason string) {
	d.emit(events.StepSkipped{Path: d.path(i), Reason: reason})
	d.end(i, outcome{status: StepSkipped})
}

func (d *decision) schedule(i, attempt int, inputHash string) {
	st := &d.s.def.Steps[i]
	e := events.StepScheduled{
		Path: d.path(i), Attempt: attempt, InputHash: inputHash, Effect: st.Effect,
		Deadline: d.now.Add(timeoutOf(st)).Truncate(time.Microsecond),
	}
	if e.Effect == "" {
		e.Effect = domain.Repeatable
	}
	if st.Kind == domain.AgentStep {
		agent, template := d.s.agents[st.Agent], d.s.prompts[st.Template]
		e.Agent, e.Template = &agent, &template
	}
	d.emit(e)
}

func timeoutOf(st *domain.Step) time.Duration {
	if st.Timeout > 0 {
		return time.Duration(st.Timeout)
	}
	return domain.DefaultStepTimeout
}

// fail ends the open attempt of a step. It protects rule 6.
func (d *decision) fail(i int, fault domain.Fault) []events.Run {
	policy := d.s.def.Steps[i].Retry
	attempts := policy.MaxAttempts
	if attempts == 0 {
		attempts = domain.DefaultAttempts
	}
	st := &d.s.steps[i]
	if fault.Final || st.failures+1 >= attempts {
		return d.failFinally(i, fault)
	}
	retryAt := d.now.Add(backoff(policy, st.failures+1, d.run, d.path(i), st.attempt))
	d.emit(events.StepFailed{Path: d.path(i), Attempt: st.attempt, Fault: fault, RetryAt: &retryAt})
	return d.out
}

func (d *decision) failFinally(i int, fault domain.Fault) []events.Run {
	d.emit(events.StepFailed{Path: d.path(i), Attempt: d.s.steps[i].attempt, Fault: fault})
	if d.s.def.Steps[i].OnError != domain.ContinueRun {
		d.emit(events.RunFailed{Fault: fault, Path: d.path(i)})
		return d.out
	}
	d.end(i, outcome{status: StepFailed, fault: &fault})
	return d.proceed()
}

// timeOut ends an attempt that passed its deadline.
func (d *decision) timeOut(i int) []events.Run {
	st := &d.s.def.Steps[i]
	why := fmt.Sprintf("attempt %d took longer than %s", d.s.steps[i].attempt, timeoutOf(st))
	if d.s.outcomeUnknown(i) { // rule 12
		return d.failFinally(i, unknownOutcome(why))
	}
	return d.fail(i, domain.Fault{Code: CodeTimeout, Message: why})
}

// finish ends the run well, or not if an output has no value.
func (d *decision) finish() events.Run {
	named := make(map[string]any, len(d.s.def.Outputs))
	for name, text := range d.s.def.Outputs {
		named[name] = text
	}
	raw, err := expr.Interpolate(named, d.vars())
	if err != nil {
		return expressionFault("outputs", "", err)
	}
	outputs := make(map[string]json.RawMessage, len(named))
	if err := json.Unmarshal(raw, &outputs); err != nil {
		return expressionFault("outputs", "", err)
	}
	return events.RunCompleted{Outputs: outputs}
}

func (d *decision) expressionFailed(i int, field string, err error) events.Run {
	return expressionFault(fmt.Sprintf("steps[%d].%s", i, field), d.path(i), err)
}

func expressionFault(field string, path domain.StepPath, err error) events.Run {
	if e, ok := err.(*expr.Error); ok && e.Field != "" {
		field += "." + e.Field
	}
	return events.RunFailed{Path: path, Fault: domain.Fault{
		Code: CodeExpressionFailed, Final: true, Message: fmt.Sprintf("%s: %v", field, err),
	}}
}

func (d *decision) path(i int) domain.StepPath { return domain.StepPath(d.s.def.Steps[i].ID) }

// outcome returns how a step stands once this decision holds.
func (d *decision) outcome(i int) outcome {
	if o, ok := d.ended[i]; ok {
		return o
	}
	st := &d.s.steps[i]
	return outcome{status: st.status, output: st.output, fault: st.fault}
}

// vars is what expressions see.
func (d *decision) vars() expr.Vars {
	return expr.Vars{Inputs: d.s.inputs, Step: func(id string) expr.Step {
		i, ok := d.s.index[id]
		if !ok {
			return expr.Step{}
		}
		return d.outcome(i).seen()
	}}
}

// seen is an outcome as expressions see it.
func (o outcome) seen() expr.Step {
	if o.status != StepFailed {
		o.fault = nil // of an earlier attempt
	}
	return expr.Step{State: string(o.status), Output: o.output, Fault: o.fault}
}

// backoff is the delay before the attempt after the n-th failure: full jitter
// over an exponentially growing bound. The jitter follows from what the attempt
// is, so that deciding again gives the same.
func backoff(policy domain.Retry, n int, run domain.StreamID, path domain.StepPath, attempt int) time.Duration {
	bound, limit := time.Duration(policy.Delay), time.Duration(policy.MaxDelay)
	if bound == 0 {
		bound = domain.DefaultRetryDelay
	}
	if limit == 0 {
		limit = domain.DefaultMaxDelay
	}
	for ; n > 1 && bound < limit; n-- {
		bound *= 2
	}
	bound = min(bound, limit)
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", run, path, attempt))
	share := float64(binary.BigEndian.Uint64(h[:8])>>11) / (1 << 53)
	return time.Duration(share * float64(bound)).Truncate(time.Microsecond)
}

func hexSHA256(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
