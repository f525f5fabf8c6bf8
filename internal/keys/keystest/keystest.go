// Package keystest is the contract of key stores as a suite.
package keystest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/hishamos/hishamos/internal/keys"
)

// Exercise holds stores to the contract. Open returns a further handle on one and
// the same store, which is empty at first; Records returns what lies in it.
func Exercise(t *testing.T, open func(*testing.T) keys.Store, raw func(*testing.T) []byte) {
	t.Helper()
	ctx := t.Context()
	record := func(b byte) []byte { return bytes.Repeat([]byte{b}, keys.RecordSize) }
	s, other := open(t), open(t)
	want := func(s keys.Store, box string, n int, want []byte) {
		t.Helper()
		got, err := s.Read(ctx, box, n)
		if want == nil && !errors.Is(err, keys.ErrMissing) || want != nil && (err != nil || !bytes.Equal(got, want)) {
			t.Errorf("%s %d: %x, %v; want %x", box, n, got, err, want)
		}
	}
	want(s, "b-1", 0, nil)
	if err := s.Create(ctx, "b-1", [][]byte{record(1), record(2), record(3)}); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		want(other, "b-1", n, record(byte(n+1)))
	}
	want(s, "b-1", 3, nil)
	if err := other.Create(ctx, "b-1", [][]byte{record(9)}); !errors.Is(err, keys.ErrExists) {
		t.Errorf("a second box of the name: %v", err)
	}
	want(s, "b-1", 0, record(1))

	if !bytes.Contains(raw(t), record(2)) {
		t.Error("the test cannot see the records of the store")
	}
	for range 2 {
		if err := s.Replace(ctx, "b-1", 1, record(7)); err != nil {
			t.Fatal(err)
		}
	}
	want(other, "b-1", 0, record(1))
	want(other, "b-1", 1, record(7))
	want(other, "b-1", 2, record(3))
	if bytes.Contains(raw(t), record(2)) {
		t.Error("a replaced record is still in the store")
	}
	if err := s.Replace(ctx, "b-2", 2, record(8)); err != nil {
		t.Fatalf("replace in a box that is not there: %v", err)
	}
	want(other, "b-2", 2, record(8))
	want(other, "b-2", 0, nil)

	var won sync.Map
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if err := s.Create(ctx, "p-1", [][]byte{record(byte(20 + i))}); err == nil {
				won.Store(i, true)
			} else if !errors.Is(err, keys.ErrExists) {
				t.Errorf("create at once: %v", err)
			}
		})
	}
	all.Wait()
	winners := 0
	won.Range(func(i, _ any) bool {
		winners++
		want(other, "p-1", 0, record(byte(20+i.(int))))
		return true
	})
	if winners != 1 {
		t.Error(fmt.Sprint(winners, " made the box, want one"))
	}
}
