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

// verifyKeys looks up every key that events of a range name: it is there, or an
// event ordered its destruction. What was ordered to be destroyed and is there,
// as after a restored backup, is destroyed again. Beside them it reads every blob
// that they name. It returns the number of both.
func (o *operation) verifyKeys(ctx context.Context, from, to domain.Position) (count, blobs int, err error) {
	if err := o.ring.Check(ctx); err != nil {
		return 0, 0, err
	}
	seen := make(map[string]bool)
	for after := from; after < to; {
		page, err := o.store.ReadAll(ctx, after, keyPage)
		if err != nil || len(page) == 0 {
			return count, blobs, err
		}
		for _, r := range page {
			after = r.Position
			if err := o.destroyOrdered(ctx, r); err != nil {
				return count, blobs, err
			}
			found, err := o.verifyBlobs(ctx, r)
			if err != nil {
				return count, blobs, err
			}
			blobs += found
			ids, err := keys.IDs(r.Envelope)
			if err != nil {
				return count, blobs, &keyError{r.Position, r.KeyIDs, err}
			}
			ids = slices.DeleteFunc(ids, func(id string) bool { return seen[id] })
			for _, id := range ids {
				if _, _, err := o.ring.State(ctx, r.Stream.Tenant(), id); err != nil {
					return count, blobs, &keyError{r.Position, id, err}
				}
				seen[id] = true
				count++
			}
		}
		if len(seen) > 100_000 { // a key that is named again is looked up again
			clear(seen)
		}
		o.progress("verifying keys and blobs", uint64(after), uint64(to))
	}
	return count, blobs, nil
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
