package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/sim"
	"github.com/hishamos/hishamos/internal/worker"
)

// simClient starts a run, insists until it is told, asks again, and may cancel.
type simClient struct {
	w       *simWorld
	name    string
	tenant  domain.Tenant
	todo    []commands.Request // in order; each until it is settled
	repeats []commands.Request
	start   commands.Request // what it began with
	done    bool
}

func (w *simWorld) addClient(i int) {
	c := &simClient{w: w, name: fmt.Sprintf("client%d", i), tenant: domain.DefaultTenant}
	if w.Chance(0.3) {
		c.tenant = "t_00000000-0000-7000-8000-000000000001"
	}
	run := domain.RunID("run_" + w.NewID()).Stream(c.tenant)
	who := domain.Principal{Tenant: c.tenant, Chain: []domain.Actor{{ID: c.name, Kind: domain.Human}}, Permissions: []domain.Permission{domain.AllPermissions}}
	ref := func(id string) map[string]domain.Ref { return map[string]domain.Ref{id: {ID: id, Version: 1}} }
	c.todo = append(c.todo, commands.Request{
		ID: domain.CommandID(w.NewID()), Principal: who, Body: []byte("start"),
		Command: commands.StartRun{Run: run, Definition: w.definition(), Agents: ref("writer"), Templates: ref("draft"), Priority: w.Rand.IntN(3)},
	})
	if w.Chance(0.2) {
		c.todo = append(c.todo, commands.Request{
			ID: domain.CommandID(w.NewID()), Principal: who, Body: []byte("cancel"),
			Command: commands.CancelRun{Run: run, Reason: simCanary + " is no longer needed"},
		})
	}
	c.start = c.todo[0]
	w.clients = append(w.clients, c)
	w.Add(c.name, w.Between(time.Second, 30*time.Second), c.step)
}

func (c *simClient) step() sim.Pause {
	if len(c.todo) == 0 && len(c.repeats) == 0 {
		c.done = true
		return sim.Gone
	}
	if len(c.repeats) > 0 && (len(c.todo) == 0 || c.w.Chance(0.5)) {
		r := c.repeats[0]
		if err, lived := c.w.ask(r); lived && !simPassing(err) || lived && err == nil {
			c.repeats = c.repeats[1:]
			if r.Body[0] == 'X' && !errors.Is(err, eventstore.ErrBodyMismatch) {
				c.w.breaks("I8", "another request under a used id was answered with %v", err)
			}
		}
		return sim.Pause(c.w.Between(10*time.Millisecond, 5*time.Second))
	}
	r := c.todo[0]
	err, lived := c.w.ask(r)
	if !lived || err != nil && simPassing(err) {
		return sim.Pause(c.w.Between(10*time.Millisecond, time.Second))
	}
	c.todo = c.todo[1:]
	if err == nil && c.w.Chance(0.4) {
		if c.w.Chance(0.3) {
			r.Body = []byte("X" + string(r.Body))
		}
		c.repeats = append(c.repeats, r)
	}
	return sim.Pause(c.w.Between(10*time.Millisecond, 20*time.Second))
}

// again is the start of a further run of the same definition.
func (w *simWorld) again(c commands.Command) commands.Command {
	start := c.(commands.StartRun)
	start.Run = domain.RunID("run_" + w.NewID()).Stream(start.Run.Tenant())
	return start
}

// ask sends a request to some node from outside; it may die on the way.
func (w *simWorld) ask(r commands.Request) (err error, lived bool) {
	n := w.nodes[w.Rand.IntN(len(w.nodes))]
	if !n.up {
		return eventstore.ErrBusy, true
	}
	lived = w.within(n, func() { _, err = n.ports.Dispatcher.Do(context.Background(), r) })
	return err, lived
}

