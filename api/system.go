package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/internal/auth"
)

type rotateTokenInput struct {
	CommandHeaders
	Body *v1.RotateToken
}

// rotateToken replaces the secret of the token in use. It answers once the read
// model knows the new secret, so that the next request with it is let in.
func (s *server) rotateToken(ctx context.Context, in *rotateTokenInput) (*body[v1.RotatedToken], error) {
	call := callOf(ctx)
	var out v1.RotatedToken
	var hash string
	if in.Body != nil {
		hash = in.Body.SecretHash
	}
	if hash == "" {
		out.Secret = auth.NewSecret()
		hash = auth.Hash(out.Secret)
	}
	in.Prefer = "hishamos-after=projected"
	r, err := s.do(ctx, in.CommandHeaders, commands.RotateToken{Token: call.token, SecretHash: hash}, nil)
	s.Auth.Forget(call.token)
	if err != nil {
		return nil, err
	}
	if r.replayed { // the secret of the first time was shown then and is not kept
		out.Secret = ""
	}
	out.Receipt = r.Receipt
	return answer(out), nil
}

func (s *server) health(context.Context, *struct{}) (*body[v1.Status], error) {
	return answer(v1.Status{Status: "ok", Version: s.Version}), nil
}

type statusOutput struct {
	Status int
	Body   v1.Status
}

func (s *server) ready(ctx context.Context, _ *struct{}) (*statusOutput, error) {
	missing := s.Missing(ctx)
	out := &statusOutput{Status: http.StatusOK, Body: v1.Status{Status: "ready"}}
	if len(missing) > 0 {
		callOf(ctx).header.Set("Retry-After", "1")
		out.Status, out.Body.Status = http.StatusServiceUnavailable, "not ready"
		if callOf(ctx).mayKnow {
			out.Body.Missing = missing
		}
	}
	if s.Degraded != nil && callOf(ctx).mayKnow {
		out.Body.Degraded = s.Degraded()
	}
	return out, nil
}

// raw adapts a plain handler that writes its own answer.
func raw(f func(*server, *gin.Context)) func(*server, huma.Operation) {
	return func(s *server, op huma.Operation) {
		op.Responses["200"] = documentOf(typeMetrics)
		huma.Register(s.huma, op, func(context.Context, *struct{}) (*huma.StreamResponse, error) {
			return &huma.StreamResponse{Body: func(h huma.Context) { f(s, humagin.Unwrap(h)) }}, nil
		})
	}
}

func (s *server) metrics(g *gin.Context) {
	if c := callOf(g.Request.Context()); !c.mayKnow && c.token == "" {
		s.fail(g, auth.ErrUnauthenticated)
		return
	}
	s.Metrics.Handler().ServeHTTP(g.Writer, g.Request)
}
