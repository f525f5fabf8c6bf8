package telemetry

import (
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// bound keeps the values of a label from growing without limit: those beyond it
// are counted together as `other`.
type bound struct {
	limit int
	mu    sync.Mutex
	seen  map[string]bool
}

// Other is the label of values beyond the limit, and of those not known.
const Other = "other"

func (b *bound) of(value string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case value == "":
		return Other
	case b.seen[value]:
		return value
	case len(b.seen) >= b.limit:
		return Other
	}
	if b.seen == nil {
		b.seen = make(map[string]bool)
	}
	b.seen[value] = true
	return value
}

// Subject is what the metrics of a run are told apart by.
type Subject struct{ Workflow, Agent string }

// tellers says what an event of a run adds to the metrics.
var tellers = map[string]func(*Metrics, events.Record, fact, Subject){
	events.RunStarted{}.EventType():    func(m *Metrics, _ events.Record, _ fact, s Subject) { m.started.WithLabelValues(s.Workflow).Inc() },
	events.RunCompleted{}.EventType():  ended("completed"),
	events.RunFailed{}.EventType():     ended("failed"),
	events.RunCancelled{}.EventType():  ended("cancelled"),
	events.StepCompleted{}.EventType(): stepCompleted,
	events.StepFailed{}.EventType():    stepFailed,
	events.StepLapsed{}.EventType():    stepEnded("lapsed"),
	events.StepSkipped{}.EventType():   stepEnded("skipped"),
	events.TokensSpent{}.EventType():   spent,
}

// Tells reports whether Told has something to count in an event.
func Tells(r events.Record) bool { return tellers[r.Type] != nil }

// fact is what the metrics read of an event: fields that are never sealed.
type fact struct {
	path    domain.StepPath
	started time.Time
	retryAt *time.Time
	usage   domain.Usage
}

func factOf(e events.Event) fact {
	switch e := e.(type) {
	case events.StepCompleted:
		return fact{path: e.Path, started: e.Started}
	case events.StepFailed:
		return fact{path: e.Path, retryAt: e.RetryAt}
	case events.StepLapsed:
		return fact{path: e.Path}
	case events.StepSkipped:
		return fact{path: e.Path}
	case events.TokensSpent:
		return fact{path: e.Path, usage: e.Usage}
	case events.RunFailed:
		return fact{path: e.Path}
	}
	return fact{}
}

// Told counts runs, steps, tokens and cost of a fresh event. Of is asked for the
// workflow of its run and the agent of a step.
func (m *Metrics) Told(r events.Record, of func(domain.StepPath) Subject) {
	tell := tellers[r.Type]
	if tell == nil {
		return
	}
	e, err := r.Decode()
	if err != nil {
		m.Uncounted("unreadable")
		return
	}
	f := factOf(e.Event)
	s := of(f.path)
	tell(m, r, f, Subject{m.workflows.of(s.Workflow), m.agents.of(s.Agent)})
}

// Uncounted counts an event that Told could not.
func (m *Metrics) Uncounted(reason string) { m.undecodable.WithLabelValues(reason).Inc() }

func ended(outcome string) func(*Metrics, events.Record, fact, Subject) {
	return func(m *Metrics, r events.Record, _ fact, s Subject) {
		m.runs.WithLabelValues(s.Workflow, outcome).Inc()
		if began, ok := bornAt(r.Stream); ok {
			m.runDuration.WithLabelValues(s.Workflow).Observe(max(0, r.Recorded.Sub(began).Seconds()))
		}
	}
}

func stepEnded(outcome string) func(*Metrics, events.Record, fact, Subject) {
	return func(m *Metrics, _ events.Record, _ fact, s Subject) { m.steps.WithLabelValues(s.Agent, outcome).Inc() }
}

func stepCompleted(m *Metrics, r events.Record, f fact, s Subject) {
	m.steps.WithLabelValues(s.Agent, "completed").Inc()
	if !f.started.IsZero() {
		m.stepDuration.WithLabelValues(s.Agent).Observe(max(0, r.Time.Sub(f.started).Seconds()))
	}
}

func stepFailed(m *Metrics, _ events.Record, f fact, s Subject) {
	outcome := "failed"
	if f.retryAt != nil {
		outcome = "retried"
	}
	m.steps.WithLabelValues(s.Agent, outcome).Inc()
}

func spent(m *Metrics, _ events.Record, f fact, s Subject) {
	u, model := f.usage, m.models.of(f.usage.Model)
	for _, k := range [...]struct {
		kind string
		n    int64
	}{
		{"input", u.Tokens.Input},
		{"cached_input", u.Tokens.CachedInput},
		{"cache_write", u.Tokens.CacheWrite},
		{"output", u.Tokens.Output},
		{"reasoning", u.Tokens.Reasoning},
	} {
		if k.n > 0 {
			m.tokens.WithLabelValues(s.Agent, u.Provider, model, k.kind).Add(float64(k.n))
		}
	}
	if u.Amount > 0 {
		m.cost.WithLabelValues(s.Agent, u.Provider, model).Add(float64(u.Amount) / 1e9)
	}
}

// bornAt is when a stream's id was made, which a UUID of version 7 says.
func bornAt(s domain.StreamID) (time.Time, bool) {
	_, id, _ := strings.Cut(s.Entity(), "_")
	digits := strings.ReplaceAll(id, "-", "")
	if len(digits) != 32 || digits[12] != '7' {
		return time.Time{}, false
	}
	var b [8]byte
	if _, err := hex.Decode(b[2:], []byte(digits[:12])); err != nil {
		return time.Time{}, false
	}
	ms := int64(0)
	for _, d := range b {
		ms = ms<<8 | int64(d)
	}
	return time.UnixMilli(ms).UTC(), true
}
