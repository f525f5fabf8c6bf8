package identity_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/identity"
	"github.com/hishamos/hishamos/events"
)

const stream domain.StreamID = "system/token_0190f4d2-0000-7000-8000-000000000001"

func secret(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

func issue() commands.IssueToken {
	return commands.IssueToken{
		Token: stream, Tenant: "default", Actor: domain.Actor{ID: "u_1", Kind: domain.Human},
		Permissions: []domain.Permission{domain.RunStart}, SecretHash: secret("a"), Holder: "Jo Bloggs",
	}
}

func rotate(digit string) commands.RotateToken {
	return commands.RotateToken{Token: stream, SecretHash: secret(digit)}
}

func revoke() commands.RevokeToken { return commands.RevokeToken{Token: stream} }

// Rule 1: a token is issued once, to one actor, with permissions that exist.

func TestATokenIsIssuedOnce(t *testing.T) {
	t.Parallel()
	s, c := domaintest.For(t, identity.TokenDecider), issue()
	s.When(c).Then(events.TokenIssued{Tenant: c.Tenant, Actor: c.Actor, Permissions: c.Permissions, SecretHash: c.SecretHash, Holder: c.Holder})
	s.After(c).When(c).ThenError(identity.ErrTokenIssued)
	if !s.After(c).State().Valid() || s.State().Valid() {
		t.Error("a token is valid from when it is issued")
	}
}

func TestATokenNeedsATenantAnActorAndPermissionsThatExist(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(*commands.IssueToken){
		"tenant":      func(c *commands.IssueToken) { c.Tenant = "" },
		"actor.id":    func(c *commands.IssueToken) { c.Actor.ID = `a"b` },
		"actor.kind":  func(c *commands.IssueToken) { c.Actor.Kind = "god" },
		"permissions": func(c *commands.IssueToken) { c.Permissions = []domain.Permission{"run:everything"} },
	} {
		c := issue()
		change(&c)
		err := domaintest.For(t, identity.TokenDecider).When(c).ThenError(domain.InvalidField("", "", ""))
		if err.Field != field || err.Fix == "" {
			t.Errorf("%s: got %+v", field, err)
		}
	}
	none := issue()
	none.Permissions = nil
	domaintest.For(t, identity.TokenDecider).When(none).ThenError(domain.InvalidField("", "", ""))
}

// Rule 2: rotation replaces the secret at once.

func TestRotationReplacesTheSecret(t *testing.T) {
	t.Parallel()
	s := domaintest.For(t, identity.TokenDecider)
	s.When(rotate("b")).ThenError(identity.ErrTokenNotFound)
	s = s.After(issue())
	s.When(rotate("b")).Then(events.TokenRotated{SecretHash: secret("b")})
	s.When(rotate("a")).ThenNothing()
}

// Rule 3: a revoked token stays revoked.

func TestARevokedTokenStaysRevoked(t *testing.T) {
	t.Parallel()
	s := domaintest.For(t, identity.TokenDecider)
	s.When(revoke()).ThenError(identity.ErrTokenNotFound)
	s = s.After(issue())
	s.When(revoke()).Then(events.TokenRevoked{})
	s = s.After(revoke())
	s.When(revoke()).ThenNothing()
	s.When(rotate("b")).ThenError(identity.ErrTokenRevoked)
	s.When(issue()).ThenError(identity.ErrTokenIssued)
	if s.State().Valid() || !s.State().Revoked() {
		t.Error("it is still valid")
	}
}

func TestTokenKeepsTheLawsOfDeciders(t *testing.T) {
	t.Parallel()
	domaintest.Laws(t, domaintest.Model[identity.TokenState, commands.Token, events.Token]{
		Decider: identity.TokenDecider,
		Next: func(t *rapid.T, _ identity.TokenState) commands.Token {
			return rapid.SampledFrom([]commands.Token{issue(), issue(), rotate("a"), rotate("b"), rotate("c"), revoke()}).Draw(t, "command")
		},
		Control: func(s identity.TokenState) any { return fmt.Sprint(s.Valid(), s.Revoked()) },
		Ended:   identity.TokenState.Revoked,
	})
}
