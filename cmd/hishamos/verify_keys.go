package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/keys"
)

// keyError says that a key is not as the events say.
type keyError struct {
	position domain.Position
	key      string
	cause    error
}

func (e *keyError) Error() string {
	return fmt.Sprintf("position %d names key %s: %v", e.position, e.key, e.cause)
}
func (e *keyError) Unwrap() error { return e.cause }

// named counts what events name, and what was found to be as they say.
type named struct {
	Keys    int `json:"keys"`
	Blobs   int `json:"blobs"`          // read, and of the right hash
	Unknown int `json:"unknown_events"` // that a newer build wrote: whether they name blobs is not known
}

// verifyKeys looks up every key that events of a range name: it is there, or an
// event ordered its destruction. What was ordered to be destroyed and is there,
// as after a restored backup, is destroyed again. Beside them it reads every blob
// that they name.
func (o *operation) verifyKeys(ctx context.Context, from, to domain.Position) (found named, err error) {
	if err := o.ring.Check(ctx); err != nil {
		return found, err
	}
	seen := make(map[string]bool)
	for after := from; after < to; {
		page, err := o.store.ReadAll(ctx, after, keyPage)
		if err != nil {
			return found, err
		}
		if len(page) == 0 {
			return found, endsEarly(after, to)
		}
		for _, r := range page {
			after = r.Position
			if err := o.destroyOrdered(ctx, r); err != nil {
				return found, err
			}
			if !isKnown(r) {
				found.Unknown++
			} else if n, err := o.verifyBlobs(ctx, r); err != nil {
				return found, err
			} else {
				found.Blobs += n
			}
			ids, err := keys.IDs(r.Envelope)
			if err != nil {
				return found, &keyError{r.Position, r.KeyIDs, err}
			}
			ids = slices.DeleteFunc(ids, func(id string) bool { return seen[id] })
			for _, id := range ids {
				if _, _, err := o.ring.State(ctx, r.Stream.Tenant(), id); err != nil {
					return found, &keyError{r.Position, id, err}
				}
				seen[id] = true
				found.Keys++
			}
		}
		if len(seen) > 100_000 { // a key that is named again is looked up again
			clear(seen)
		}
		o.progress("verifying keys and blobs", uint64(after), uint64(to))
	}
	return found, nil
}

// endsEarly says that the events after a position are gone, though the log had a
// head behind them: as on an older copy of the database.
func endsEarly(at, head domain.Position) error {
	return &events.ChainError{Position: at + 1, Reason: fmt.Sprintf("missing: the log goes on to %d", head)}
}

// isKnown reports whether this build knows an event, and so what it may name.
func isKnown(r events.Record) bool {
	t, known := events.Lookup(r.Type)
	return known && r.Version <= t.Version
}

func (o *operation) destroyOrdered(ctx context.Context, r events.Record) error {
	if r.Type != (events.ErasureOrdered{}).EventType() {
		return nil
	}
	e, err := r.Decode()
	if err != nil {
		return err
	}
	return o.ring.Destroy(ctx, r.Stream, e.Event.(events.ErasureOrdered).Keys...)
}
