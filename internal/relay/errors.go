package relay

import (
	"errors"
	"fmt"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
)

// The errors after which only an operator, or another part of the program, can
// let the relay go on. Each is matched by errors.Is with its sentinel and holds
// the details in its type.
var (
	// ErrAhead: the topics hold events that the store lacks.
	ErrAhead = &domain.Error{
		Kind: domain.Unavailable, Code: "relay.log_ahead",
		Message: "the store is behind Kafka", Fix: "let the store catch up from Kafka before anything is appended",
	}
	// ErrDiverged: store and topics hold different events at one position.
	ErrDiverged = &domain.Error{
		Kind: domain.Internal, Code: "relay.diverged",
		Message: "the store and Kafka hold different histories", Fix: "decide which is right, then rebuild the other from it under a new epoch or generation",
	}
	// ErrForeign: the topics belong to another log, or to another epoch.
	ErrForeign = &domain.Error{
		Kind: domain.Internal, Code: "relay.foreign_topics",
		Message: "the topics belong to another log", Fix: "use another Kafka, or delete the topics and refill them",
	}
)

// AheadError says how far the topics are ahead of the store.
type AheadError struct {
	Store, Log domain.Position
	Partition  log.Partition // one that is ahead
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("%s holds position %d, the store ends at %d (%s)", e.Partition, e.Log, e.Store, ErrAhead.Fix)
}

// Unwrap makes it an ErrAhead.
func (e *AheadError) Unwrap() error { return ErrAhead }

// DivergedError names a position at which store and topics differ.
type DivergedError struct {
	Position   domain.Position
	Log, Store events.Hash
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("position %d has hash %s on Kafka and %s in the store (%s)", e.Position, e.Log, e.Store, ErrDiverged.Fix)
}

// Unwrap makes it an ErrDiverged.
func (e *DivergedError) Unwrap() error { return ErrDiverged }

// ForeignError names a record that is not ours.
type ForeignError struct {
	Partition log.Partition
	Offset    int64
	Reason    string
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s at offset %d: %s (%s)", e.Partition, e.Offset, e.Reason, ErrForeign.Fix)
}

// Unwrap makes it an ErrForeign.
func (e *ForeignError) Unwrap() error { return ErrForeign }

// Fatal reports whether trying again cannot help.
func Fatal(err error) bool {
	for _, e := range []error{ErrAhead, ErrDiverged, ErrForeign} {
		if errors.Is(err, e) {
			return true
		}
	}
	_, broken := errors.AsType[*events.ChainError](err)
	return broken
}
