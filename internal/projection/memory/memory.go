// Package memory keeps the rows of projections in maps: the same contract as
// postgres, deterministic and without goroutines, for tests and the simulation.
//
// It must not know what rows mean. It imports the contract. Start at Store.
package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
)

// Store implements projection.Store.
type Store struct {
	// Faults, when set, is asked before every commit; an error is returned
	// instead of committing.
	Faults func(projection.Changes) error

	mu     sync.Mutex // guards what follows
	builds []*build
}

type build struct {
	projection.Build
	state       string
	checkpoints map[log.Partition]*owned
	tables      map[string]*table
	parked      map[domain.StreamID]projection.Parked
}

type owned struct {
	projection.Checkpoint
	fence int64
}

type table struct {
	rows map[string]projection.Versioned
	past []projection.Past
}

const (
	building = "building"
	live     = "live"
	retired  = "retired"
)

// New returns an empty store.
func New() *Store { return &Store{} }

func (s *Store) find(b projection.Build) *build {
	for _, x := range s.builds {
		if x.Build == b {
			return x
		}
	}
	return nil
}

func (s *Store) live(name string, version int) *build {
	for _, x := range s.builds {
		if x.Projection == name && x.Version == version && x.state == live {
			return x
		}
	}
	return nil
}

// Live implements projection.Store.
func (s *Store) Live(_ context.Context, name string, version int) (projection.Build, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.live(name, version); b != nil {
		return b.Build, true, nil
	}
	return projection.Build{}, false, nil
}

// Begin implements projection.Store.
func (s *Store) Begin(_ context.Context, name string, version int) (projection.Build, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &build{
		Build: projection.Build{Projection: name, Version: version, Number: len(s.builds) + 1}, state: building,
		checkpoints: map[log.Partition]*owned{{}: {fence: 1, Checkpoint: projection.Checkpoint{Offset: -1}}},
		tables:      make(map[string]*table), parked: make(map[domain.StreamID]projection.Parked),
	}
	s.builds = append(s.builds, b)
	return b.Build, 1, nil
}

// Switch implements projection.Store.
func (s *Store) Switch(_ context.Context, b projection.Build, fence int64, checkpoints []projection.Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.find(b)
	if fresh == nil || fresh.state != building || fresh.checkpoints[log.Partition{}].fence != fence {
		return projection.ErrFenced
	}
	old := s.live(b.Projection, b.Version)
	if old != nil {
		reached := domain.Position(0)
		for _, c := range checkpoints {
			reached = max(reached, c.Position)
		}
		for _, c := range old.checkpoints {
			if c.Position > reached || c.Mark > reached {
				return projection.ErrBehind
			}
		}
		old.state = retired
		clear(old.checkpoints)
	}
	clear(fresh.checkpoints)
	for _, c := range checkpoints {
		fresh.checkpoints[c.Partition] = &owned{Checkpoint: c}
	}
	fresh.state = live
	return nil
}

// Stale implements projection.Store.
func (s *Store) Stale(_ context.Context, name string, version int) ([]projection.Build, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stale []projection.Build
	for _, b := range s.builds {
		if b.Projection == name && b.Version == version && b.state != live && b.tables != nil {
			stale = append(stale, b.Build)
		}
	}
	return stale, nil
}

// Discard implements projection.Store.
func (s *Store) Discard(_ context.Context, b projection.Build, _ []*projection.Schema) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.find(b); x != nil && x.state != live {
		x.state, x.tables, x.parked = retired, nil, nil
		clear(x.checkpoints)
	}
	return nil
}

// Own implements projection.Store.
func (s *Store) Own(_ context.Context, b projection.Build, p log.Partition) (projection.Checkpoint, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(b)
	if x == nil || x.checkpoints[p] == nil {
		return projection.Checkpoint{}, 0, projection.ErrFenced
	}
	c := x.checkpoints[p]
	c.fence++
	return c.Checkpoint, c.fence, nil
}

