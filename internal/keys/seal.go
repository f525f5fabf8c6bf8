package keys

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// prefix begins every sealed value: `sealed:v1:<key id>:<base64url>`, where the
// bytes are a nonce and the AES-256-GCM ciphertext. Where an event would become
// too large the bytes lie in the blob store, and their address stands in the event:
// `sealed:blob:<key id>:<address>`.
const (
	prefix        = "sealed:v1:"
	outsidePrefix = "sealed:blob:"
)

// Place is where a sealed value stands; one that was moved does not open.
type Place struct {
	Stream domain.StreamID
	Type   string // of the event
	Field  string // path, such as `fault.message`
}

func (p Place) bytes() []byte { return []byte(p.Type + "\x00" + p.Field + "\x00" + string(p.Stream)) }

// Seal protects the values of an event that have a class. Content is the key of
// the stream, as Open or an earlier Seal told it; empty: it has none yet. It
// returns the event as it is stored, the keys it names (RFC 8785 JSON, or empty),
// and the stream's key.
func (r *Ring) Seal(ctx context.Context, stream domain.StreamID, content string, e events.Event) (sealed events.Event, keyIDs, stays string, err error) {
	var used []string
	var about string
	if a, ok := e.(events.About); ok {
		about = a.AboutPerson()
	}
	size := 0
	pass := func(put put) func(events.Field, []byte) ([]byte, error) {
		return func(f events.Field, value []byte) ([]byte, error) {
			id, k, err := r.keyFor(ctx, stream, f.Class, content, about)
			if err != nil {
				return nil, err
			}
			if f.Class == events.Content {
				content = id
			}
			if !slices.Contains(used, id) {
				used = append(used, id)
			}
			out, err := r.seal(id, k, Place{stream, e.EventType(), f.Path}, f.JSON, value, put)
			size += len(out)
			return out, err
		}
	}
	sealed, err = events.Rewrite(e, pass(nil))
	if err == nil && r.opts.Blobs != nil && size > r.opts.EventLimit/4 {
		sealed, err = r.fit(ctx, stream, e, sealed, pass)
	}
	if err != nil || len(used) == 0 {
		return sealed, "", content, err
	}
	slices.Sort(used)
	names, err := json.Marshal(used) // key ids need no escaping
	return sealed, string(names), content, err
}

func (r *Ring) keyFor(ctx context.Context, stream domain.StreamID, c events.Class, content, about string) (id string, k key, err error) {
	t := stream.Tenant()
	switch {
	case c == events.Personal && about == "":
		return "", k, errors.New("nobody is named whom a personal field is about")
	case c == events.Personal:
		id, k, err = r.person(ctx, t, about)
	case content == "":
		id, k, err = r.next(ctx, t)
	default:
		id = content
		k, err = r.data(ctx, t, id)
	}
	if err == nil && k.destroyed {
		err = ErrErased
	}
	return id, k, err
}

// put keeps the bytes of a sealed value elsewhere and returns their address; nil:
// they stay in the event.
type put func(raw []byte) (address string, err error)

// seal makes the text of a sealed value, in quotes where JSON stands.
func (r *Ring) seal(id string, k key, p Place, quoted bool, value []byte, put put) ([]byte, error) {
	raw := make([]byte, nonceSize, nonceSize+len(value)+k.aead.Overhead())
	if _, err := r.opts.Random.Read(raw); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	raw = k.aead.Seal(raw, raw, value, p.bytes())
	if put != nil && len(value) > r.opts.EventLimit/64 {
		return r.sealOutside(id, quoted, raw, put)
	}
	out := make([]byte, 0, 2+len(prefix)+len(id)+1+base64.RawURLEncoding.EncodedLen(len(raw)))
	if quoted {
		out = append(out, '"')
	}
	out = append(append(append(out, prefix...), id...), ':')
	out = base64.RawURLEncoding.AppendEncode(out, raw)
	if quoted {
		out = append(out, '"')
	}
	return out, nil
}

// parse takes a sealed value apart. Of one that lies outside, raw is its address.
func parse(text string) (id string, raw []byte, ok bool) {
	if id, address, outside := Outside(text); outside {
		return id, []byte(address), true
	}
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return "", nil, false
	}
	id, encoded, ok := strings.Cut(rest, ":")
	if !ok {
		return "", nil, false
	}
	if _, _, err := placeOf(id); err != nil {
		return "", nil, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	return id, raw, err == nil && len(raw) >= nonceSize+16
}

// Sealed reports whether a text has the form of a sealed value. Events say by
// their keyids whether they hold any; read models have the form alone, and what
// has it there was sealed.
func Sealed(text string) bool { _, _, ok := parse(text); return ok }

// OpenValue opens one sealed value. Erased says that its key was destroyed.
func (r *Ring) OpenValue(ctx context.Context, p Place, text string) (plain []byte, erased bool, err error) {
	id, raw, ok := parse(text)
	if !ok {
		return nil, false, fmt.Errorf("open %s %s of %s: not a sealed value", p.Type, p.Field, p.Stream)
	}
	k, err := r.data(ctx, p.Stream.Tenant(), id)
	if err != nil {
		return nil, false, fmt.Errorf("open %s %s of %s: %w", p.Type, p.Field, p.Stream, err)
	}
	if k.destroyed {
		return nil, true, nil
	}
	if _, address, outside := Outside(text); outside {
		if raw, err = r.fetch(ctx, p.Stream.Tenant(), address); err != nil {
			return nil, false, fmt.Errorf("open %s %s of %s: %w", p.Type, p.Field, p.Stream, err)
		}
	}
	plain, err = k.aead.Open(nil, raw[:nonceSize], raw[nonceSize:], p.bytes())
	if err != nil {
		return nil, false, fmt.Errorf("open %s %s of %s: it was changed, or belongs elsewhere", p.Type, p.Field, p.Stream)
	}
	return plain, false, nil
}

// Open returns an event with its values as they were before Seal, and without
// those that were erased. It also tells the key of the stream's content, if the
// event names it.
func (r *Ring) Open(ctx context.Context, env events.Envelope, e events.Event) (opened events.Event, content string, err error) {
	if env.KeyIDs == "" { // nothing was sealed, whatever it looks like
		return e, "", nil
	}
	opened, err = events.Rewrite(e, func(f events.Field, value []byte) ([]byte, error) {
		if f.JSON && string(value) == "null" { // nothing was there to seal
			return value, nil
		}
		text := Text(f, value)
		plain, erased, err := r.OpenValue(ctx, Place{env.Stream, env.Type, f.Path}, text)
		if err != nil {
			return nil, err
		}
		if f.Class == events.Content {
			content, _, _ = parse(text)
		}
		if erased {
			return nil, nil
		}
		return plain, nil
	})
	return opened, content, err
}

// Text is the text of a sealed value in a field.
func Text(f events.Field, value []byte) string {
	if f.JSON && len(value) > 1 {
		value = value[1 : len(value)-1] // base64 and key ids need no escaping
	}
	return string(value)
}

// IDs returns the keys that an event names.
func IDs(env events.Envelope) ([]string, error) {
	if env.KeyIDs == "" {
		return nil, nil
	}
	var ids []string
	if err := json.Unmarshal([]byte(env.KeyIDs), &ids); err != nil {
		return nil, fmt.Errorf("read key ids of %s: %w", env.ID(), err)
	}
	return ids, nil
}
