package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/projection"
)

// AccessToken is a token as it stands. Of the secret only the hash is known.
// Tenant owns the stream; Owner is the tenant the token acts in.
type AccessToken struct {
	Tenant      domain.Tenant       `db:"tenant,key"`
	Token       string              `db:"token,key"`
	SecretHash  string              `db:"secret_hash"`
	Owner       domain.Tenant       `db:"owner"`
	ActorID     string              `db:"actor_id"`
	ActorKind   string              `db:"actor_kind"`
	Permissions []domain.Permission `db:"permissions"`
	Holder      string              `db:"holder"` // sealed
	Revoked     bool                `db:"revoked"`
	Issued      time.Time           `db:"issued"`
	Updated     time.Time           `db:"updated"`
	Version     domain.Sequence     `db:"version"`
	Position    domain.Position     `db:"position"`
}

var accessTokens = projection.NewTable[AccessToken]("access_tokens")

// TokensDefinition fills access_tokens.
func TokensDefinition() *projection.Definition {
	return &projection.Definition{
		Name: "tokens", Version: 1,
		Tables:   []*projection.Schema{accessTokens.Schema},
		Handlers: []projection.Handler{projection.On(tokenIssued), projection.On(tokenRotated), projection.On(tokenRevoked)},
	}
}

func tokenIssued(w *projection.Rows, r events.Recorded[events.TokenIssued]) {
	e := r.Event
	accessTokens.Insert(w, AccessToken{
		Tenant: r.Stream.Tenant(), Token: r.Stream.Entity(), SecretHash: e.SecretHash, Owner: e.Tenant,
		ActorID: e.Actor.ID, ActorKind: e.Actor.Kind, Permissions: e.Permissions, Holder: e.Holder,
		Issued: r.Time, Updated: r.Time, Version: r.Sequence, Position: r.Position,
	})
}

// errNoToken parks a stream whose beginning is missing.
var errNoToken = errors.New("the token has no row: its first event was not applied")

func changeToken(w *projection.Rows, e events.Envelope, f func(*AccessToken)) {
	t, ok := accessTokens.Get(w, AccessToken{Tenant: e.Stream.Tenant(), Token: e.Stream.Entity()})
	if !ok {
		w.Fail(errNoToken)
		return
	}
	f(&t)
	t.Updated, t.Version, t.Position = e.Time, e.Sequence, e.Position
	accessTokens.Put(w, t)
}

func tokenRotated(w *projection.Rows, r events.Recorded[events.TokenRotated]) {
	changeToken(w, r.Envelope, func(t *AccessToken) { t.SecretHash = r.Event.SecretHash })
}

func tokenRevoked(w *projection.Rows, r events.Recorded[events.TokenRevoked]) {
	changeToken(w, r.Envelope, func(t *AccessToken) { t.Revoked = true })
}

// Tokens are the queries over access tokens.
type Tokens struct{ DB DB }

const (
	tokenRow = `tenant, token, secret_hash, owner, actor_id, actor_kind, permissions, holder, revoked, issued, updated, version, position`

	tokenBySecretSQL = `
select ` + tokenRow + ` from access_tokens
where build = live_build('tokens', 1) and secret_hash = $1 and not revoked`

	tokensSQL = `
select ` + tokenRow + ` from access_tokens
where build = live_build('tokens', 1) and tenant = $1`
)

// BySecret returns the valid token with a secret's hash. It knows no tenant: it
// is how a request learns its own.
func (q Tokens) BySecret(ctx context.Context, hash string) (AccessToken, error) {
	found, err := collect[AccessToken](ctx, q.DB, tokenBySecretSQL, []any{hash})
	if err != nil {
		return AccessToken{}, fmt.Errorf("find token: %w", err)
	}
	if len(found) != 1 {
		return AccessToken{}, ErrNoToken
	}
	return found[0], nil
}

// ErrNoToken says that no valid token has the secret.
var ErrNoToken = &domain.Error{Kind: domain.Unauthenticated, Code: "token.unknown", Message: "the token is not valid", Fix: "sign in again, or ask for a new token"}

// TokenFilter is the order of a list.
type TokenFilter struct {
	Descending bool // the last id first
}

// List returns a page of the tokens of a tenant by id, those that were revoked
// too.
func (q Tokens) List(ctx context.Context, tenant domain.Tenant, f TokenFilter, after string, limit int) (Page[AccessToken], error) {
	byID := order[AccessToken]{"tokens", f.Descending, []string{"token"}, func(t *AccessToken) []any { return []any{&t.Token} }}
	return page(ctx, q.DB, &query{tokensSQL, []any{tenant}}, byID, after, limit)
}
