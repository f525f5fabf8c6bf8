package handlers

import (
	"context"
	"fmt"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/reaction"
)

// sweepBlobs takes away the blobs of what was removed or erased. Nobody can read
// what was erased, so this is about space; done again it changes nothing.
func sweepBlobs(p Ports) reaction.Reaction {
	return reaction.Reaction{
		Name:  "sweep_blobs",
		Types: []string{events.ErasureOrdered{}.EventType(), events.FileUploaded{}.EventType(), events.FileRemoved{}.EventType()},
		Handle: func(ctx context.Context, e events.Recorded[events.Event]) error {
			switch v := e.Event.(type) {
			case events.FileUploaded:
				return p.SettleUpload(ctx, e.Stream)
			case events.FileRemoved:
				return p.RemoveFile(ctx, e.Stream)
			case events.ErasureOrdered:
				return p.sweepErased(ctx, e, v)
			}
			return nil
		},
	}
}

// sweepErased records the end of an erased file, which leads to its removal, and
// removes what else was erased.
func (p Ports) sweepErased(ctx context.Context, e events.Recorded[events.Event], order events.ErasureOrdered) error {
	tenant := e.Stream.Tenant()
	if order.Subject != commands.EraseFile {
		return p.RemoveErased(ctx, tenant, order.Subject, order.ID)
	}
	_, err := p.Dispatcher.Do(ctx, commands.Request{
		ID: domain.DerivedCommandID("sweep_blobs", e.ID()), Principal: domain.SystemPrincipal(tenant, "erase"), Causation: string(e.ID()),
		Command: commands.RemoveFile{File: domain.NewStreamID(tenant, order.ID), Reason: commands.FileErased},
	})
	if err != nil {
		return fmt.Errorf("remove erased file %s: %w", order.ID, err)
	}
	return nil
}
