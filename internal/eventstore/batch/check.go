package batch

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// Limits narrow what one append may carry. Zero fields are the contract's.
type Limits struct {
	EventData int // bytes of one event's data; 0: eventstore.MaxEventData
	Append    int // bytes of data of an append; 0: eventstore.MaxAppend
	Streams   int // streams of an append; 0: eventstore.MaxStreams
}

// Bounds that no setting changes.
const (
	maxEvents = 4096     // events of an append
	maxText   = 64 << 10 // bytes of an append's attributes and claims
)

func (l Limits) orDefault() Limits {
	if l.EventData <= 0 || l.EventData > eventstore.MaxEventData {
		l.EventData = eventstore.MaxEventData
	}
	if l.Append <= 0 || l.Append > eventstore.MaxAppend {
		l.Append = eventstore.MaxAppend
	}
	if l.Streams <= 0 || l.Streams > eventstore.MaxStreams {
		l.Streams = eventstore.MaxStreams
	}
	return l
}

// invalid is a fault of the program that made the append, not of a user.
func invalid(format string, args ...any) error {
	return (&domain.Error{Kind: domain.Internal, Code: "append.malformed"}).With(format, args...)
}

// Check refuses an append that no state would accept, before it can wait for
// others or fail a batch with them. It returns the append's size in bytes.
func Check(a eventstore.Append, l Limits) (size int, err error) {
	l = l.orDefault()
	switch {
	case a.Command == "":
		return 0, invalid("an append needs a command id")
	case len(a.Writes) == 0:
		return 0, invalid("an append needs a stream")
	case len(a.Writes) > l.Streams:
		return 0, eventstore.ErrTooLarge.With("the append is for %d streams, the limit is %d", len(a.Writes), l.Streams)
	case a.Writes[0].Stream.Tenant() != a.Tenant:
		// The envelope holds no other tenant, and a rebuilt store must answer the
		// command id and hold the claims as this one does.
		return 0, invalid("tenant %q of the append is not that of its first stream %q", a.Tenant, a.Writes[0].Stream)
	}
	data, count := 0, 0
	t := texts{}
	t.add(string(a.Command), a.Actor, a.Correlation, a.Causation, a.TraceParent, a.DecidedBy)
	for i, w := range a.Writes {
		if err := checkStream(w, a.Writes[:i]); err != nil {
			return 0, err
		}
		for _, p := range w.Events {
			if len(p.Data) > l.EventData {
				return 0, eventstore.ErrTooLarge.With("the data of %s has %d bytes, the limit is %d", p.Type, len(p.Data), l.EventData)
			}
			if p.Type == "" || p.Version < 1 || p.Version > math.MaxInt32 {
				return 0, invalid("an event of stream %s has no type or no version", w.Stream)
			}
			if y := p.Time.UTC().Year(); !p.Time.IsZero() && (y < 1 || y > 9999) {
				return 0, invalid("the time %s of %s has no RFC 3339 form", p.Time.Format(time.DateTime), p.Type)
			}
			t.add(p.Type, p.ForkedFrom, p.KeyIDs)
			data += len(p.Data)
			count++
		}
	}
	for _, c := range a.Claims {
		if c.Kind == "" || c.Key == "" {
			return 0, invalid("a claim needs a kind and a key")
		}
		t.add(c.Kind, c.Key)
	}
	switch {
	case data > l.Append:
		return 0, eventstore.ErrTooLarge.With("the append has %d bytes of data, the limit is %d", data, l.Append)
	case count > maxEvents:
		return 0, eventstore.ErrTooLarge.With("the append has %d events, the limit is %d", count, maxEvents)
	case t.size > maxText:
		return 0, eventstore.ErrTooLarge.With("the append's attributes have %d bytes, the limit is %d", t.size, maxText)
	case t.bad:
		return 0, invalid("an attribute of command %q is not UTF-8 or holds a zero byte", a.Command)
	case count == 0 && len(a.Claims) > 0:
		return 0, invalid("claims need an event that carries them")
	}
	return data + t.size, nil
}

func checkStream(w eventstore.Write, before []eventstore.Write) error {
	if !w.Stream.Valid() || strings.ContainsFunc(string(w.Stream), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return invalid("%q is not a stream id", w.Stream)
	}
	if w.Expected < eventstore.Any {
		return invalid("expected version %d of stream %s", w.Expected, w.Stream)
	}
	for _, b := range before {
		if b.Stream == w.Stream {
			return invalid("stream %s is written twice in one append", w.Stream)
		}
	}
	return nil
}

// texts measures attributes and notes those that Postgres could not store.
type texts struct {
	size int
	bad  bool
}

func (t *texts) add(values ...string) {
	for _, v := range values {
		t.size += len(v)
		t.bad = t.bad || !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0
	}
}
