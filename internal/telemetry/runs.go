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

// Of is the step that an event is about, if any; tells says that Told counts
// something of it.
func Of(e events.Event) (path domain.StepPath, tells bool) {
	switch e := e.(type) {
	case events.RunStarted, events.RunCompleted, events.RunCancelled:
		return "", true
	case events.RunFailed:
		return e.Path, true
	case events.StepCompleted:
		return e.Path, true
	case events.StepFailed:
		return e.Path, true
	case events.StepLapsed:
		return e.Path, true
	case events.StepSkipped:
		return e.Path, true
	case events.TokensSpent:
		return e.Path, true
	}
	return "", false
}

// Told counts runs, steps, tokens and cost of a fresh event, of which the envelope
// needs no more than the stream and the times.
func (m *Metrics) Told(r events.Recorded[events.Event], s Subject) {
	s = Subject{m.workflows.of(s.Workflow), m.agents.of(s.Agent)}
	switch e := r.Event.(type) {
	case events.RunStarted:
		m.started.WithLabelValues(s.Workflow).Inc()
	case events.RunCompleted:
		m.ended(r.Envelope, s, "completed")
	case events.RunFailed:
		m.ended(r.Envelope, s, "failed")
	case events.RunCancelled:
		m.ended(r.Envelope, s, "cancelled")
	case events.StepCompleted:
		m.steps.WithLabelValues(s.Agent, "completed").Inc()
		if !e.Started.IsZero() {
			m.stepDuration.WithLabelValues(s.Agent).Observe(max(0, r.Time.Sub(e.Started).Seconds()))
		}
	case events.StepFailed:
		outcome := "failed"
		if e.RetryAt != nil {
			outcome = "retried"
		}
		m.steps.WithLabelValues(s.Agent, outcome).Inc()
	case events.StepLapsed:
		m.steps.WithLabelValues(s.Agent, "lapsed").Inc()
	case events.StepSkipped:
		m.steps.WithLabelValues(s.Agent, "skipped").Inc()
	case events.TokensSpent:
		m.spent(e.Usage, s)
	}
}

func (m *Metrics) ended(e events.Envelope, s Subject, outcome string) {
	m.runs.WithLabelValues(s.Workflow, outcome).Inc()
	if began, ok := bornAt(e.Stream); ok {
		m.runDuration.WithLabelValues(s.Workflow).Observe(max(0, e.Recorded.Sub(began).Seconds()))
	}
}

func (m *Metrics) spent(u domain.Usage, s Subject) {
	model := m.models.of(u.Model)
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
