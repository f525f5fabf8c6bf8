// Package memory keeps keys in memory: for tests and the simulation, which lose
// everything with it.
//
// It must not know what a record is. It imports the contract only. Start at
// Store.
package memory

import (
	"context"
	"sync"

	"github.com/hishamos/hishamos/internal/keys"
)

// Store is a key store in memory. The zero value is ready for use.
type Store struct {
	mu    sync.Mutex
	boxes map[string][][]byte
	fail  error
}

var _ keys.Store = (*Store)(nil)

// Fail makes every call fail with an error until it is told nil.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Create implements keys.Store.
func (s *Store) Create(_ context.Context, box string, records [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if _, there := s.boxes[box]; there {
		return keys.ErrExists
	}
	if s.boxes == nil {
		s.boxes = make(map[string][][]byte)
	}
	kept := make([][]byte, len(records))
	for i, r := range records {
		kept[i] = append([]byte(nil), r...)
	}
	s.boxes[box] = kept
	return nil
}

// Read implements keys.Store.
func (s *Store) Read(_ context.Context, box string, n int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	if b := s.boxes[box]; n < len(b) && b[n] != nil {
		return append([]byte(nil), b[n]...), nil
	}
	return nil, keys.ErrMissing
}

// Replace implements keys.Store.
func (s *Store) Replace(_ context.Context, box string, n int, record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if s.boxes == nil {
		s.boxes = make(map[string][][]byte)
	}
	for len(s.boxes[box]) <= n {
		s.boxes[box] = append(s.boxes[box], nil)
	}
	s.boxes[box][n] = append([]byte(nil), record...)
	return nil
}