// definition draws a workflow from a few shapes.
func (w *simWorld) definition() domain.Definition {
	d := domain.Definition{ID: "simulated", Version: 1, Title: "Simulated", Outputs: map[string]string{"first": "${steps.a.state}"}}
	step := func(id string, needs ...string) *domain.Step {
		d.Steps = append(d.Steps, domain.Step{
			ID: id, Kind: domain.AgentStep, Agent: "writer", Template: "draft", Needs: needs,
			Timeout: domain.Duration(10 * time.Second), Retry: domain.Retry{MaxAttempts: 2 + w.Rand.IntN(3), Delay: domain.Duration(2 * time.Second)},
		})
		s := &d.Steps[len(d.Steps)-1]
		if len(needs) > 0 {
			s.With = map[string]any{"before": "${steps." + needs[0] + ".output}"}
		}
		return s
	}
	switch w.Rand.IntN(6) {
	case 0: // a chain
		for i := range 2 + w.Rand.IntN(3) {
			if i == 0 {
				step("a")
			} else {
				step(string(rune('a'+i)), string(rune('a'+i-1)))
			}
		}
	case 1: // a diamond with a choice
		step("a").OnError = domain.ContinueRun
		step("b", "a").When = `steps.a.state == "completed" && steps.a.output.even`
		step("c", "a").When = `steps.a.state == "completed" && !steps.a.output.even`
		step("d", "b", "c").With = nil
	case 2: // a fan-out
		step("a")
		for _, id := range []string{"b", "c", "d"} {
			step(id, "a").Kind = domain.NoopStep
			s := &d.Steps[len(d.Steps)-1]
			s.Agent, s.Template = "", ""
		}
		step("e", "b", "c", "d")
	case 3: // goes on after errors
		step("a").OnError = domain.ContinueRun
		step("b", "a").With = nil
		d.Steps[1].OnError = domain.ContinueRun
	case 4: // guarded effects
		step("a").Effect = domain.AtMostOnce
		step("b", "a").Effect = domain.Keyed
	case 5: // a deadline
		d.Deadline = domain.Duration(5*time.Second + time.Duration(w.Rand.IntN(30))*time.Second)
		step("a")
		step("b")
	}
	return d
}

// simAttempt is what a worker is given.
type simAttempt struct {
	stream  domain.StreamID
	path    domain.StepPath
	attempt int
}

func (a simAttempt) String() string {
	return fmt.Sprintf("%s/%s#%d", a.stream, a.path, a.attempt)
}

// simSpending is the provider's own book about an attempt.
type simSpending struct {
	effect domain.EffectClass
	leases int // how often it was given to a worker
	owned  int // how often by who owned its run, and not for nothing
	calls  int // how often a worker then called the provider
	usage  []domain.Usage
}

// simWorker performs steps through a provider. A local one dies with its node.
type simWorker struct {
	w       *simWorld
	name    string
	node    *simNode // nil: elsewhere
	life    int
	down    bool
	job     *simJob
	pending []commands.Run // results to be reported
	sent    []commands.Run
}

type simJob struct {
	lease  lease.Lease
	result commands.Run // nil: not performed yet
}

func (w *simWorld) addWorker(n *simNode) {
	x := &simWorker{w: w, node: n, name: fmt.Sprintf("worker%d", len(w.workers))}
	w.workers = append(w.workers, x)
	w.Add(x.name, w.Between(0, time.Second), x.step)
}

func (x *simWorker) holder() string { return fmt.Sprintf("%s.%d", x.name, x.life) }

// office is the node that it talks to.
func (x *simWorker) office() *simNode {
	if x.node != nil {
		return x.node
	}
	return x.w.nodes[x.w.Rand.IntN(len(x.w.nodes))]
}

func (x *simWorker) step() sim.Pause {
	n := x.office()
	switch {
	case x.down || !n.up:
		return sim.Idle
	case x.job != nil && x.job.result == nil:
		return x.perform(n)
	case x.job != nil:
		return x.finish()
	case len(x.pending) > 0:
		return x.report(n)
	}
	leases := n.ports.Board.Claim(x.holder(), 1, 0)
	if len(leases) == 0 {
		return sim.Idle
	}
	x.job = &simJob{lease: leases[0]}
	return x.perform(n)
}

// perform begins a guarded effect, and calls the provider if it may.
func (x *simWorker) perform(n *simNode) sim.Pause {
	l := x.job.lease
	if l.Effect != domain.Repeatable {
		var err error
		begin := commands.BeginStep{Run: l.Stream, Path: l.Path, Attempt: l.Attempt, Worker: x.holder()}
		lived := x.w.within(n, func() {
			err = worker.Local{Board: n.ports.Board, Dispatcher: n.ports.Dispatcher}.Report(context.Background(), begin)
		})
		switch {
		case !lived || err != nil && simPassing(err):
			return sim.Pause(x.w.Between(10*time.Millisecond, time.Second))
		case err != nil:
			x.job = nil
			return sim.Again
		}
	}
	a := simAttempt{l.Stream, l.Path, l.Attempt}
	x.w.Note(x.name, "takes", string(l.Path), l.Attempt)
	book := x.w.ledger[a]
	if book == nil {
		book = &simSpending{effect: l.Effect}
		x.w.ledger[a] = book
	}
	book.leases++
	if l.Kind != domain.NoopStep && x.w.owners[simPartition(l.Stream)] == n {
		book.owned++
	}
	if x.node == nil && x.w.strike(workerDiesBefore) {
		return x.die()
	}
	result, usage, took := simScript(x.w.seed, a, x.w.clock.Now())
	book.calls++
	book.usage = usage
	if x.node == nil && x.w.strike(workerDiesAfter) {
		return x.die()
	}
	x.job = &simJob{l, result}
	return sim.Pause(took)
}

