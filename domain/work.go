package domain

import (
	"encoding/json"
	"time"
)

// Ref names one version of a library item and the hash of its content.
type Ref struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
	Hash    string `json:"hash,omitempty"`
}

// StepPath is the identity of a step in a run (`plan`, later `plan/each[3]`).
type StepPath string

// Work is a step that is due and has no accepted result: what a lease assigns
// to a worker. It follows from the run's events alone, so a new owner of the
// run finds the same work again.
type Work struct {
	Stream   StreamID        `json:"stream"`
	Path     StepPath        `json:"path"`
	Attempt  int             `json:"attempt"` // from 1; a result of an older attempt is refused
	Kind     StepKind        `json:"kind"`
	Agent    Ref             `json:"agent"`
	Template Ref             `json:"template"`
	Input    json.RawMessage `json:"input"`
	Files    []string        `json:"files,omitempty"` // that the input may refer to
	Priority int             `json:"priority"`        // greater first
	Effect   EffectClass     `json:"effect"`
	Begun    bool            `json:"begun,omitempty"` // its effect may have happened: an at-most-once one is not offered again
	Deadline time.Time       `json:"deadline"`        // when the attempt times out

	// For those who watch, and empty while nobody does: the trace that offered
	// the work, and when.
	TraceParent string    `json:"traceparent,omitempty"`
	Offered     time.Time `json:"offered,omitzero"`
}

// Timer is an instant at which a stream wants a command. It may fire more than
// once; the state judges a late or repeated firing.
type Timer struct {
	Stream StreamID  `json:"stream"`
	ID     string    `json:"id"`
	Due    time.Time `json:"due"`

	TraceParent string `json:"traceparent,omitempty"` // the trace that set it, while traces are kept
}

// Intents is everything a stream waits for from outside itself. It is a
// function of the stream's state, so it can be found again after any crash.
type Intents struct {
	Work   []Work
	Timers []Timer
}

// Tokens counts tokens by kind, as the provider's own answer states them.
type Tokens struct {
	Input       int64 `json:"input"`
	CachedInput int64 `json:"cached_input,omitempty"`
	CacheWrite  int64 `json:"cache_write,omitempty"`
	Output      int64 `json:"output"`
	Reasoning   int64 `json:"reasoning,omitempty"`
}

// Total is the sum over all kinds.
func (t Tokens) Total() int64 {
	return t.Input + t.CachedInput + t.CacheWrite + t.Output + t.Reasoning
}

// Prices are unit prices in nano-USD per 1,000,000 tokens, by token kind.
type Prices struct {
	Input       NanoUSDPerMillion `json:"input"`
	CachedInput NanoUSDPerMillion `json:"cached_input,omitempty"`
	CacheWrite  NanoUSDPerMillion `json:"cache_write,omitempty"`
	Output      NanoUSDPerMillion `json:"output"`
	Reasoning   NanoUSDPerMillion `json:"reasoning,omitempty"`
}

// Usage is what one model call consumed and cost, as charged.
type Usage struct {
	Provider  string  `json:"provider"`
	Model     string  `json:"model"`
	Simulated bool    `json:"simulated,omitempty"` // no model was called and nothing is owed
	Tokens    Tokens  `json:"tokens"`
	Prices    Prices  `json:"prices"`
	Amount    NanoUSD `json:"amount"`
	Unpriced  bool    `json:"unpriced,omitempty"`  // the price table does not know the model
	Estimated bool    `json:"estimated,omitempty"` // the answer was cut off before it stated its usage
}

// Charge is the amount for tokens at prices.
func Charge(t Tokens, p Prices) NanoUSD {
	return charge(
		[]int64{t.Input, t.CachedInput, t.CacheWrite, t.Output, t.Reasoning},
		[]NanoUSDPerMillion{p.Input, p.CachedInput, p.CacheWrite, p.Output, p.Reasoning},
	)
}

// Fault is why an attempt or a run failed.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message" class:"content"`
	Final   bool   `json:"final,omitempty"` // a further attempt cannot help
}
