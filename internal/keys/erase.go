package keys

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hishamos/hishamos/domain"
)

// A destroyed key leaves a mark in its place: these bytes, the UUID of the order
// by which it was destroyed, and a MAC that only the root key can make. What
// merely looks empty is a key that is lost.
var destroyedMark = []byte("erased\x00\x01")

const (
	uuidSize = 16
	markSize = 8 + uuidSize + sha256.Size
)

// orderKind is the kind of stream that orders an erasure.
const orderKind = "erasure"

func (r *Ring) markOf(id string, order []byte) []byte {
	m := hmac.New(sha256.New, r.mark)
	m.Write([]byte(id + "\x00"))
	m.Write(order)
	record := append(append([]byte(nil), destroyedMark...), order...)
	record = m.Sum(record)
	return append(record, make([]byte, RecordSize-markSize)...)
}

// destroyedBy reads the mark of a destroyed key.
func (r *Ring) destroyedBy(t domain.Tenant, id string, record []byte) (domain.StreamID, bool) {
	if !bytes.HasPrefix(record, destroyedMark) {
		return "", false
	}
	order := record[len(destroyedMark) : len(destroyedMark)+uuidSize]
	if !hmac.Equal(record, r.markOf(id, order)) {
		return "", false
	}
	h := hex.EncodeToString(order)
	return domain.NewStreamID(t, orderKind+"_"+h[:8]+"-"+h[8:12]+"-"+h[12:16]+"-"+h[16:20]+"-"+h[20:]), true
}

func orderBytes(order domain.StreamID) ([]byte, error) {
	text, ok := strings.CutPrefix(order.Entity(), orderKind+"_")
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if !ok || err != nil || len(raw) != uuidSize {
		return nil, fmt.Errorf("%s is not an order to erase", order)
	}
	return raw, nil
}

// confirm requires, besides the mark, an event that ordered it.
func (r *Ring) confirm(ctx context.Context, id string, order domain.StreamID) (key, error) {
	if r.opts.Ordered != nil {
		ok, err := r.opts.Ordered(ctx, order, id)
		if err != nil {
			return key{}, unreachable(err)
		}
		if !ok {
			return key{}, ErrDamaged.With("key %s is marked as destroyed, and no event orders that", id)
		}
	}
	return key{destroyed: true, order: order}, nil
}

// Destroy destroys keys of a tenant for ever. Done again it changes nothing; a
// key that is not there, as in an old backup, is marked all the same.
func (r *Ring) Destroy(ctx context.Context, order domain.StreamID, ids ...string) error {
	raw, err := orderBytes(order)
	if err != nil {
		return err
	}
	defer r.Forget()
	if err := r.Check(ctx); err != nil {
		return err
	}
	for _, id := range ids {
		box, n, err := placeOf(id)
		if err != nil {
			return err
		}
		record, err := r.store.Read(ctx, box, n)
		if err != nil && !errors.Is(err, ErrMissing) {
			return unreachable(err)
		}
		if err == nil {
			if _, done := r.destroyedBy(order.Tenant(), id, record); done {
				continue
			}
		}
		if err := r.store.Replace(ctx, box, n, r.markOf(id, raw)); err != nil {
			return unreachable(err)
		}
	}
	return nil
}

// State says how a key is: usable, or destroyed by an order. An error means
// neither.
func (r *Ring) State(ctx context.Context, t domain.Tenant, id string) (destroyed bool, order domain.StreamID, err error) {
	var k key
	if id == tenantKey(t) {
		k, err = r.tenant(ctx, t, false)
	} else {
		k, err = r.data(ctx, t, id)
	}
	return k.destroyed, k.order, err
}

// TenantKey is the id of a tenant's key: to destroy it erases the tenant.
func TenantKey(t domain.Tenant) string { return tenantKey(t) }

// PersonKey returns the newest key of a person, and whether it was destroyed; an
// empty id: there never was one.
func (r *Ring) PersonKey(ctx context.Context, t domain.Tenant, about string) (id string, destroyed bool, err error) {
	base, err := r.personBase(ctx, t, about)
	if err != nil {
		return "", false, err
	}
	for n := 1; n <= maxGenerations; n++ {
		next := base + strconv.Itoa(n) + ".0"
		gone, _, err := r.State(ctx, t, next)
		if errors.Is(err, ErrLost) {
			return id, destroyed, r.Check(ctx)
		}
		if err != nil {
			return "", false, err
		}
		id, destroyed = next, gone
		if !gone {
			break
		}
	}
	return id, destroyed, nil
}
