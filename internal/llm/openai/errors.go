package openai

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sashabaranov/go-openai"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/llm"
)

// seen is what the client drops of an answer: status and headers.
type seen struct {
	status int
	header http.Header
}

type (
	seenKey    struct{}
	attemptKey struct{}
)

func record(ctx context.Context, attempt string) (context.Context, *seen) {
	s := &seen{}
	return context.WithValue(context.WithValue(ctx, seenKey{}, s), attemptKey{}, attempt), s
}

// recorder keeps status and headers, and sends the attempt as idempotency key.
type recorder struct{ client *http.Client }

func (r recorder) Do(req *http.Request) (*http.Response, error) {
	if id, ok := req.Context().Value(attemptKey{}).(string); ok && id != "" {
		req.Header.Set("Idempotency-Key", id)
	}
	resp, err := r.client.Do(req)
	if s, ok := req.Context().Value(seenKey{}).(*seen); ok && resp != nil {
		s.status, s.header = resp.StatusCode, resp.Header
	}
	if resp != nil {
		resp.Body = bounded{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 32 << 20

type bounded struct {
	io.Reader
	io.Closer
}

// failure is an error with what the server said around it.
type failure struct {
	err  error
	seen seen
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// cut is a stream that ended before its answer did.
type cut struct {
	err   error
	spent domain.Tokens
}

func (c *cut) Error() string { return c.err.Error() }
func (c *cut) Unwrap() error { return c.err }

// declined is an answer that refuses to answer.
type declined struct {
	spent     domain.Tokens
	estimated bool
}

func (*declined) Error() string { return "the model declined" }

// refusesFormat reports whether a server does not know response formats.
func refusesFormat(err error) bool {
	api, ok := errors.AsType[*openai.APIError](err)
	if !ok || api.HTTPStatusCode != http.StatusBadRequest && api.HTTPStatusCode != http.StatusUnprocessableEntity {
		return false
	}
	said := strings.ToLower(api.Message)
	if api.Param != nil {
		said += strings.ToLower(*api.Param)
	}
	return strings.Contains(said, "response_format") || strings.Contains(said, "json_schema") || strings.Contains(said, "schema")
}

// mapped turns whatever happened into one of the shared errors.
func (p *Provider) mapped(ctx context.Context, r llm.Request, err error) error {
	out := &llm.Error{Provider: p.Name()}
	if c, ok := errors.AsType[*cut](err); ok {
		out.Spent, out.Estimated = &c.spent, true
	}
	if ended := llm.ContextError(ctx, p.Name()); ended != nil {
		if e, ok := errors.AsType[*llm.Error](ended); ok {
			e.Spent, e.Estimated = out.Spent, out.Estimated
		}
		return ended
	}
	if d, ok := errors.AsType[*declined](err); ok {
		out.Code, out.Message, out.Final = llm.Refused, "the model declined to answer", true
		out.Spent, out.Estimated = &d.spent, d.estimated
		return out
	}
	status, code, said := 0, "", ""
	var header http.Header
	if f, ok := errors.AsType[*failure](err); ok {
		status, header = f.seen.status, f.seen.header
	}
	if api, ok := errors.AsType[*openai.APIError](err); ok {
		said = api.Message
		code, _ = api.Code.(string)
		code += " " + api.Type
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		// the server's own text may quote a part of the key
		out.Code, out.Message, out.Final = llm.Auth, "the key is not accepted for this", true
		return out
	case status == http.StatusTooManyRequests:
		out.Code, out.Message, out.RetryAfter = llm.RateLimited, "too many requests", retryAfter(header)
		if strings.Contains(code, "insufficient_quota") {
			out.Message, out.Final = "the quota is used up", true
		}
	case strings.Contains(code, "context_length") || strings.Contains(said, "maximum context length"):
		out.Code, out.Message, out.Final = llm.ContextLength, "the request is longer than the model reads", true
		return out
	case status == http.StatusRequestTimeout || status == http.StatusGatewayTimeout:
		out.Code, out.Message = llm.Timeout, "the server gave up waiting"
	case status >= 500:
		out.Code, out.Message, out.RetryAfter = llm.Unreachable, "the server answered "+strconv.Itoa(status), retryAfter(header)
	case status >= 400:
		out.Code, out.Message, out.Final = llm.Refused, "the server answered "+strconv.Itoa(status), true
	case status >= 200:
		out.Code, out.Message = llm.BadResponse, "the answer is broken or cut off"
		if out.Spent == nil { // the server did the work, we only could not read it
			spent := estimate(r, "")
			out.Spent, out.Estimated = &spent, true
		}
		return out
	default:
		// the error would quote the address, which may hold a credential
		out.Code, out.Message = llm.Unreachable, "no connection"
		return out
	}
	if said = p.harmless(said); said != "" {
		out.Message += ": " + said
	}
	return out
}

// harmless is a server's text without the key, cut to a line.
func (p *Provider) harmless(said string) string {
	if p.config.Key != "" {
		said = strings.ReplaceAll(said, p.config.Key, "[key]")
	}
	said, _, _ = strings.Cut(strings.TrimSpace(said), "\n")
	if runes := []rune(said); len(runes) > 200 {
		said = string(runes[:200]) + "…"
	}
	return said
}

// retryAfter reads seconds, milliseconds or a date.
func retryAfter(h http.Header) time.Duration {
	if ms, err := strconv.Atoi(h.Get("Retry-After-Ms")); err == nil && ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 && s < 1e6 {
		return time.Duration(s * float64(time.Second))
	}
	at, err := http.ParseTime(v)
	now, nowErr := http.ParseTime(h.Get("Date"))
	if err == nil && nowErr == nil && at.After(now) { // by the server's own clock
		return at.Sub(now)
	}
	return 0
}
