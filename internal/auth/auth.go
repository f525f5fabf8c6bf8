// Package auth turns an access token into the principal who asks.
//
// It must not know how tokens are stored nor what a permission allows. It
// imports domain only; a read model gives it the tokens.
//
// Start reading at Authenticator.Authenticate; secret.go is the form of a secret.
package auth

import (
	"context"
	"crypto/subtle"
	"fmt"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Token is an access token as the read model knows it.
type Token struct {
	Stream      domain.StreamID
	SecretHash  string // "sha256:" and 64 hex digits
	Tenant      domain.Tenant
	Actor       domain.Actor
	Permissions []domain.Permission
	Holder      string // the name of who has it, sealed; may be empty
}

// Principal is who the token speaks for.
func (t Token) Principal() domain.Principal {
	return domain.Principal{Tenant: t.Tenant, Chain: []domain.Actor{t.Actor}, Permissions: t.Permissions}
}

// Tokens finds the valid token with a secret's hash. Revoked ones and replaced
// secrets are not found.
type Tokens interface {
	ByHash(ctx context.Context, hash string) (t Token, found bool, err error)
}

// ErrUnauthenticated is the one answer to a missing, malformed, unknown or
// revoked token: it does not say which.
var ErrUnauthenticated = &domain.Error{
	Kind: domain.Unauthenticated, Code: "token.invalid",
	Message: "a valid access token is required", Fix: "send Authorization: Bearer hos_...",
}

// Options are the settings of an Authenticator; zero values are usable.
type Options struct {
	// TTL bounds for how long a token that another process replaced or revoked
	// still works here; 0: one second. Negative: ask the read model every time.
	TTL   time.Duration
	Size  int          // tokens kept in memory; 0: 4096
	Clock domain.Clock // nil: the machine's
}

// Authenticator answers from memory for TTL, so that a busy client does not cost
// a query per request. Only found tokens are kept: unknown ones would let a
// stranger fill the memory.
type Authenticator struct {
	tokens Tokens
	opts   Options
	mu     sync.Mutex
	known  map[string]entry // by hash
	era    uint64           // raised by Forget: a look-up begun before it is not kept
}

type entry struct {
	token Token
	until time.Time
}

// New returns an Authenticator over a read model.
func New(tokens Tokens, opts Options) *Authenticator {
	if opts.TTL == 0 {
		opts.TTL = time.Second
	}
	if opts.Size == 0 {
		opts.Size = 4096
	}
	if opts.Clock == nil {
		opts.Clock = machineClock{}
	}
	return &Authenticator{tokens: tokens, opts: opts, known: make(map[string]entry)}
}

type machineClock struct{}

func (machineClock) Now() time.Time { return time.Now().UTC() }

// Authenticate returns the token with a secret, or ErrUnauthenticated.
func (a *Authenticator) Authenticate(ctx context.Context, secret string) (Token, error) {
	if !WellFormed(secret) {
		return Token{}, ErrUnauthenticated
	}
	hash, now := Hash(secret), a.opts.Clock.Now()
	a.mu.Lock()
	e, ok := a.known[hash]
	era := a.era
	a.mu.Unlock()
	if ok && now.Before(e.until) {
		return e.token, nil
	}
	t, found, err := a.tokens.ByHash(ctx, hash)
	if err != nil {
		return Token{}, fmt.Errorf("look up token: %w", err)
	}
	if !found || subtle.ConstantTimeCompare([]byte(t.SecretHash), []byte(hash)) != 1 {
		return Token{}, ErrUnauthenticated
	}
	a.keep(hash, t, now, era)
	return t, nil
}

// Forget drops what is remembered of a token, because it was changed here.
func (a *Authenticator) Forget(token domain.StreamID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.era++
	for hash, e := range a.known {
		if e.token.Stream == token {
			delete(a.known, hash)
		}
	}
}

func (a *Authenticator) keep(hash string, t Token, now time.Time, era uint64) {
	if a.opts.TTL < 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.era != era {
		return
	}
	if len(a.known) >= a.opts.Size {
		for h, e := range a.known { // first the stale, else any one
			if !now.Before(e.until) {
				delete(a.known, h)
			}
		}
		for h := range a.known {
			if len(a.known) < a.opts.Size {
				break
			}
			delete(a.known, h)
		}
	}
	a.known[hash] = entry{t, now.Add(a.opts.TTL)}
}
