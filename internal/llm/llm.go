// Package llm is the contract between whoever needs a language model and
// whoever runs one: a request, an answer, the errors both know, and prices.
//
// It must not know agents, templates or runs, nor any provider: each is a
// package below this one. It imports domain and the standard library.
//
// Start reading at Provider; llmtest.Exercise is what every provider must pass.
package llm

import (
	"context"
	"encoding/json"

	"github.com/hishamos/hishamos/domain"
)

// Provider answers requests. It is safe for concurrent use, keeps no
// conversation and never retries: that is the caller's policy.
type Provider interface {
	// Name is the provider's name in usage records, such as "openai".
	Name() string
	// Complete answers a request. The error is an *Error, or the context's own
	// when the caller cancelled.
	Complete(ctx context.Context, r Request) (Response, error)
}

// Request is one call of a model.
type Request struct {
	// Attempt names the call for ever: the same attempt is the same intent. A
	// provider that knows idempotency keys sends it as one.
	Attempt     string
	Model       string // empty: the provider's default
	System      string
	Messages    []Message
	Schema      json.RawMessage // JSON Schema the answer should fit; nil: free text
	SchemaName  string
	Temperature *float64 // nil: the model's default
	MaxTokens   int      // of the answer; 0: the model's default
	// OnDelta receives the answer piece by piece as it is written; the pieces
	// add up to Response.Text. Nil: the answer comes at once.
	OnDelta func(text string)
}

// Message is one turn of the conversation.
type Message struct {
	Role Role
	Text string
}

// Role says who speaks.
type Role string

// The roles.
const (
	User      Role = "user"
	Assistant Role = "assistant"
)

// Response is an answer.
type Response struct {
	Text      string
	Model     string // as the provider names what answered
	Simulated bool   // no model was called
	Finish    Finish
	Usage     domain.Tokens // as the provider states it
	Estimated bool          // the provider stated no usage; this is our estimate
}

// Finish says why an answer ended.
type Finish string

// The ends of an answer.
const (
	Stopped Finish = "stop"   // it is complete
	CutOff  Finish = "length" // MaxTokens was reached
)
