package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Blobs keeps ciphertext that is too large for an event, by its hash. It is the
// part of a blob store that a ring needs.
type Blobs interface {
	// Keep returns the address of bytes that are durable then.
	Keep(ctx context.Context, t domain.Tenant, raw []byte) (address string, err error)
	// Fetch returns the bytes at an address, which have its hash.
	Fetch(ctx context.Context, t domain.Tenant, address string) ([]byte, error)
}

// ErrTooLarge says that a value is larger than any may be.
var ErrTooLarge = &domain.Error{
	Kind: domain.TooLarge, Code: "value.too_large",
	Message: "a value is larger than HISHAMOS_VALUE_LIMIT allows", Fix: "upload it as a file and refer to that, or send less",
}

// fit returns a sealed event that its limit has room for: if it has not as it is,
// the large values go to the blob store, before anything is appended.
func (r *Ring) fit(ctx context.Context, stream domain.StreamID, e, sealed events.Event, pass func(put) func(events.Field, []byte) ([]byte, error)) (events.Event, error) {
	data, err := json.Marshal(sealed)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.EventType(), err)
	}
	if len(data) <= r.opts.EventLimit {
		return sealed, nil
	}
	// First without keeping any: what is refused in the end leaves no blob behind.
	without, err := events.Rewrite(e, pass(func(raw []byte) (string, error) {
		if len(raw) > r.opts.ValueLimit+nonceSize+16 {
			return "", ErrTooLarge.With("a value has %d bytes, and may have %d", len(raw)-nonceSize-16, r.opts.ValueLimit)
		}
		return noAddress, nil
	}))
	if err != nil {
		return nil, err
	}
	if data, err = json.Marshal(without); err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.EventType(), err)
	}
	if len(data) > r.opts.EventLimit {
		return sealed, nil // the store says that it is too large
	}
	return events.Rewrite(e, pass(func(raw []byte) (string, error) { return r.opts.Blobs.Keep(ctx, stream.Tenant(), raw) }))
}

// noAddress is as long as an address.
const noAddress = "0000000000000000000000000000000000000000000000000000000000000000"

func (r *Ring) sealOutside(id string, quoted bool, raw []byte, put put) ([]byte, error) {
	address, err := put(raw)
	if err != nil {
		return nil, err
	}
	text := outsidePrefix + id + ":" + address
	if quoted { // key ids and addresses need no escaping
		text = `"` + text + `"`
	}
	return []byte(text), nil
}

func (r *Ring) fetch(ctx context.Context, t domain.Tenant, address string) ([]byte, error) {
	if r.opts.Blobs == nil {
		return nil, errors.New("the value lies in the blob store, and there is none")
	}
	raw, err := r.opts.Blobs.Fetch(ctx, t, address)
	if err == nil && len(raw) < nonceSize+16 {
		err = errors.New("the blob is no sealed value")
	}
	return raw, err
}

// Outside returns the key and the address of a sealed value that lies in the blob
// store.
func Outside(text string) (id, address string, ok bool) {
	rest, ok := strings.CutPrefix(text, outsidePrefix)
	if !ok {
		return "", "", false
	}
	id, address, ok = strings.Cut(rest, ":")
	if _, _, err := placeOf(id); err != nil || len(address) != 64 || strings.Trim(address, "0123456789abcdef") != "" {
		return "", "", false
	}
	return id, address, ok
}

// OutsideValue is a sealed value of an event that lies in the blob store.
type OutsideValue struct{ Key, Address string }

// OutsideValues returns those of a record. Of a type that this build does not know
// it is an error.
func OutsideValues(r events.Record) ([]OutsideValue, error) {
	if r.KeyIDs == "" || !strings.Contains(string(r.Data), outsidePrefix) {
		return nil, nil
	}
	e, err := events.Decode(r.Type, r.Version, r.Data)
	if err != nil {
		return nil, err
	}
	var out []OutsideValue
	_, err = events.Rewrite(e, func(f events.Field, value []byte) ([]byte, error) {
		if id, address, ok := Outside(Text(f, value)); ok {
			out = append(out, OutsideValue{id, address})
		}
		return value, nil
	})
	return out, err
}
