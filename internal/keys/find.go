package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// A key id is `<box>.<n>`. The first letter of a box says what is in it.
const (
	blockPrefix  = "b-" // data keys, for streams
	personPrefix = "p-" // one key of one person
	tenantPrefix = "t-" // the key of a tenant
)

// placeOf splits a key id and refuses what no ring has made.
func placeOf(id string) (box string, n int, err error) {
	box, number, ok := strings.Cut(id, ".")
	n, err = strconv.Atoi(number)
	if !ok || err != nil || n < 0 || n > 1<<16 || strings.Trim(box, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" || len(box) < 3 || len(box) > 80 {
		return "", 0, fmt.Errorf("%q is not the id of a key", id)
	}
	return box, n, nil
}

func tenantKey(t domain.Tenant) string { return tenantPrefix + string(t) + ".0" }

// recall returns a key that was found lately.
func (r *Ring) recall(id string) (key, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.known[id]
	return f.key, ok && r.opts.Clock.Now().Before(f.until)
}

func (r *Ring) remember(id string, k key) key {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= cacheSize {
		now := r.opts.Clock.Now()
		for old, f := range r.known { // first the stale; else all, and look again
			if !now.Before(f.until) {
				delete(r.known, old)
			}
		}
		if len(r.known) >= cacheSize {
			clear(r.known)
		}
	}
	r.known[id] = found{k, r.opts.Clock.Now().Add(r.opts.TTL)}
	return k
}

// tenant returns the key of a tenant; fresh: it is made if it never was.
func (r *Ring) tenant(ctx context.Context, t domain.Tenant, fresh bool) (key, error) {
	id := tenantKey(t)
	k, ok := r.recall(id)
	if !ok {
		var err error
		k, err = r.read(ctx, t, id, r.root.Open)
		if errors.Is(err, ErrLost) && fresh {
			if err = r.create(ctx, id, r.root.Seal); err == nil || errors.Is(err, ErrExists) {
				k, err = r.read(ctx, t, id, r.root.Open)
			}
		}
		if err != nil {
			return key{}, err
		}
		r.remember(id, k)
	}
	if k.destroyed && fresh {
		return k, ErrErased.With("tenant %s was erased, and takes nothing new", t)
	}
	return k, nil
}

// data returns a key that seals data of a tenant.
func (r *Ring) data(ctx context.Context, t domain.Tenant, id string) (key, error) {
	if k, ok := r.recall(id); ok {
		return k, nil
	}
	tenant, err := r.tenant(ctx, t, false)
	if err != nil {
		return key{}, err
	}
	if tenant.destroyed {
		return tenant, nil
	}
	k, err := r.read(ctx, t, id, tenant.aead.Open)
	if err != nil {
		return key{}, err
	}
	return r.remember(id, k), nil
}

type (
	sealer = func(dst, nonce, plaintext, additional []byte) []byte
	opener = func(dst, nonce, ciphertext, additional []byte) ([]byte, error)
)

// read reads a key from the store. That it is not there is never taken for its
// destruction.
func (r *Ring) read(ctx context.Context, t domain.Tenant, id string, open opener) (key, error) {
	box, n, err := placeOf(id)
	if err != nil {
		return key{}, err
	}
	record, err := r.store.Read(ctx, box, n)
	switch {
	case errors.Is(err, ErrMissing):
		return key{}, ErrLost.With("the key store lacks key %s", id)
	case err != nil:
		return key{}, unreachable(err)
	}
	if order, ok := r.destroyedBy(t, id, record); ok {
		return r.confirm(ctx, id, order)
	}
	raw, err := open(nil, record[:nonceSize], record[nonceSize:], []byte(id))
	if err != nil {
		return key{}, ErrDamaged.With("key %s in the key store is damaged", id)
	}
	k := key{aead: aeadOf(raw)}
	if strings.HasPrefix(id, tenantPrefix) {
		k.raw = raw
	}
	return k, nil
}

