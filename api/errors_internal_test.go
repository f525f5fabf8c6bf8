package api

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hishamos/hishamos/domain"
)

// The mapping is tested from inside: it is the one place that knows statuses,
// and no endpoint can produce every kind.
func TestEveryKindOfErrorHasItsStatus(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.setDefaults()
	for _, c := range []struct {
		err    error
		status int
		code   string
		header string
	}{
		{&domain.Error{Kind: domain.Invalid, Code: "c"}, 400, "c", ""},
		{&domain.Error{Kind: domain.Invalid, Code: "c", Field: "f"}, 422, "c", ""},
		{&domain.Error{Kind: domain.Unauthenticated, Code: "c"}, 401, "c", "Www-Authenticate"},
		{&domain.Error{Kind: domain.Forbidden, Code: "c"}, 403, "c", ""},
		{&domain.Error{Kind: domain.NotFound, Code: "c"}, 404, "c", ""},
		{&domain.Error{Kind: domain.Conflict, Code: "c"}, 409, "c", ""},
		{&domain.Error{Kind: domain.Stale, Code: "c"}, 412, "c", ""},
		{errNoIfMatch, 428, "version.required", ""},
		{&domain.Error{Kind: domain.Exhausted, Code: "c"}, 429, "c", "Retry-After"},
		{&domain.Error{Kind: domain.TooLarge, Code: "c"}, 413, "c", ""},
		{&domain.Error{Kind: domain.Unavailable, Code: "c"}, 503, "c", "Retry-After"},
		{&domain.Error{Kind: domain.Unknown, Code: "c"}, 504, "c", "Retry-After"},
		{&domain.Error{Kind: domain.Internal, Code: "secret", Message: "secret"}, 500, "internal", ""},
		{&domain.Error{Kind: "new", Code: "c"}, 500, "c", ""},
		{fmt.Errorf("append x: %w", &domain.Error{Kind: domain.Conflict, Code: "c"}), 409, "c", ""},
		{errNoMethod, 405, "route.method_not_allowed", ""},
		{errMediaType, 415, "request.media_type", ""},
		{errBodyCut, 408, "request.cut", ""},
		{context.DeadlineExceeded, 503, "request.timeout", "Retry-After"},
		{context.Canceled, 503, "request.timeout", "Retry-After"},
		{errors.New("secret"), 500, "internal", ""},
	} {
		p := s.problemOf(context.Background(), c.err)
		if p.Status != c.status || p.Code != c.code || p.Type != "/problems/"+c.code || p.Title == "" {
			t.Errorf("%v: %+v, want %d %s", c.err, p.Problem, c.status, c.code)
		}
		if c.header != "" && p.header.Get(c.header) == "" {
			t.Errorf("%v: no %s", c.err, c.header)
		}
		if p.Status == 500 && p.Code == "internal" && p.Detail != errInternal.Message {
			t.Errorf("%v: the caller reads %q", c.err, p.Detail)
		}
	}
}

func TestEveryKindIsInTheTable(t *testing.T) {
	t.Parallel()
	for _, k := range []domain.ErrorKind{
		domain.Invalid, domain.Unauthenticated, domain.Forbidden, domain.NotFound, domain.Conflict, domain.Stale,
		domain.Exhausted, domain.TooLarge, domain.Unavailable, domain.Unknown, domain.Internal,
	} {
		if statuses[k].status == 0 {
			t.Errorf("%s has no status", k)
		}
	}
}
