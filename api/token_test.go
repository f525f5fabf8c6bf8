package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
)

func TestTokensAreListedWithoutAnythingOfTheirSecrets(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.call("GET", "/api/v1/tokens", "")
	list := decode[v1.TokenList](t, a)
	if len(list.Items) != 2 {
		t.Fatalf("%s", a.body)
	}
	for _, one := range list.Items {
		if one.ID == "" || one.State != v1.TokenValid || one.Actor == "" || one.Kind != domain.Human || len(one.Permissions) == 0 || one.Issued.IsZero() || one.Current != (one.Actor == everything) {
			t.Errorf("%+v", one)
		}
		secret := f.Tokens.Secret(one.Actor)
		for _, no := range []string{secret, auth.Hash(secret), strings.TrimPrefix(auth.Hash(secret), "sha256:"), "sha256:", "hash", "hos_"} {
			if strings.Contains(a.body, no) {
				t.Errorf("%s shows %q: %s", one.Actor, no, a.body)
			}
		}
	}
	f.want(f.as(reader, "GET", "/api/v1/tokens", ""), http.StatusForbidden, "permission.missing")
}

func TestATokenStandsAsOfThePastAsItStoodThen(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stream := domain.NamedStreamID(domain.DefaultTenant, "token", reader)
	do := func(id string, c commands.Command) domain.Position {
		t.Helper()
		r, err := f.Options.Dispatcher.Do(t.Context(), commands.Request{ID: domain.CommandID(id), Principal: domain.SystemPrincipal(domain.SystemTenant, "test"), Command: c})
		if err != nil {
			t.Fatal(err)
		}
		return r.Last
	}
	head, err := f.Options.Hub.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var rotated domain.Position
	for i := range 250 { // more than a page
		rotated = do(fmt.Sprint("rotate ", i), commands.RotateToken{Token: stream, SecretHash: fmt.Sprintf("sha256:%064x", i)})
	}
	revoked := do("revoke", commands.RevokeToken{Token: stream})
	state := func(at domain.Position) (one v1.Token, found int) {
		t.Helper()
		a := f.call("GET", fmt.Sprintf("/api/v1/tokens?at=%d", at), "")
		f.want(a, http.StatusOK, "")
		list := decode[v1.TokenList](t, a)
		for _, i := range list.Items {
			if i.ID == stream.Entity() {
				one = i
			}
		}
		return one, len(list.Items)
	}
	issued, n := state(head.Position)
	if issued.State != v1.TokenValid || n != 2 || !issued.Changed.Equal(issued.Issued) {
		t.Errorf("once issued: %d, %+v", n, issued)
	}
	if one, _ := state(rotated); one.State != v1.TokenValid || one.Changed.Equal(one.Issued) {
		t.Errorf("once rotated: %+v", one)
	}
	if one, _ := state(revoked); one.State != v1.TokenRevoked {
		t.Errorf("once revoked: %+v", one)
	}
	if one, n := state(1); n != 1 || one.ID != "" {
		t.Errorf("before it was issued: %d, %+v", n, one)
	}
}
