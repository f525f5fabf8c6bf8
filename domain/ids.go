package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Tenant is the owner of a stream: `default`, `system`, or `t_<uuidv7>`.
type Tenant string

// The two tenants every log has.
const (
	DefaultTenant Tenant = "default"
	SystemTenant  Tenant = "system"
)

// Position is the place of an event in its log: gapless, from 1; 0 is "before
// the first".
type Position uint64

// Sequence is the place of an event in its stream: dense, from 1; 0 is "before
// the first", so it doubles as the version of a stream.
type Sequence uint64

// CommandID identifies one command for ever; the same id is never carried out
// twice. Clients choose it (Idempotency-Key) or the API mints one; reactions
// derive it.
type CommandID string

// EventID is `<stream>/<sequence>`.
type EventID string

// StreamID is `<tenant>/<kind>_<uuid>`. It is never personal and never reused.
type StreamID string

// NewStreamID joins a tenant and an entity id (`run_<uuid>`).
func NewStreamID(t Tenant, entity string) StreamID { return StreamID(string(t) + "/" + entity) }

// Tenant returns the owner.
func (s StreamID) Tenant() Tenant { t, _, _ := strings.Cut(string(s), "/"); return Tenant(t) }

// Entity returns the part after the tenant, which is the id users see.
func (s StreamID) Entity() string { _, e, _ := strings.Cut(string(s), "/"); return e }

// Kind returns the kind of the entity, such as `run`.
func (s StreamID) Kind() string { k, _, _ := strings.Cut(s.Entity(), "_"); return k }

// Valid reports whether the id has all its parts.
func (s StreamID) Valid() bool {
	t, e, ok := strings.Cut(string(s), "/")
	k, id, ok2 := strings.Cut(e, "_")
	return ok && ok2 && t != "" && k != "" && len(id) == 36 && !strings.Contains(e, "/")
}

// RunID is `run_<uuidv7>`.
type RunID string

// Stream returns the stream of the run.
func (r RunID) Stream(t Tenant) StreamID { return NewStreamID(t, string(r)) }

// Clock and IDs are the only sources of time and fresh identifiers; tests and
// the simulation replace them.
type (
	// Clock tells the time in UTC.
	Clock interface{ Now() time.Time }
	// IDs mints UUIDs, version 7, in their 36-character form.
	IDs interface{ NewID() string }
)

// DerivedCommandID is the id of the n-th command that a reaction issues because
// of an event: a version 8 UUID from SHA-256(handler, 0x00, event id). It makes
// redelivery harmless.
func DerivedCommandID(handler string, event EventID) CommandID {
	return CommandID(derivedUUID(handler, string(event)))
}

// NamedStreamID is the stream of a thing of which there is one per name, such as
// a deployed reaction: the UUID is derived from kind and name.
func NamedStreamID(t Tenant, kind, name string) StreamID {
	return NewStreamID(t, kind+"_"+derivedUUID(kind, name))
}

func derivedUUID(a, b string) string {
	h := sha256.Sum256([]byte(a + "\x00" + b))
	h[6] = h[6]&0x0f | 0x80
	h[8] = h[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[0:8], h[0:4])
	out[8] = '-'
	hex.Encode(out[9:13], h[4:6])
	out[13] = '-'
	hex.Encode(out[14:18], h[6:8])
	out[18] = '-'
	hex.Encode(out[19:23], h[8:10])
	out[23] = '-'
	hex.Encode(out[24:36], h[10:16])
	return string(out[:])
}
