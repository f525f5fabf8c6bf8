package projection_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/projection/memory"
	"github.com/hishamos/hishamos/internal/projection/projectiontest"
)

func TestARebuildReadsBackWhatItNoLongerKeepsOnceThatIsWritten(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	streams := make([]domain.StreamID, 40)
	for i := range streams {
		streams[i] = k.stream()
		k.append(streams[i], issued("first"))
	}
	for round := range 5 {
		for _, s := range streams {
			k.append(s, rotated(fmt.Sprint("round ", round)))
		}
	}
	digest := func(rows projection.Store, batch, cached int) string {
		t.Helper()
		r, err := projection.New(projection.Config{
			Definitions: []*projection.Definition{k.def}, Store: rows, Log: k.world.Log, Events: k.events,
			Locks: projectiontest.NewLocks(), Batch: batch, CacheRows: cached,
			Mark: func(context.Context) (log.Mark, error) { return k.world.Published(), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Rebuild(t.Context(), k.def.Name); err != nil {
			t.Fatal(err)
		}
		d, err := r.Digest(t.Context(), k.def.Name)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	all := digest(memory.New(), 0, 0)
	slow := &slowStore{Store: memory.New()}
	if few := digest(slow, 1, 4); few != all {
		t.Errorf("with few rows kept the digest is %s, with all of them %s", few, all)
	}
	if n := slow.loads.Load(); n < 10 {
		t.Errorf("rows were read back %d times only", n)
	}
	if n := slow.early.Load(); n > 0 {
		t.Errorf("rows were read back %d times while some were written", n)
	}
}

// slowStore takes its time to write, and notes who reads meanwhile.
type slowStore struct {
	projection.Store
	writing, loads, early atomic.Int64
}

func (s *slowStore) Commit(ctx context.Context, c projection.Changes) error {
	s.writing.Add(1)
	defer s.writing.Add(-1)
	for range 100 {
		runtime.Gosched()
	}
	return s.Store.Commit(ctx, c)
}

func (s *slowStore) Load(ctx context.Context, b projection.Build, t *projection.Schema, examples []any) ([]projection.Versioned, error) {
	if s.loads.Add(1); s.writing.Load() > 0 {
		s.early.Add(1)
	}
	return s.Store.Load(ctx, b, t, examples)
}
