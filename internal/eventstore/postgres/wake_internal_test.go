package postgres

import (
	"sync/atomic"
	"testing"
)

// An announcement may arrive at any moment from the sending of a batch on.
func TestABatchIsOursFromItsSendingOn(t *testing.T) {
	t.Parallel()
	s := &Store{}
	var announced atomic.Uint64
	const batches = 300_000
	go func() {
		for p := range uint64(batches) {
			s.underWay.Store(p + 1)
			announced.Store(p + 1)
			s.handed.Store(p + 1)
			s.underWay.Store(0)
		}
	}()
	for at := uint64(0); at < batches; at = announced.Load() {
		if at > 0 && !s.ours(at) {
			t.Fatalf("batch %d counts as another's", at)
		}
	}
}