// finish ends what it worked on.
func (x *simWorker) finish() sim.Pause {
	x.pending = append(x.pending, x.job.result)
	x.job = nil
	if x.w.strike(reportTwice) {
		x.pending = append(x.pending, x.pending[0])
	}
	if len(x.sent) > 0 && x.w.strike(reportOld) {
		x.pending = append(x.pending, x.sent[x.w.Rand.IntN(len(x.sent))])
	}
	if x.w.strike(reportLate) {
		return sim.Pause(x.w.Between(5*time.Second, 40*time.Second))
	}
	return sim.Again
}

func (x *simWorker) report(n *simNode) sim.Pause {
	c := x.pending[0]
	var err error
	lived := x.w.within(n, func() {
		err = worker.Local{Board: n.ports.Board, Dispatcher: n.ports.Dispatcher}.Report(context.Background(), c)
	})
	if !lived || err != nil && simPassing(err) {
		return sim.Pause(x.w.Between(10*time.Millisecond, time.Second))
	}
	if len(x.pending) > 0 { // empty when its own node died
		x.pending = x.pending[1:]
		x.sent = append(x.sent, c)
	}
	return sim.Again
}

// die ends a worker elsewhere; the nodes notice after a while.
func (x *simWorker) die() sim.Pause {
	x.w.Note(x.name, "dies")
	holder := x.holder()
	x.life++
	x.down, x.job, x.pending = true, nil, nil
	x.w.After(x.w.Between(50*time.Millisecond, 5*time.Second), x.name, func() {
		for _, n := range x.w.nodes {
			if n.up {
				n.lapses = append(n.lapses, simSorted(n.ports.Board.Drop(holder))...)
			}
		}
		x.down = false
	})
	return sim.Idle
}

// simRefused is what a provider says that did nothing.
const simRefused = "provider.refused"

// simScript is what the provider answers: it follows from the attempt, so that a
// second call for one attempt costs what the first did.
func simScript(seed uint64, a simAttempt, now time.Time) (commands.Run, []domain.Usage, time.Duration) {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s", seed, a) // a hash takes everything
	r := rand.New(rand.NewPCG(h.Sum64(), 3))
	usage := make([]domain.Usage, 1+r.IntN(2))
	for i := range usage {
		u := domain.Usage{
			Provider: "simulated", Model: "m", Simulated: true,
			Tokens: domain.Tokens{Input: r.Int64N(1000), Output: r.Int64N(1000)}, Prices: domain.Prices{Input: 2_000_000, Output: 8_000_000},
		}
		u.Amount = domain.Charge(u.Tokens, u.Prices)
		usage[i] = u
	}
	result := commands.StepResult{Run: a.stream, Path: a.path, Attempt: a.attempt, Spent: usage, PriceTable: "simulated"}
	took := 50*time.Millisecond + time.Duration(r.Int64N(int64(5*time.Second)))
	complete := func() commands.Run {
		output, err := json.Marshal(map[string]any{"attempt": a.attempt, "even": r.IntN(2) == 0, "text": simCanary})
		if err != nil {
			panic(err)
		}
		return commands.CompleteStep{StepResult: result, Output: output, Provider: "simulated", Model: "m", Simulated: true, Started: now}
	}
	switch p := r.IntN(100); {
	case p < 15:
		return commands.FailStep{StepResult: result, Fault: domain.Fault{Code: simRefused, Message: "not now"}}, usage, took
	case p < 20:
		return commands.FailStep{StepResult: result, Fault: domain.Fault{Code: simRefused, Message: "never", Final: true}}, usage, took
	case p < 28:
		return complete(), usage, took + 10*time.Second // later than the attempt may take
	}
	return complete(), usage, took
}

func simShort(s domain.StreamID) string {
	return strings.TrimPrefix(s.Entity(), s.Kind()+"_")[:8]
}
