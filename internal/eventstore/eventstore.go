// Package eventstore is the contract of the event store: one commit point, one
// gapless and hash-chained order per log.
//
// It must not know what events mean. Implementations are postgres/ and memory/;
// storetest/ is the suite both must pass.
package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Expectations other than a version.
const (
	Any    int64 = -1 // whatever the version is
	Absent int64 = 0  // the stream must not exist
)

// The limits of one append, before settings narrow them.
const (
	MaxStreams   = 16
	MaxEventData = 64 << 10
	MaxAppend    = 1 << 20
)

// Append is one command's events for up to MaxStreams streams, atomically.
type Append struct {
	Command     domain.CommandID // required; the same id is never carried out twice
	Tenant      domain.Tenant    // whose command id it is
	Body        []byte           // digest of the request, to tell reuse from repetition; may be nil
	Writes      []Write
	Claims      []Claim
	Actor       string // RFC 8785 JSON
	Correlation string
	Causation   string
	TraceParent string
	DecidedBy   string // RFC 8785 JSON, or empty
	// Priority lets completions, cancels and timers pass when new work is
	// refused.
	Urgent bool
}

// Write is the part of an append that goes to one stream.
type Write struct {
	Stream   domain.StreamID
	Expected int64 // a version, Absent or Any
	Events   []Proposed
	// Closes says that the stream waits for nothing afterwards, whatever is still
	// written to it; see OpenStreams.
	Closes bool
	// Chain, if there is one, has the write refused as a conflict unless the Link
	// writes of it that came before were carried out.
	Chain *Chain
	Link  int64
}

// Chain is of writes that were decided one on another before the first had
// committed. Their versions alone do not tie them together: where one failed,
// somebody else may have written as many events in its place.
type Chain struct{ carried atomic.Int64 }

// Carried is how many writes of the chain were carried out as submitted.
func (c *Chain) Carried() int64 { return c.carried.Load() }

// Carry is called by the store when further writes of the chain have committed.
func (c *Chain) Carry(n int64) { c.carried.Add(n) }

// Proposed is an event before it has a place in the log.
type Proposed struct {
	Type       string
	Version    int
	Time       time.Time
	Data       []byte
	Known      events.Known // what Data says, if the caller knows
	ForkedFrom string
	KeyIDs     string
}

// Claim takes or releases a unique key, in the same transaction.
type Claim struct {
	Kind    string `json:"kind"`
	Key     string `json:"key"`
	Release bool   `json:"release,omitempty"`
}

// Receipt says where an append landed. Streams are in the order of the writes.
type Receipt struct {
	First, Last domain.Position
	Recorded    time.Time
	Streams     []StreamVersion
	// Replayed says that the command had been carried out before; the receipt is
	// that of the first time.
	Replayed bool
	// Records are the committed events; nil when Replayed.
	Records []events.Record
}

// StreamVersion is a stream's version after an append.
type StreamVersion struct {
	Stream  domain.StreamID
	Version domain.Sequence
}

// Head is the end of the log.
type Head struct {
	LogID      string
	Generation int
	Position   domain.Position
	Hash       events.Hash
	Recorded   time.Time
}

// ConflictError says that a stream is not at the expected version. Nothing was
// written; load and decide again.
type ConflictError struct {
	Stream   domain.StreamID
	Expected int64
	Actual   domain.Sequence
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %s is at version %d, expected %d", e.Stream, e.Actual, e.Expected)
}

// The other ways an append can end. All but ErrUnknown mean that nothing was
// written.
var (
	// ErrUnknown: the connection broke during commit and the outcome could not
	// be settled in time. The same command id settles it.
	ErrUnknown = &domain.Error{
		Kind: domain.Unknown, Code: "append.unknown",
		Message: "the outcome of the commit is not known", Fix: "send the same command id again",
	}
	// ErrBodyMismatch: the command id was used before with another body.
	ErrBodyMismatch = &domain.Error{
		Kind: domain.Invalid, Code: "command.id_reused", Field: "Idempotency-Key",
		Message: "this key was used before with another request", Fix: "use a fresh key for a different request",
	}
	// ErrClaimed: a unique key is taken.
	ErrClaimed = &domain.Error{Kind: domain.Conflict, Code: "claim.taken", Message: "the name is already taken"}
	// ErrBusy: the queue is full, or the log lags, or the disk is nearly full.
	ErrBusy = &domain.Error{
		Kind: domain.Unavailable, Code: "append.busy",
		Message: "the log takes no new work now", Fix: "try again after the time given in Retry-After",
	}
	// ErrTooLarge: the append passes a limit.
	ErrTooLarge = &domain.Error{Kind: domain.TooLarge, Code: "append.too_large", Message: "the request leads to more data than one event or append may carry"}
	// ErrClosed: the store is shutting down.
	ErrClosed = errors.New("event store is closed")
)

// Reader reads the log.
type Reader interface {
	// ReadStream returns up to limit events of a stream after a version.
	ReadStream(ctx context.Context, stream domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error)
	// ReadAll returns up to limit events after a position.
	ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error)
	// Head returns the end of the log.
	Head(ctx context.Context) (Head, error)
	// OpenStreams returns up to limit streams of a kind that no append has closed,
	// in order, after one.
	OpenStreams(ctx context.Context, kind string, after domain.StreamID, limit int) ([]domain.StreamID, error)
	// Committed returns the receipt of a command id, if it was carried out, and
	// the body digest it was carried out with.
	Committed(ctx context.Context, tenant domain.Tenant, command domain.CommandID) (r Receipt, body []byte, ok bool, err error)
}

// Everyone stands, where a tenant is asked for, for all of them together.
const Everyone domain.Tenant = "*"

// Page is a part of the log as a tenant sees it. Everything that the tenant may
// see up to Reached is in it, or came before it.
type Page struct {
	Records []events.Record
	Reached domain.Position
}

// TenantReader reads what one tenant may see, or Everyone; the empty tenant sees
// nothing. It answers requests.
type TenantReader interface {
	// ReadStream returns up to limit events of a stream after a version; none if
	// the stream is another tenant's.
	ReadStream(ctx context.Context, as domain.Tenant, stream domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error)
	// ReadAll returns up to limit events after a position and up to another. It
	// may stop before, at Reached, when much lies between that is not the tenant's.
	ReadAll(ctx context.Context, as domain.Tenant, after, upTo domain.Position, limit int) (Page, error)
	// Head returns the end of the log, which is everybody's.
	Head(ctx context.Context) (Head, error)
}

// Store is a log that can be written.
type Store interface {
	Reader
	// Append carries out one command. Concurrent appends share transactions; a
	// conflict fails only its own. Errors are *ConflictError, the sentinels
	// above, or a definite failure.
	Append(ctx context.Context, a Append) (Receipt, error)
	// Submit queues an append and returns at once; the Pending answers as Append
	// would. Appends of one tenant and urgency are taken in the order in which
	// they were submitted, so a caller may submit the next append of a stream,
	// expecting the version this one leads to, before this one has committed; a
	// Chain makes sure that it is this one.
	Submit(ctx context.Context, a Append) Pending
	// Wake returns a channel that receives after events were committed by any
	// process. It is a hint: it may be early or merged, and polling is the net.
	Wake() <-chan struct{}
}

// Pending is an append that was submitted.
type Pending interface {
	// Wait blocks until the outcome is known.
	Wait() (Receipt, error)
}
