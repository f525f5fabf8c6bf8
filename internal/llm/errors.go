package llm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Code is what went wrong, in words every provider shares.
type Code string

// The codes.
const (
	Unreachable   Code = "provider.unreachable"    // no connection, or the provider is down
	Timeout       Code = "provider.timeout"        // no answer in time
	RateLimited   Code = "provider.rate_limited"   // too many requests, or the quota is used up
	Refused       Code = "provider.refused"        // the provider will not answer this request
	BadResponse   Code = "provider.bad_response"   // the answer is broken or cut off
	Auth          Code = "provider.auth"           // the key is wrong or lacks a right
	ContextLength Code = "provider.context_length" // the request is longer than the model reads
)

// Error is why a provider gave no answer. Message never holds a secret, nor
// text of the request.
type Error struct {
	Provider   string
	Code       Code
	Message    string
	Final      bool          // the same request cannot succeed later
	RetryAfter time.Duration // what the provider asked for; 0: it did not say
	// Spent is what the failed call consumed, if anything was; Estimated says
	// that the provider did not state it.
	Spent     *domain.Tokens
	Estimated bool
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %s", e.Provider, e.Code, e.Message)
}

// Fault is the error as a run records it.
func (e *Error) Fault() domain.Fault {
	return domain.Fault{Code: string(e.Code), Message: e.Provider + ": " + e.Message, Final: e.Final}
}

// ContextError turns the end of a context into the error Complete promises: a
// deadline is a timeout, a cancellation is the caller's own wish.
func ContextError(ctx context.Context, provider string) error {
	if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
		return &Error{Provider: provider, Code: Timeout, Message: "no answer before the deadline"}
	} else if err != nil {
		return fmt.Errorf("ask %s: %w", provider, err)
	}
	return nil
}
