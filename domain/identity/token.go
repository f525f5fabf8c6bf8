// Package identity is who may ask: today, access tokens.
//
// It must not see a secret: a token is known by the hash of its secret. It
// imports domain, events and commands. Start reading at DecideToken.
//
// The states: new → valid → revoked. The rules:
//
//  1. A token is issued once, to one actor of one tenant, with permissions that
//     exist.
//  2. Rotation replaces the secret at once; permissions never change.
//  3. A revoked token stays revoked.
package identity

import (
	"regexp"
	"slices"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// TokenDecider is the access token as a value.
var TokenDecider = domain.Decider[TokenState, commands.Token, events.Token]{
	Kind:    "token",
	Initial: func() TokenState { return TokenState{} },
	Evolve:  EvolveToken,
	Decide:  DecideToken,
}

// TokenState is what is kept of a token to decide what comes next.
type TokenState struct {
	secretHash string // empty: not issued
	revoked    bool
}

// Valid reports whether the token may be used.
func (s TokenState) Valid() bool { return s.secretHash != "" && !s.revoked }

// Revoked reports whether the token was ended.
func (s TokenState) Revoked() bool { return s.revoked }

// The sentinels.
var (
	ErrTokenNotFound = &domain.Error{Kind: domain.NotFound, Code: "token.not_found", Message: "there is no such token"}

	ErrTokenIssued = &domain.Error{
		Kind: domain.Conflict, Code: "token.already_issued",
		Message: "the token was issued already", Fix: "rotate it, or issue one with a fresh id",
	}

	ErrTokenRevoked = &domain.Error{
		Kind: domain.Conflict, Code: "token.revoked",
		Message: "the token is revoked", Fix: "issue a new one",
	}
)

// actorID needs no escaping in JSON, so that the actor attribute of an event has
// one form only.
var actorID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$`)

// DecideToken answers a command with the events it leads to.
func DecideToken(s TokenState, c commands.Token, _ time.Time) ([]events.Token, error) {
	switch c := c.(type) {
	case commands.IssueToken:
		return issueToken(s, c)
	case commands.RotateToken:
		return rotateToken(s, c)
	case commands.RevokeToken:
		return revokeToken(s)
	}
	return nil, nil
}

func issueToken(s TokenState, c commands.IssueToken) ([]events.Token, error) {
	switch {
	case s.secretHash != "":
		return nil, ErrTokenIssued
	case c.Tenant == "":
		return nil, domain.InvalidField("tenant", "is missing", "name the tenant the token belongs to")
	case !actorID.MatchString(c.Actor.ID):
		return nil, domain.InvalidField("actor.id", "is not an actor id", "use up to 128 letters, digits and . _ : @ -")
	case !slices.Contains([]string{domain.Operator, domain.Human, domain.Agent, domain.System}, c.Actor.Kind):
		return nil, domain.InvalidField("actor.kind", "is not a kind of actor", "use operator, human, agent or system")
	case len(c.Permissions) == 0:
		return nil, domain.InvalidField("permissions", "is empty", "name at least one")
	}
	for _, p := range c.Permissions {
		if p != domain.AllPermissions && !slices.Contains(domain.Permissions, p) {
			return nil, domain.InvalidField("permissions", "names "+string(p)+", which does not exist", "see the permissions page of the reference")
		}
	}
	return []events.Token{events.TokenIssued{Tenant: c.Tenant, Actor: c.Actor, Permissions: c.Permissions, SecretHash: c.SecretHash, Holder: c.Holder}}, nil
}

func rotateToken(s TokenState, c commands.RotateToken) ([]events.Token, error) {
	switch {
	case s.secretHash == "":
		return nil, ErrTokenNotFound
	case s.revoked:
		return nil, ErrTokenRevoked
	case s.secretHash == c.SecretHash:
		return nil, nil
	}
	return []events.Token{events.TokenRotated{SecretHash: c.SecretHash}}, nil
}

func revokeToken(s TokenState) ([]events.Token, error) {
	switch {
	case s.secretHash == "":
		return nil, ErrTokenNotFound
	case s.revoked:
		return nil, nil
	}
	return []events.Token{events.TokenRevoked{}}, nil
}

// EvolveToken folds one event into the state.
func EvolveToken(s TokenState, e events.Token) TokenState {
	switch e := e.(type) {
	case events.TokenIssued:
		s.secretHash = e.SecretHash
	case events.TokenRotated:
		s.secretHash = e.SecretHash
	case events.TokenRevoked:
		s.revoked = true
	}
	return s
}
