package projections_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
)

// history is an event store that tests fill by hand.
type history struct {
	t       testing.TB
	store   *memory.Store
	records []events.Record
	now     time.Time
	n       int
	noAgent bool // the steps of its runs are no tasks
}

type clock struct{ h *history }

func (c clock) Now() time.Time { return c.h.now }

func newHistory(t testing.TB) *history {
	h := &history{t: t, now: time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)}
	h.store = memory.New(memory.Options{Clock: clock{h}})
	return h
}

// stream mints a stream; the ids of one history repeat from run to run.
func (h *history) stream(tenant domain.Tenant, kind string) domain.StreamID {
	h.n++
	id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %d", kind, h.n))
	binary.BigEndian.PutUint64(id[:], uint64(h.now.UnixMilli())<<16|0x7000) // in order of time, as real ids are
	return domain.NewStreamID(tenant, kind+"_"+id.String())
}

// add appends events to one stream in one append and returns the last position.
func (h *history) add(s domain.StreamID, es ...events.Event) domain.Position {
	h.t.Helper()
	h.now = h.now.Add(1500 * time.Millisecond)
	h.n++
	w := eventstore.Write{Stream: s, Expected: eventstore.Any}
	for _, e := range es {
		v, data, err := events.Encode(e)
		if err != nil {
			h.t.Fatal(err)
		}
		w.Events = append(w.Events, eventstore.Proposed{Type: e.EventType(), Version: v, Time: h.now, Data: data})
	}
	r, err := h.store.Append(h.t.Context(), eventstore.Append{
		Command: domain.CommandID(fmt.Sprint("command ", h.n)), Tenant: s.Tenant(), Writes: []eventstore.Write{w},
		Actor: `[{"id":"ada","kind":"human"}]`, Correlation: "test",
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.records = append(h.records, r.Records...)
	return r.Last
}

func definition(name string, steps int) domain.Definition {
	d := domain.Definition{ID: name, Version: 2, Title: "Title of " + name}
	for i := range steps {
		s := domain.Step{ID: fmt.Sprint("step", i), Title: fmt.Sprint("Step <", i, ">"), Kind: domain.AgentStep, Agent: fmt.Sprint("agent", i%2), Template: "write"}
		if i > 0 {
			s.Needs = []string{fmt.Sprint("step", i-1)}
			s.With = map[string]any{"text": "${steps.step0.output}", "n": 3.5, "deep": map[string]any{"b": []any{1.0, "x"}, "a": true}}
			s.When = "inputs.go"
		}
		d.Steps = append(d.Steps, s)
	}
	return d
}

func started(d domain.Definition) events.RunStarted {
	e := events.RunStarted{
		Workflow: domain.Ref{ID: d.ID, Version: d.Version, Hash: d.Hash()}, Definition: d, Engine: 1, Priority: 7,
		Inputs: map[string]json.RawMessage{"topic": json.RawMessage(`"<cats> \u0000 & dogs"`), "go": json.RawMessage(`true`)},
		Agents: map[string]domain.Ref{}, Templates: map[string]domain.Ref{"write": {ID: "write", Version: 4}},
	}
	for _, s := range d.Steps {
		e.Agents[s.Agent] = domain.Ref{ID: s.Agent, Version: 3}
	}
	return e
}

func (h *history) scheduled(path string, attempt int) events.StepScheduled {
	e := events.StepScheduled{
		Path: domain.StepPath(path), Attempt: attempt, InputHash: "sha256:00", Effect: domain.Repeatable, Deadline: h.now.Add(time.Minute),
	}
	if !h.noAgent {
		e.Agent, e.Template = &domain.Ref{ID: "agent" + path[len(path)-1:], Version: 3}, &domain.Ref{ID: "write", Version: 4}
	}
	return e
}

func (h *history) completed(path string, attempt int) events.StepCompleted {
	return events.StepCompleted{
		Path: domain.StepPath(path), Attempt: attempt, Output: json.RawMessage(`{"text":"done","n":1e3}`),
		Provider: "simulated", Model: "sim-1", Simulated: true, Started: h.now.Add(-time.Second + 123*time.Nanosecond),
	}
}

func spent(path string, attempt int, tokens int64, simulated bool) events.TokensSpent {
	return events.TokensSpent{Path: domain.StepPath(path), Attempt: attempt, Call: 1, Usage: domain.Usage{
		Provider: "simulated", Model: "sim-1",
		Simulated: simulated, Tokens: domain.Tokens{Input: tokens, Output: 2 * tokens, Reasoning: 1}, Amount: domain.NanoUSD(tokens * 1000),
	}}
}

// walk is one run on its way; next adds its next append, in the manner of the
// decider.
type walk struct {
	stream  domain.StreamID
	def     domain.Definition
	step    int
	attempt int
	ended   bool
}

func (h *history) start(tenant domain.Tenant, workflow string, steps int) *walk {
	w := &walk{stream: h.stream(tenant, "run"), def: definition(workflow, steps), attempt: 1}
	if h.noAgent {
		for i := range w.def.Steps {
			w.def.Steps[i].Kind, w.def.Steps[i].Agent, w.def.Steps[i].Template = domain.NoopStep, "", ""
		}
	}
	h.add(w.stream, started(w.def), h.scheduled("step0", 1))
	return w
}

func (h *history) next(w *walk, random *rand.Rand) {
	path := w.def.Steps[w.step].ID
	tokens := spent(path, w.attempt, int64(random.IntN(1000)), random.IntN(2) == 0)
	switch random.IntN(12) {
	case 0:
		h.add(w.stream, events.RunCancelled{Reason: "no longer needed\x00"})
		w.ended = true
	case 1:
		h.add(w.stream, tokens, events.StepFailed{Path: domain.StepPath(path), Attempt: w.attempt, Fault: domain.Fault{Code: "provider.refused", Message: "no", Final: true}},
			events.RunFailed{Fault: domain.Fault{Code: "step.failed", Message: "a step failed"}, Path: domain.StepPath(path)})
		w.ended = true
	case 2, 3:
		retry := h.now.Add(time.Minute)
		h.add(w.stream, events.StepFailed{Path: domain.StepPath(path), Attempt: w.attempt, Fault: domain.Fault{Code: "provider.timeout", Message: "slow"}, RetryAt: &retry})
		w.attempt++
		h.add(w.stream, h.scheduled(path, w.attempt))
	case 4:
		w.attempt++
		h.add(w.stream, events.StepLapsed{Path: domain.StepPath(path), Attempt: w.attempt - 1, Worker: "w1"}, h.scheduled(path, w.attempt))
	default:
		es := []events.Event{tokens, h.completed(path, w.attempt)}
		w.step, w.attempt = w.step+1, 1
		switch {
		case w.step == len(w.def.Steps):
			w.ended = true
			es = append(es, events.RunCompleted{Outputs: map[string]json.RawMessage{"text": json.RawMessage(`"fine"`)}})
		case w.step == len(w.def.Steps)-1 && random.IntN(4) == 0:
			w.ended = true
			es = append(es, events.StepSkipped{Path: domain.StepPath(w.def.Steps[w.step].ID), Reason: "condition is false"}, events.RunCompleted{})
		default:
			es = append(es, h.scheduled(w.def.Steps[w.step].ID, 1))
		}
		h.add(w.stream, es...)
	}
	if w.ended && random.IntN(3) == 0 { // a late result still costs
		h.add(w.stream, spent(w.def.Steps[0].ID, 1, 5, false))
	}
}

// fill adds runs that interleave, workflows and tokens of two tenants.
func (h *history) fill(seed uint64, runs int) {
	random := rand.New(rand.NewPCG(seed, 1))
	tenants := []domain.Tenant{domain.DefaultTenant, "t_other"}
	var open []*walk
	for runs > 0 || len(open) > 0 {
		switch {
		case runs > 0 && (len(open) == 0 || random.IntN(5) == 0):
			open = append(open, h.start(tenants[random.IntN(2)], fmt.Sprint("flow", random.IntN(3)), 1+random.IntN(4)))
			runs--
			if random.IntN(3) == 0 {
				h.other(tenants[random.IntN(2)], random)
			}
		default:
			i := random.IntN(len(open))
			if h.next(open[i], random); open[i].ended {
				open = append(open[:i], open[i+1:]...)
			}
		}
	}
}

func (h *history) other(tenant domain.Tenant, random *rand.Rand) {
	d := definition("mine", 2)
	d.Version = 1
	w := h.stream(tenant, "workflow")
	h.add(w, events.WorkflowCreated{Definition: d, Hash: d.Hash(), CopiedFrom: &domain.Ref{ID: "flow0", Version: 1}})
	d.Version, d.Title = 2, "Better"
	h.add(w, events.WorkflowRevised{Definition: d, Hash: d.Hash()})
	if random.IntN(2) == 0 {
		h.add(w, events.WorkflowArchived{})
	}
	f := h.stream(tenant, "file")
	h.add(f, events.UploadBegun{Name: "plan.txt", MediaType: "text/plain", Size: 3, Key: "key", Expires: h.now})
	if random.IntN(4) > 0 {
		h.add(f, events.FileUploaded{Blob: fmt.Sprint("blob", h.n), Size: 3, Digest: "d"})
		if random.IntN(2) == 0 {
			h.add(f, events.FileUsed{By: "run_1"})
		}
	}
	if random.IntN(4) == 0 {
		h.add(f, events.FileRemoved{Reason: "erased"})
	}
	k := h.stream(tenant, "token")
	h.add(k, events.TokenIssued{Tenant: tenant, Actor: domain.Actor{ID: "bob", Kind: domain.Human}, Permissions: []domain.Permission{domain.RunRead}, SecretHash: "sha256:" + fmt.Sprint(h.n)})
	h.add(k, events.TokenRotated{SecretHash: "sha256:new" + fmt.Sprint(h.n)})
	if random.IntN(2) == 0 {
		h.add(k, events.TokenRevoked{})
	}
}
