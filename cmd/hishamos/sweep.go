package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/file"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/blob"
)

func newBlobs() *cobra.Command {
	cmd := operators("blobs", "Look after the store of files and large values")
	var dry bool
	sweep := &cobra.Command{
		Use: "sweep", Short: "Remove blobs that no event names", Args: noArgs,
		Long: `Remove blobs that no event names: what a command left that was refused or
repeated, or a process that was killed between a blob and its event. Only blobs
go that are older than HISHAMOS_BLOB_GRACE, and older than every upload that is
under way. Servers of a cluster may run meanwhile.`,
		RunE: operate(func(ctx context.Context, o *operation) error {
			if err := o.connect(ctx); err != nil { // events that only Kafka holds name blobs too
				return err
			}
			return o.sweep(ctx, clock{}.Now(), dry)
		}),
	}
	sweep.Flags().BoolVar(&dry, "dry-run", false, "count them, and remove nothing")
	cmd.AddCommand(sweep)
	return cmd
}

// sweepAtOnce bounds the blobs that are looked for in the log at once, which takes
// a pass over all of it and some hundred bytes each.
const sweepAtOnce = 1 << 18

// skew is how far the clocks of the database and of a blob store may be apart.
const skew = time.Hour

// errNewerEvents says that this build cannot tell what an event names.
var errNewerEvents = &domain.Error{
	Kind: domain.Conflict, Code: "blobs.newer_events",
	Message: "the log holds events that this build does not know, which may name blobs", Fix: "sweep with the newest build that writes to the log",
}

// swept is what a sweep did.
type swept struct {
	Blobs   int       `json:"blobs"`   // in the store
	Unnamed int       `json:"unnamed"` // that no event names, old enough
	Bytes   int64     `json:"bytes"`   // of them
	Removed bool      `json:"removed"` // not when it was a dry run
	Before  time.Time `json:"before"`  // younger ones were left alone
}

// unnamed are blobs that no event was found to name yet, with their sizes.
type unnamed map[owned]int64

type owned struct {
	tenant  domain.Tenant
	address blob.Address
}

// sweep removes blobs that no event names. Blobs are listed before the log is
// read: an event that names one of them later than that has waited for longer
// than the time of grace, and none does, or belongs to an upload, whose blobs are
// too young.
func (o *operation) sweep(ctx context.Context, now time.Time, dry bool) error {
	settings, err := o.store.Settings(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(o.blobs.Check(ctx), blob.CheckAlone(ctx, o.blobs, settings.LogID)); err != nil {
		return err
	}
	done := swept{Removed: !dry}
	if done.Before, err = o.sweepBefore(ctx, now); err != nil {
		return err
	}
	old := make(unnamed)
	for e, err := range o.blobs.List(ctx, "") {
		if err != nil {
			return err
		}
		if e.IsMark() {
			continue
		}
		done.Blobs++
		if e.Put.Before(done.Before) {
			old[owned{e.Tenant, e.Address}] = e.Size
		}
		if len(old) == sweepAtOnce {
			if err := o.sweepThese(ctx, old, &done); err != nil {
				return err
			}
			clear(old)
		}
	}
	if err := o.sweepThese(ctx, old, &done); err != nil {
		return err
	}
	what := "removed"
	if dry {
		what = "would remove"
	}
	return o.answer(done, "%s %d of %d blobs, %d bytes, that no event names and that are older than %s",
		what, done.Unnamed, done.Blobs, done.Bytes, done.Before.Format(time.RFC3339))
}

// sweepBefore is the time before which blobs must have been put to be removed: an
// upload names its blobs only when it is complete, and all are younger than it.
func (o *operation) sweepBefore(ctx context.Context, now time.Time) (time.Time, error) {
	before := now.Add(-o.cfg.BlobGrace)
	for after := domain.StreamID(""); ; {
		page, err := o.store.OpenStreams(ctx, file.Decider.Kind, after, keyPage)
		if err != nil {
			return before, err
		}
		for _, stream := range page {
			after = stream
			s, err := o.fileState(ctx, stream)
			if err != nil {
				return before, err
			}
			if s.Phase == file.Ready || s.Phase == file.Removed {
				continue
			}
			first, err := o.store.ReadStream(ctx, stream, 0, 1)
			if err != nil {
				return before, err
			}
			if len(first) == 0 {
				return before, fmt.Errorf("look for uploads: %s has no events", stream)
			}
			if begun := first[0].Recorded.Add(-skew); begun.Before(before) {
				before = begun
			}
		}
		if len(page) < keyPage {
			return before, nil
		}
	}
}

// sweepThese removes those of some blobs that no event names.
func (o *operation) sweepThese(ctx context.Context, old unnamed, done *swept) error {
	if len(old) == 0 {
		return nil
	}
	head, err := o.store.Head(ctx)
	if err != nil {
		return err
	}
	for after := domain.Position(0); after < head.Position; {
		page, err := o.store.ReadAll(ctx, after, keyPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("look for the events that name blobs: %w", endsEarly(after, head.Position))
		}
		for _, r := range page {
			after = r.Position
			if err := o.strike(ctx, old, r); err != nil {
				return err
			}
		}
		o.progress("looking for the events that name blobs", uint64(after), uint64(head.Position))
	}
	for b, size := range old {
		if done.Removed {
			if err := o.blobs.Remove(ctx, b.tenant, b.address); err != nil {
				return err
			}
		}
		done.Unnamed++
		done.Bytes += size
	}
	return nil
}

// strike takes out what an event names.
func (o *operation) strike(ctx context.Context, old unnamed, r events.Record) error {
	if !isKnown(r) {
		return errNewerEvents.With("position %d holds %s v%d, which this build does not know and which may name blobs", r.Position, r.Type, r.Version)
	}
	named, err := o.namedBlobs(ctx, r)
	if err != nil {
		return err
	}
	for i, a := range named {
		delete(old, owned{r.Stream.Tenant(), a})
		if i > 0 || r.Type != (events.FileUploaded{}).EventType() {
			continue
		}
		m, err := blob.ReadManifest(ctx, o.blobs, r.Stream.Tenant(), a)
		if errors.Is(err, blob.ErrMissing) {
			gone, lookup := o.keysGone(ctx, r)
			if lookup != nil {
				return lookup
			}
			if gone {
				continue
			}
		}
		if err != nil { // its parts may be there, and could not be told from others
			return &blobError{r.Position, r.ID(), string(a), err}
		}
		for _, p := range m.Parts {
			delete(old, owned{r.Stream.Tenant(), p.Blob})
		}
	}
	return nil
}
