package memory_test

import (
	"bytes"
	"testing"

	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/keys/keystest"
	"github.com/hishamos/hishamos/internal/keys/memory"
)

func TestItKeepsToTheContract(t *testing.T) {
	t.Parallel()
	s := &memory.Store{}
	keystest.Exercise(t, func(*testing.T) keys.Store { return s }, func(t *testing.T) []byte {
		var all []byte
		for n := range 3 {
			r, err := s.Read(t.Context(), "b-1", n)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r...)
		}
		return bytes.Clone(all)
	})
}
