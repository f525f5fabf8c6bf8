// Package blobtest is the contract of blob stores as a suite.
package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/blob"
)

// Exercise holds a store to the contract. Open returns a further handle on one
// and the same store, which is empty at first; change overwrites a blob behind
// its back.
func Exercise(t *testing.T, open func(*testing.T) blob.Store, change func(t *testing.T, tenant domain.Tenant, a blob.Address, content []byte)) {
	t.Helper()
	ctx := t.Context()
	s, other := open(t), open(t)
	const one, two = domain.DefaultTenant, domain.Tenant("t_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a")
	put := func(tenant domain.Tenant, content []byte) blob.Address {
		t.Helper()
		a, err := s.Put(ctx, tenant, content)
		if err != nil || a != blob.AddressOf(content) {
			t.Fatalf("put: %s, %v", a, err)
		}
		return a
	}
	want := func(tenant domain.Tenant, a blob.Address, content []byte) {
		t.Helper()
		for _, s := range []blob.Store{s, other} {
			if got, err := s.Get(ctx, tenant, a); err != nil || !bytes.Equal(got, content) {
				t.Errorf("get %s of %s: %d bytes, %v; want %d bytes", a, tenant, len(got), err, len(content))
			}
		}
	}
	missing := func(tenant domain.Tenant, a blob.Address) {
		t.Helper()
		if _, err := s.Get(ctx, tenant, a); !errors.Is(err, blob.ErrMissing) {
			t.Errorf("get %s of %s: %v; want it missing", a, tenant, err)
		}
	}
	if err := s.Check(ctx); err != nil {
		t.Fatal(err)
	}
	marked(t, s, other)
	large := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)
	missing(one, blob.AddressOf(large))
	for _, content := range [][]byte{[]byte("a"), large} {
		want(one, put(one, content), content)
		want(one, put(one, content), content) // again: nothing changes
	}
	missing(two, blob.AddressOf(large)) // apart per tenant
	put(two, large)

	a := put(one, []byte("right"))
	change(t, one, a, []byte("wrong"))
	if _, err := s.Get(ctx, one, a); !errors.Is(err, blob.ErrDamaged) {
		t.Errorf("get a changed blob: %v", err)
	}
	for range 2 {
		if err := s.Remove(ctx, one, a, blob.AddressOf(large)); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	missing(one, a)
	missing(one, blob.AddressOf(large))
	want(two, blob.AddressOf(large), large)
	listed(t, other, two, blob.AddressOf(large), int64(len(large)))
	together(t, s, other)
	for range 2 {
		if err := s.RemoveTenant(ctx, one); err != nil {
			t.Errorf("remove a tenant: %v", err)
		}
	}
	missing(one, blob.AddressOf([]byte("a")))
	want(two, blob.AddressOf(large), large)

	for _, tenant := range []domain.Tenant{"", ".", "..", "../default", "a/b", "T"} {
		if _, err := s.Put(ctx, tenant, []byte("x")); err == nil {
			t.Errorf("put for tenant %q was accepted", tenant)
		}
		if err := s.RemoveTenant(ctx, tenant); err == nil {
			t.Errorf("tenant %q was removed", tenant)
		}
	}
	for _, a := range []blob.Address{"", "..", "../" + blob.AddressOf(large), blob.AddressOf(large)[:62] + "AA"} {
		if _, err := s.Get(ctx, two, a); err == nil || errors.Is(err, blob.ErrMissing) {
			t.Errorf("get %q: %v", a, err)
		}
	}
}

// listed expects one blob of a tenant, and others besides.
func listed(t *testing.T, s blob.Store, tenant domain.Tenant, a blob.Address, size int64) {
	t.Helper()
	for _, of := range []domain.Tenant{tenant, ""} {
		found, others := 0, 0
		for e, err := range s.List(t.Context(), of) {
			if err != nil {
				t.Fatalf("list: %v", err)
			}
			if e.Tenant != tenant || e.Address != a {
				others++
				continue
			}
			if found++; e.Size != size || time.Since(e.Put).Abs() > time.Hour {
				t.Errorf("listed as %+v", e)
			}
		}
		if found != 1 || (others == 0) != (of == tenant) {
			t.Errorf("the list of %q tells %d times of it, and of %d others", of, found, others)
		}
	}
	for e, err := range s.List(t.Context(), "../x") {
		if err == nil {
			t.Errorf("the list of a name that no tenant has tells of %+v", e)
		}
	}
}

// marked tells a store from another.
func marked(t *testing.T, s, other blob.Store) {
	t.Helper()
	mark, err := blob.Mark(t.Context(), s, "log")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := blob.Mark(t.Context(), s, "log"); err != nil || again == mark {
		t.Errorf("a second mark is %s, the first %s, %v", again, mark, err)
	}
	if err := blob.Marked(other, mark).Check(t.Context()); err != nil {
		t.Errorf("with its mark: %v", err)
	}
	if err := blob.CheckAlone(t.Context(), other, "log"); err != nil {
		t.Errorf("two marks of one log: %v", err)
	}
	if err := blob.CheckAlone(t.Context(), other, "lo"); !errors.Is(err, blob.ErrShared) {
		t.Errorf("marks of another log: %v", err)
	}
	if err := blob.Marked(s, blob.AddressOf([]byte("another's"))).Check(t.Context()); !errors.Is(err, blob.ErrForeign) {
		t.Errorf("with another's mark: %v", err)
	}
}

// together lets many put the same blobs at once.
func together(t *testing.T, stores ...blob.Store) {
	t.Helper()
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			content := fmt.Appendf(nil, "blob %d", i%4)
			a, err := stores[i%len(stores)].Put(t.Context(), domain.DefaultTenant, content)
			if err != nil {
				t.Errorf("put at once: %v", err)
				return
			}
			if got, err := stores[(i+1)%len(stores)].Get(t.Context(), domain.DefaultTenant, a); err != nil || !bytes.Equal(got, content) {
				t.Errorf("get what was put at once: %q, %v", got, err)
			}
		})
	}
	all.Wait()
}
