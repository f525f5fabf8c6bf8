package handlers

import (
	"context"
	"fmt"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/reaction"
)

// erase destroys the keys that were ordered to be, and records that it did. Done
// again it changes nothing, so a crash between the two costs nothing.
func erase(p Ports) reaction.Reaction {
	return reaction.Reaction{
		Name:  "erase",
		Types: []string{events.ErasureOrdered{}.EventType()},
		Handle: func(ctx context.Context, e events.Recorded[events.Event]) error {
			return p.Erase(ctx, e.Stream, e.Event.(events.ErasureOrdered).Keys)
		},
		Recover: p.recoverErasures,
	}
}

// Erase carries out one order.
func (p Ports) Erase(ctx context.Context, order domain.StreamID, keys []string) error {
	if err := p.Destroy(ctx, order, keys); err != nil {
		return fmt.Errorf("erase by %s: %w", order, err)
	}
	_, err := p.Dispatcher.Do(ctx, commands.Request{
		ID: domain.DerivedCommandID("erase", domain.EventID(order)), Principal: domain.SystemPrincipal(order.Tenant(), "erase"),
		Causation: string(order) + "/1", Command: commands.CompleteErasure{Order: order},
	})
	if err != nil {
		return fmt.Errorf("complete %s: %w", order, err)
	}
	return nil
}

// recoverErasures carries out the orders of new partitions that nobody has.
func (p Ports) recoverErasures(ctx context.Context, owned func(domain.StreamID) bool) error {
	for after := domain.StreamID(""); ; {
		page, err := p.OpenErasures(ctx, after, recoverPage)
		if err != nil {
			return fmt.Errorf("recover erasures: %w", err)
		}
		for _, order := range page {
			after = order
			if !owned(order) {
				continue
			}
			keys, err := p.ErasureKeys(ctx, order)
			if err != nil {
				return fmt.Errorf("recover %s: %w", order, err)
			}
			if err := p.Erase(ctx, order, keys); err != nil {
				return err
			}
		}
		if len(page) < recoverPage {
			return nil
		}
	}
}
