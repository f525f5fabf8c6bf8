// Package hishamos calls the HTTP API from Go: start runs, wait for them, read and
// follow lists and the log. `hish` is built on it.
//
// It must not know the server's parts, only its wire form. It imports api/v1 and
// the standard library (and a UUID for keys), so that programs using it stay
// small.
//
// Start reading at New and the examples; calls.go lists what can be asked,
// follow.go the event streams, all.go the lists as sequences.
package hishamos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/api/v1"
)

// Options are the settings of a Client; zero values are usable.
type Options struct {
	HTTP      *http.Client  // nil: one without a time-out, as streams need
	UserAgent string        // nil: hishamos-client
	Tries     int           // how often a request is sent at most; 0: 4
	Pause     time.Duration // before the second try, doubling; 0: 200 ms
	// Apart says that calls are of callers who do not read what the others wrote:
	// no call waits for what an earlier one did.
	Apart bool
}

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	opts  Options
	// position is the newest one a command was answered with: later queries send
	// it, so that a client reads what it wrote.
	position atomic.Value // string
}

// New returns a client of the server at an address such as
// http://127.0.0.1:8080.
func New(address, token string, opts Options) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(address, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of a server; it looks like http://127.0.0.1:8080", address)
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{}
	}
	if opts.UserAgent == "" {
		opts.UserAgent = "hishamos-client"
	}
	if opts.Tries == 0 {
		opts.Tries = 4
	}
	if opts.Pause == 0 {
		opts.Pause = 200 * time.Millisecond
	}
	return &Client{base: base, token: token, opts: opts}, nil
}

// Error is a refusal by the server.
type Error struct{ v1.Problem }

func (e *Error) Error() string {
	s := e.Detail
	if s == "" {
		s = e.Title
	}
	if e.Fix != "" {
		s += " (" + e.Fix + ")"
	}
	return s
}

// UnreachableError says that no answer came.
type UnreachableError struct {
	Address string
	Err     error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no answer from %s: %v (start the server with `hishamos up`, or name another one by HISHAMOS_URL)", e.Address, e.Err)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Command are the options of a request that changes something.
type Command struct {
	Key   string // Idempotency-Key; empty: a fresh one, so that retries are safe
	After string // "logged", "projected" or, of a run that is started, "ended": answer only then
	Wait  time.Duration
	Match string // If-Match
}

// request is one call.
type request struct {
	method string
	path   string
	query  url.Values
	body   []byte
	media  string // of the body
	header http.Header
	late   bool // an answer of 503 is an answer

	stream io.Reader // in the place of body: sent once, and not again
	length int64
}

func escape(parts ...string) string {
	var b strings.Builder
	b.WriteString("/api/v1")
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// command sends a request that changes something, again if need be: its key
// makes a repetition harmless.
func (c *Client) command(ctx context.Context, method, path string, body any, o Command, out any) error {
	return c.commandWith(ctx, http.Header{}, method, path, body, o, out)
}

// commandWith is command with further headers.
func (c *Client) commandWith(ctx context.Context, h http.Header, method, path string, body any, o Command, out any) error {
	r := request{method: method, path: path, header: h}
	switch b := body.(type) {
	case nil:
	case Document:
		r.body, r.media = b.Text, b.Media
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		r.body, r.media = text, "application/json"
	}
	if o.Key == "" {
		o.Key = uuid.Must(uuid.NewV7()).String()
	}
	r.header.Set("Idempotency-Key", o.Key)
	if o.Match != "" {
		r.header.Set("If-Match", o.Match)
	}
	if o.After != "" {
		prefer := "hishamos-after=" + o.After
		if o.Wait > 0 {
			prefer += ", wait=" + strconv.Itoa(int(o.Wait.Seconds()))
		}
		r.header.Set("Prefer", prefer)
	}
	return c.call(ctx, r, out)
}

func (c *Client) get(ctx context.Context, path string, query url.Values, out any) (http.Header, error) {
	r := request{method: http.MethodGet, path: path, query: query, header: http.Header{}}
	if p, ok := c.position.Load().(string); ok {
		r.header.Set("Hishamos-Position", p)
	}
	response, err := c.retry(ctx, r)
	if err != nil {
		return nil, err
	}
	return response.Header, decode(response, out)
}

func (c *Client) call(ctx context.Context, r request, out any) error {
	if p, ok := c.position.Load().(string); ok {
		r.header.Set("Hishamos-Position", p)
	}
	response, err := c.retry(ctx, r)
	if err != nil {
		return err
	}
	if p := response.Header.Get("Hishamos-Position"); p != "" && !c.opts.Apart {
		c.position.Store(p)
	}
	return decode(response, out)
}

// retry sends a request until it is answered for good.
func (c *Client) retry(ctx context.Context, r request) (*http.Response, error) {
	pause := c.opts.Pause
	for try := 1; ; try++ {
		response, err := c.send(ctx, r)
		if err == nil || try == c.opts.Tries || !passing(err) {
			return response, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause *= 2
	}
}

// passing reports whether sending again may help.
func passing(err error) bool {
	if refused, ok := errors.AsType[*Error](err); ok {
		switch refused.Status {
		case http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusBadGateway, http.StatusTooManyRequests:
			return true
		}
		return refused.Code == "command.in_progress"
	}
	_, ok := errors.AsType[*UnreachableError](err)
	return ok
}

// send sends a request once. Its error is an *Error or an *UnreachableError.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	address := c.base.String() + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	q, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	if r.stream != nil {
		q.Body, q.ContentLength, q.GetBody = io.NopCloser(r.stream), r.length, nil
	}
	for name, values := range r.header {
		q.Header[name] = values
	}
	q.Header.Set("User-Agent", c.opts.UserAgent)
	if r.media != "" {
		q.Header.Set("Content-Type", r.media)
	}
	if c.token != "" {
		q.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.opts.HTTP.Do(q)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, &UnreachableError{Address: c.base.String(), Err: err}
	}
	if response.StatusCode >= http.StatusBadRequest && !(r.late && response.StatusCode == http.StatusServiceUnavailable) {
		return nil, refusal(response)
	}
	return response, nil
}

// maxProblem bounds how much of an error's body is read.
const maxProblem = 1 << 20

func refusal(response *http.Response) error {
	defer response.Body.Close()
	e := &Error{v1.Problem{Status: response.StatusCode, Title: response.Status}}
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || media != "application/problem+json" {
		e.Detail = "the server answered " + response.Status
		return e
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxProblem)).Decode(&e.Problem); err != nil {
		e.Detail = "the server answered " + response.Status
	}
	e.Status = response.StatusCode
	return e
}

func decode(response *http.Response, out any) error {
	defer response.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, response.Body)
		return err
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
