package commands

import (
	"context"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Request is a command on its way to its decider: who asks, under which id, and
// because of what.
type Request struct {
	ID        domain.CommandID // required; repeating it repeats the answer, not the change
	Principal domain.Principal
	Command   Command
	// Expected pins the stream's version (If-Match): at any other version the
	// request is refused as stale instead of being decided again.
	Expected *domain.Sequence
	// Fresh says that the target's id was made for this request, so that there is
	// nothing to load. If there is after all, the append shows it.
	Fresh bool
	// Body is a keyed digest of the request as the client sent it; the same id
	// with another digest is refused. Nil for derived ids.
	Body        []byte
	Correlation string // the command that began it all; empty: this one
	Causation   string // the event that led here; empty: none
	TraceParent string
}

// Receipt says what a request led to. It is the same when the request is
// repeated under the same id.
type Receipt struct {
	Stream      domain.StreamID
	Version     domain.Sequence // of the stream after the request
	First, Last domain.Position // of the events; 0 when the command was already satisfied
	Recorded    time.Time
	Replayed    bool // the id had been carried out before
}

// Dispatcher carries out requests.
type Dispatcher interface {
	Do(ctx context.Context, r Request) (Receipt, error)
}
