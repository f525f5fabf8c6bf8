package auth_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
)

// model is a read model of tokens that counts how often it is asked.
type model struct {
	tokens map[string]auth.Token
	asked  atomic.Int64
	err    error
	before func()
}

func (m *model) ByHash(_ context.Context, hash string) (auth.Token, bool, error) {
	m.asked.Add(1)
	t, ok := m.tokens[hash]
	if m.before != nil {
		m.before()
	}
	return t, ok, m.err
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func setup(t *testing.T) (*model, *clock, string, func(auth.Options) *auth.Authenticator) {
	t.Helper()
	secret := auth.NewSecret()
	m := &model{tokens: map[string]auth.Token{}}
	m.tokens[auth.Hash(secret)] = auth.Token{
		Stream: "default/token_1", SecretHash: auth.Hash(secret), Tenant: "default",
		Actor: domain.Actor{ID: "amina", Kind: domain.Human}, Permissions: []domain.Permission{domain.RunRead},
	}
	c := &clock{now: time.Unix(1000, 0)}
	return m, c, secret, func(o auth.Options) *auth.Authenticator { o.Clock = c; return auth.New(m, o) }
}

func TestAKnownSecretGivesThePrincipalOfItsToken(t *testing.T) {
	t.Parallel()
	_, _, secret, newAuth := setup(t)
	token, err := newAuth(auth.Options{}).Authenticate(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	p := token.Principal()
	if p.Tenant != "default" || p.Chain[0].ID != "amina" || !p.May(domain.RunRead) || p.May(domain.RunStart) {
		t.Errorf("principal = %+v", p)
	}
}

func TestEverythingElseGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	m, _, secret, newAuth := setup(t)
	a := newAuth(auth.Options{})
	for _, bad := range []string{"", "hos_", "hos_short", "xxx_" + secret[4:], auth.NewSecret(), secret + "A", secret[:46] + "!"} {
		if _, err := a.Authenticate(t.Context(), bad); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if n := m.asked.Load(); n != 1 {
		t.Errorf("the read model was asked %d times; malformed secrets must not reach it", n)
	}
}

func TestAReadModelThatAnswersWithAnotherTokenIsNotBelieved(t *testing.T) {
	t.Parallel()
	m, _, _, newAuth := setup(t)
	other := auth.NewSecret()
	m.tokens[auth.Hash(other)] = auth.Token{SecretHash: auth.Hash("another")}
	if _, err := newAuth(auth.Options{}).Authenticate(t.Context(), other); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("err = %v", err)
	}
}

func TestAReadModelThatFailsIsNotARefusal(t *testing.T) {
	t.Parallel()
	m, _, secret, newAuth := setup(t)
	m.err = errors.New("down")
	if _, err := newAuth(auth.Options{}).Authenticate(t.Context(), secret); err == nil || errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("err = %v", err)
	}
}

func TestARevokedTokenStopsWithinTheTTL(t *testing.T) {
	t.Parallel()
	m, c, secret, newAuth := setup(t)
	a := newAuth(auth.Options{TTL: time.Second})
	for range 3 {
		if _, err := a.Authenticate(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.asked.Load(); n != 1 {
		t.Errorf("asked %d times within the TTL", n)
	}
	delete(m.tokens, auth.Hash(secret))
	c.now = c.now.Add(time.Second)
	if _, err := a.Authenticate(t.Context(), secret); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("after the TTL: %v", err)
	}
}

func TestAForgottenTokenStopsAtOnceEvenWhenALookUpWasUnderWay(t *testing.T) {
	t.Parallel()
	m, _, secret, newAuth := setup(t)
	a := newAuth(auth.Options{TTL: time.Hour})
	if _, err := a.Authenticate(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	a.Forget("default/token_1")
	m.before = func() { a.Forget("default/token_1") } // changed between the read and the answer
	if _, err := a.Authenticate(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	m.before = nil
	delete(m.tokens, auth.Hash(secret))
	if _, err := a.Authenticate(t.Context(), secret); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("a stale look-up was kept: %v", err)
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m, _, _, newAuth := setup(t)
	a := newAuth(auth.Options{Size: 8, TTL: time.Hour})
	var secrets []string
	for i := range 50 {
		s := auth.NewSecret()
		secrets = append(secrets, s)
		m.tokens[auth.Hash(s)] = auth.Token{Stream: domain.StreamID(fmt.Sprint("default/token_", i)), SecretHash: auth.Hash(s)}
		if _, err := a.Authenticate(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	before := m.asked.Load()
	for _, s := range secrets {
		if _, err := a.Authenticate(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if kept := 50 - (m.asked.Load() - before); kept > 8 {
		t.Errorf("%d tokens were kept, the bound is 8", kept)
	}
}

func TestSecretsAreUniqueWellFormedAndHashed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		s := auth.NewSecret()
		if !auth.WellFormed(s) || seen[s] || len(auth.Hash(s)) != 71 {
			t.Fatalf("secret %q", s)
		}
		seen[s] = true
	}
}

func TestBearerTakesOnlyItsScheme(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{"Bearer x": "x", "bearer  x": "x", "Basic x": "", "": "", "x": ""} {
		if got, ok := auth.Bearer(header); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", header, got, ok)
		}
	}
}
