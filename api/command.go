package api

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/failpoint"
)

// keyPrefix sets clients' keys apart from the ids of reactions.
const keyPrefix = "key:"

// CommandHeaders are the headers that every command takes. It is exported only
// because huma reads exported fields alone.
type CommandHeaders struct {
	Key    string `header:"Idempotency-Key" minLength:"1" maxLength:"255" pattern:"^[!-~]+$" doc:"Repeating a request under the same key repeats its answer, not its effect. Any text of visible characters that you never use twice"`
	Prefer string `header:"Prefer" doc:"wait=5, hishamos-after=logged or projected: answer only when the log on Kafka, or the read models, have the command's events; ended: when the run that is started has ended"`
}

// MatchHeaders are CommandHeaders that also pin the version that is changed.
type MatchHeaders struct {
	CommandHeaders
	IfMatch string `header:"If-Match" pattern:"^(\\*|\"[0-9]{1,19}\")$" example:"*" doc:"The ETag you read: the request is refused if somebody changed the thing since"`
}

// expected returns the version of an If-Match header, nil for any. It is
// required.
func (m MatchHeaders) expected() (*domain.Sequence, error) {
	text := strings.TrimSpace(m.IfMatch)
	switch text {
	case "":
		return nil, errNoIfMatch
	case "*":
		return nil, nil
	}
	n, err := strconv.ParseUint(strings.Trim(text, `"`), 10, 63)
	if err != nil || !strings.HasPrefix(text, `"`) || !strings.HasSuffix(text, `"`) {
		return nil, domain.InvalidField("If-Match", "is not an ETag of ours", `send it with its quotes, like "3"`)
	}
	v := domain.Sequence(n)
	return &v, nil
}

// etag is the version of a thing as an entity tag.
func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// inFlight are the clients' keys whose commands are being carried out here.
type inFlight struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

func (f *inFlight) enter(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, busy := f.keys[key]; busy {
		return false
	}
	if f.keys == nil {
		f.keys = make(map[string]struct{})
	}
	f.keys[key] = struct{}{}
	return true
}

func (f *inFlight) leave(key string) {
	f.mu.Lock()
	delete(f.keys, key)
	f.mu.Unlock()
}

// commandID is the id of the command of a request: without a key, another one
// every time.
func (s *server) commandID(in CommandHeaders) domain.CommandID {
	if in.Key == "" {
		return domain.CommandID(keyPrefix + s.IDs.NewID())
	}
	return domain.CommandID(keyPrefix + in.Key)
}

// do carries out a command and sets the headers of its answer. What it returns
// depends on the receipt alone, so that a repetition answers the same.
func (s *server) do(ctx context.Context, in CommandHeaders, c commands.Command, expected *domain.Sequence) (done, error) {
	call := callOf(ctx)
	id := s.commandID(in)
	body, err := s.digest(ctx, call)
	if err != nil {
		return done{}, err
	}
	if in.Key != "" {
		busy := string(call.principal.Tenant) + "/" + in.Key
		if !s.inFlight.enter(busy) {
			return done{}, errInProgress
		}
		defer s.inFlight.leave(busy)
	}
	call.header.Set(headerCommand, strings.TrimPrefix(string(id), keyPrefix))

	// The command is not given up when the client goes away: it has begun, and the
	// client has the key to ask again.
	doing, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	_, fresh := c.(commands.StartRun) // each gets an id of its own
	failpoint.Hit("api.before_dispatch")
	r, err := s.Dispatcher.Do(doing, commands.Request{
		ID: id, Principal: call.principal, Command: c, Fresh: fresh, Expected: expected, Body: body, TraceParent: call.trace,
	})
	if err != nil {
		return done{}, err
	}
	failpoint.Hit("api.before_answer")
	s.prefer(ctx, in.Prefer, r.Last)
	return s.done(call, r), nil
}

// commandTimeout bounds how long a command may wait for its turn.
const commandTimeout = 30 * time.Second

// done is a command that was carried out.
type done struct {
	v1.Receipt
	replayed bool
	ended    *v1.RunEnd // of a run, if that was waited for
}

func (s *server) done(c *call, r commands.Receipt) done {
	c.header.Set(headerPosition, encodePosition(s.Epoch(), r.Last))
	c.header.Set("ETag", etag(uint64(r.Version)))
	return done{
		Receipt:  v1.Receipt{ID: r.Stream.Entity(), Version: v1.Ordinal(r.Version), Position: v1.Ordinal(r.Last)},
		replayed: r.Replayed,
	}
}

// refused answers a request that cannot become a command now, such as one for a
// workflow that has been archived since: if it became one before, under the same
// key, that answer stands.
func (s *server) refused(ctx context.Context, in CommandHeaders, why error) (done, error) {
	if in.Key == "" || s.Committed == nil {
		return done{}, why
	}
	call := callOf(ctx)
	r, body, ok, err := s.Committed(ctx, call.principal.Tenant, domain.CommandID(keyPrefix+in.Key))
	if err != nil || !ok {
		return done{}, why
	}
	if same, err := s.digest(ctx, call); err != nil || !hmac.Equal(body, same) {
		return done{}, why
	}
	r.Replayed = true
	call.header.Set(headerCommand, in.Key)
	return s.done(call, r), nil
}

// digest tells a repetition of a request from another request under the same
// key. It is keyed, so that it gives nothing away about what was sent.
func (s *server) digest(ctx context.Context, c *call) ([]byte, error) {
	key, err := s.requestKey(ctx, c.principal.Tenant)
	if err != nil {
		return nil, fmt.Errorf("digest request: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte(c.method), []byte(c.path), canonical(c.body)} {
		var n [8]byte
		for i := range n {
			n[i] = byte(len(part) >> (8 * (7 - i)))
		}
		mac.Write(n[:])
		mac.Write(part)
	}
	return mac.Sum(nil), nil
}

// canonical is JSON without white space and with sorted names; anything else is
// left as it is. An absent body and an empty object are the same request.
func canonical(body []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return body
	}
	if _, err := d.Token(); err != io.EOF {
		return body
	}
	if m, ok := v.(map[string]any); ok && len(m) == 0 {
		return nil
	}
	out, err := json.Marshal(v)
	if err != nil {
		return body
	}
	return out
}
