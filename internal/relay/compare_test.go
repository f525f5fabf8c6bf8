package relay_test

import (
	"context"
	"testing"

	"github.com/hishamos/hishamos/internal/eventstore"
	store "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log/memory"
)

// busy is a store to which others append, and whose events others publish, right
// after somebody asked for its head.
type busy struct {
	*store.Store
	meanwhile func()
}

func (b busy) Head(ctx context.Context) (eventstore.Head, error) {
	head, err := b.Store.Head(ctx)
	b.meanwhile()
	return head, err
}

func TestAStoreInUseIsNotTakenToBeBehind(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), memory.New()
	fill(t, s, 10, types...)
	others := newRelay(s, l)
	drain(t, others)
	b := busy{s, func() {
		fill(t, s, 10, types...)
		drain(t, others)
	}}
	if _, err := newRelay(b, l).Compare(t.Context()); err != nil {
		t.Errorf("compare: %v", err)
	}
	r := newRelay(b, l)
	if err := r.Resume(t.Context()); err != nil {
		t.Errorf("resume: %v", err)
	}
	check(t, r.Close(t.Context()))
}