// Load implements projection.Store.
func (s *Store) Load(_ context.Context, b projection.Build, t *projection.Schema, examples []any) ([]projection.Versioned, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(b)
	if x == nil || x.tables[t.Name] == nil {
		return nil, nil
	}
	var rows []projection.Versioned
	for _, e := range examples {
		if r, ok := x.tables[t.Name].rows[t.Key(e)]; ok {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// Commit implements projection.Store.
func (s *Store) Commit(_ context.Context, c projection.Changes) error {
	if s.Faults != nil {
		if err := s.Faults(c); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(c.Build)
	if x == nil || x.checkpoints[c.Checkpoint.Partition] == nil || x.checkpoints[c.Checkpoint.Partition].fence != c.Fence ||
		x.checkpoints[c.Checkpoint.Partition].Batch != c.Checkpoint.Batch {
		return projection.ErrFenced
	}
	if c.DryRun {
		return nil
	}
	for _, t := range c.Tables {
		x.write(t)
	}
	for _, id := range c.Unpark {
		delete(x.parked, id)
	}
	for _, p := range c.Park {
		x.parked[p.Stream] = p
	}
	x.checkpoints[c.Checkpoint.Partition].Checkpoint = c.Checkpoint
	x.checkpoints[c.Checkpoint.Partition].Batch++
	return nil
}

func (b *build) write(c projection.TableChanges) {
	t := b.tables[c.Table.Name]
	if t == nil {
		t = &table{rows: make(map[string]projection.Versioned)}
		b.tables[c.Table.Name] = t
	}
	for _, r := range c.Puts {
		key := c.Table.Key(r.Row)
		if _, there := t.rows[key]; there && r.New { // what Postgres would have to write twice
			panic(fmt.Sprintf("row %q of %s is said to be new and is there", key, c.Table.Name))
		}
		r.New = false
		t.rows[key] = r
	}
	t.past = append(t.past, c.Past...)
	for _, r := range c.Sums {
		k := c.Table.Key(r)
		if old, ok := t.rows[k]; ok {
			r = c.Table.Add(old.Row, r)
		}
		t.rows[k] = projection.Versioned{Row: r}
	}
}

// Checkpoints implements projection.Store.
func (s *Store) Checkpoints(_ context.Context, b projection.Build) ([]projection.Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(b)
	if x == nil {
		return nil, nil
	}
	var out []projection.Checkpoint
	for _, c := range x.checkpoints {
		out = append(out, c.Checkpoint)
	}
	slices.SortFunc(out, func(a, b projection.Checkpoint) int {
		if a.Partition.Topic != b.Partition.Topic {
			if a.Partition.Topic < b.Partition.Topic {
				return -1
			}
			return 1
		}
		return int(a.Partition.ID - b.Partition.ID)
	})
	return out, nil
}

// Marks implements projection.Store.
func (s *Store) Marks(_ context.Context, marks []projection.OwnedMark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range marks {
		if x := s.find(m.Build); x != nil {
			if c := x.checkpoints[m.Partition]; c != nil && c.fence == m.Fence && c.Batch >= m.Batch {
				c.Mark = max(c.Mark, m.Mark)
			}
		}
	}
	return nil
}

// Parked implements projection.Store.
func (s *Store) Parked(_ context.Context, b projection.Build) ([]projection.Parked, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []projection.Parked
	if x := s.find(b); x != nil {
		for _, p := range x.parked {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b projection.Parked) int {
		if a.Position < b.Position {
			return -1
		}
		return 1
	})
	return out, nil
}

// Request implements projection.Store.
func (s *Store) Request(_ context.Context, b projection.Build, id domain.StreamID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(b)
	if x == nil {
		return false, nil
	}
	p, ok := x.parked[id]
	if ok {
		p.Requested = true
		x.parked[id] = p
	}
	return ok, nil
}

// Scan implements projection.Store.
func (s *Store) Scan(_ context.Context, b projection.Build, t *projection.Schema, past bool,
	each func(any, domain.Position, domain.Position) error,
) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(b)
	if x == nil || x.tables[t.Name] == nil {
		return nil
	}
	if past {
		for _, p := range x.tables[t.Name].past {
			if err := each(p.Row, p.From, p.To); err != nil {
				return err
			}
		}
		return nil
	}
	for _, r := range x.tables[t.Name].rows {
		if err := each(r.Row, r.From, 0); err != nil {
			return err
		}
	}
	return nil
}

// Attend implements projection.Store: a store in memory has one process.
func (s *Store) Attend(context.Context, string) (int, error) { return 1, nil }