// create makes a key and keeps it. The store must be the one it was: a folder
// that was put in the place of ours has no keys of ours to add to.
func (r *Ring) create(ctx context.Context, id string, seal sealer) error {
	if err := r.Check(ctx); err != nil {
		return err
	}
	box, _, err := placeOf(id)
	if err != nil {
		return err
	}
	b, err := r.random(nonceSize + keySize)
	if err != nil {
		return err
	}
	record := seal(b[:nonceSize:nonceSize], b[:nonceSize], b[nonceSize:], []byte(id))
	if err := r.store.Create(ctx, box, [][]byte{record}); err != nil {
		if errors.Is(err, ErrExists) {
			return err
		}
		return unreachable(err)
	}
	return nil
}

// next takes a data key that was never used from the stock of a tenant. A stock
// is made with one write for all its keys.
func (r *Ring) next(ctx context.Context, t domain.Tenant) (string, key, error) {
	tenant, err := r.tenant(ctx, t, true)
	if err != nil {
		return "", key{}, err
	}
	r.allot.Lock()
	defer r.allot.Unlock()
	if now := r.opts.Clock.Now(); !now.Before(r.checked.Add(r.opts.TTL)) {
		if err := r.Check(ctx); err != nil { // the keys in memory are of no use once the store is gone
			return "", key{}, err
		}
		r.checked = now
	}
	b := r.blocks[t]
	if b == nil || b.next == len(b.keys) {
		if b, err = r.stock(ctx, tenant); err != nil {
			return "", key{}, err
		}
		r.blocks[t] = b
	}
	id, raw := b.id+"."+strconv.Itoa(b.next), b.keys[b.next]
	b.keys[b.next] = nil
	b.next++
	return id, r.remember(id, key{aead: aeadOf(raw)}), nil
}

// stock makes a block of keys. Others wait: they would need it too.
func (r *Ring) stock(ctx context.Context, tenant key) (*block, error) {
	name, err := r.random(12)
	if err != nil {
		return nil, err
	}
	b := &block{id: blockPrefix + hex.EncodeToString(name), keys: make([][]byte, r.opts.Block)}
	records := make([][]byte, r.opts.Block)
	for i := range b.keys {
		if b.keys[i], err = r.random(keySize); err != nil {
			return nil, err
		}
		records[i] = r.wrap(tenant.aead, b.id+"."+strconv.Itoa(i), b.keys[i])
	}
	if err := r.store.Create(ctx, b.id, records); err != nil {
		return nil, unreachable(err)
	}
	return b, nil
}

// person is the key a person's name is sealed with now.
type person struct {
	id    string
	until time.Time
}

// maxGenerations bounds how often one person can be erased and come back.
const maxGenerations = 10_000

// personBase names a person to nobody who lacks the tenant's key.
func (r *Ring) personBase(ctx context.Context, t domain.Tenant, about string) (string, error) {
	digest, err := r.Digest(ctx, t, "person", about)
	if err != nil {
		return "", err
	}
	return personPrefix + digest[:32] + "-", nil
}

// person returns the key of a person. One who was erased and comes back gets
// another.
func (r *Ring) person(ctx context.Context, t domain.Tenant, about string) (string, key, error) {
	base, err := r.personBase(ctx, t, about)
	if err != nil {
		return "", key{}, err
	}
	r.mu.Lock()
	p, ok := r.people[base]
	r.mu.Unlock()
	if ok && r.opts.Clock.Now().Before(p.until) {
		k, err := r.data(ctx, t, p.id)
		return p.id, k, err
	}
	tenant, err := r.tenant(ctx, t, true)
	if err != nil {
		return "", key{}, err
	}
	for n := 1; n <= maxGenerations; n++ {
		id := base + strconv.Itoa(n) + ".0"
		k, err := r.data(ctx, t, id)
		if errors.Is(err, ErrLost) {
			if err = r.create(ctx, id, tenant.aead.Seal); err == nil || errors.Is(err, ErrExists) {
				k, err = r.data(ctx, t, id)
			}
		}
		if err != nil {
			return "", key{}, err
		}
		if !k.destroyed {
			r.mu.Lock()
			r.people[base] = person{id, r.opts.Clock.Now().Add(r.opts.TTL)}
			r.mu.Unlock()
			return id, k, nil
		}
	}
	return "", key{}, ErrErased.With("the person was erased too often")
}
