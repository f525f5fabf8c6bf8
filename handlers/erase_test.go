package handlers_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/reaction"
)

var order = commands.ErasureOrder(domain.DefaultTenant, commands.EraseRun, "run_1")

// eraser is the reaction with a key store that can be away.
func eraser(w *world, destroyed *[]string, away *bool) reaction.Reaction {
	w.ports.Destroy = func(_ context.Context, _ domain.StreamID, keys []string) error {
		if *away {
			return errors.New("away")
		}
		*destroyed = append(*destroyed, keys...)
		return nil
	}
	w.ports.OpenErasures = func(_ context.Context, after domain.StreamID, _ int) ([]domain.StreamID, error) {
		if after >= order {
			return nil, nil
		}
		return []domain.StreamID{order}, nil
	}
	w.ports.ErasureKeys = func(context.Context, domain.StreamID) ([]string, error) { return []string{"b-1.1"}, nil }
	all := handlers.All(w.ports)
	return all[slices.IndexFunc(all, func(r reaction.Reaction) bool { return r.Name == "erase" })]
}

var ordered = events.Recorded[events.Event]{
	Envelope: events.Envelope{Type: "erasure.ordered", Stream: order, Sequence: 1, Count: 1},
	Event:    events.ErasureOrdered{Subject: "run", ID: "run_1", Keys: []string{"b-1.1"}},
}

func TestAnErasureIsCompletedOnlyAfterTheKeysAreDestroyed(t *testing.T) {
	t.Parallel()
	w, destroyed, away := newWorld(t), []string(nil), true
	r := eraser(w, &destroyed, &away)
	if err := r.Handle(t.Context(), ordered); err == nil || len(w.commands) > 0 {
		t.Fatalf("without the key store: %v, %v", err, w.commands)
	}
	away = false
	for range 2 { // every event may come twice
		if err := r.Handle(t.Context(), ordered); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.commands) != 1 || w.commands[0].Command != commands.Command(commands.CompleteErasure{Order: order}) || destroyed[0] != "b-1.1" {
		t.Errorf("destroyed %v, commands %v", destroyed, w.commands)
	}
}

func TestOrdersThatNobodyCarriedOutAreFoundByANewOwner(t *testing.T) {
	t.Parallel()
	w, destroyed, away := newWorld(t), []string(nil), false
	r := eraser(w, &destroyed, &away)
	if err := r.Recover(t.Context(), func(domain.StreamID) bool { return false }); err != nil || len(destroyed) > 0 {
		t.Fatalf("another owner's: %v, %v", destroyed, err)
	}
	if err := r.Recover(t.Context(), func(s domain.StreamID) bool { return s == order }); err != nil || len(destroyed) != 1 || len(w.commands) != 1 {
		t.Errorf("destroyed %v, commands %v, %v", destroyed, w.commands, err)
	}
}
