package memory

import (
	"context"
	"slices"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
)

// ReadStream implements eventstore.Reader.
func (s *Store) ReadStream(ctx context.Context, id domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.streams[id]
	if !ok || uint64(after) >= uint64(len(st.positions)) || limit <= 0 {
		return nil, ctx.Err()
	}
	positions := st.positions[after:]
	positions = positions[:min(limit, len(positions))]
	out := make([]events.Record, 0, len(positions))
	for _, p := range positions {
		out = append(out, s.record(p))
	}
	return out, ctx.Err()
}

// ReadAll implements eventstore.Reader.
func (s *Store) ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []events.Record
	for p := after + 1; p <= s.head.Position && len(out) < limit; p++ {
		out = append(out, s.record(p))
	}
	return out, ctx.Err()
}

func (s *Store) record(p domain.Position) events.Record {
	r := s.log[p-1]
	r.Data = slices.Clone(r.Data)
	return r
}

// Head implements eventstore.Reader.
func (s *Store) Head(ctx context.Context) (eventstore.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head, ctx.Err()
}

// OpenStreams implements eventstore.Reader.
func (s *Store) OpenStreams(ctx context.Context, kind string, after domain.StreamID, limit int) ([]domain.StreamID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []domain.StreamID
	for id, st := range s.streams {
		if st.open && id.Kind() == kind && id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(max(limit, 0), len(ids))], ctx.Err()
}

// Committed implements eventstore.Reader.
func (s *Store) Committed(ctx context.Context, t domain.Tenant, c domain.CommandID) (eventstore.Receipt, []byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.commands[batch.CommandKey{Tenant: t, Command: c}]
	if !ok {
		return eventstore.Receipt{}, nil, false, ctx.Err()
	}
	d.Receipt.Replayed = true
	d.Receipt.Streams = slices.Clone(d.Receipt.Streams)
	return d.Receipt, slices.Clone(d.Body), true, ctx.Err()
}
