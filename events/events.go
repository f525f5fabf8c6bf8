// Package events is the published language: everything that can have happened,
// one file per feature, and the envelope every event travels in.
//
// It must not decide, store or send. It imports domain and the standard library
// only. Each stream kind has a sealed union (Run, Workflow …) named after it.
//
// Start reading at run.go; the formats are fixed in envelope.go and chain.go.
package events

import (
	"encoding/json"
	"fmt"
	"reflect"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/hishamos/hishamos/domain"
)

// Event is one fact. EventType is its stable wire name, `noun.verb_past`; it
// never comes from the Go type's name.
type Event interface{ EventType() string }

// Type is one row of the catalogue.
type Type struct {
	Name    string
	Version int  // of the shape; the number of later shapes + 1
	Level   int  // the level of the log from which it may be written
	Closes  bool // the stream waits for nothing after it
	Retired bool // decodes for ever, is never written again
	Zero    Event
	shapes  []shape             // after the first
	before  func(Event) []Event // see since
	decode  func([]byte) (Event, error)

	protected []protected // fields with a class
}

// option changes a row while the table is built.
type option func(*Type)

// closes marks an event after which its stream has no open intents.
func closes(t *Type) { t.Closes = true }

// lenient reads whatever encoding/json may have written: a worker's output is
// kept as it came. (This decoder takes half the time of encoding/json, and
// replaying a log is mostly decoding.)
var lenient = jsonv2.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// of is the row of an event type.
func of[E Event](opts ...option) Type {
	var zero E
	t := Type{Name: zero.EventType(), Version: 1, Level: 1, Zero: zero, protected: protectedOf(reflect.TypeFor[E](), nil, "")}
	t.decode = func(b []byte) (Event, error) {
		var e E
		err := jsonv2.Unmarshal(b, &e, lenient)
		return e, err
	}
	for _, o := range opts {
		o(&t)
	}
	t.Version += len(t.shapes)
	return t
}

// ErrUnknownType says that an event's type or version is newer than this build.
// It is not poison: a consumer pauses and reports it, and a command whose stream
// holds it is answered by an upgraded process.
var ErrUnknownType = &domain.Error{
	Kind: domain.Unavailable, Code: "event.newer_build",
	Message: "event type or version is newer than this build", Fix: "upgrade this process",
}

var catalogue = func() map[string]Type {
	m := make(map[string]Type)
	for _, table := range [][]Type{runTypes, workflowTypes, identityTypes, systemTypes, erasureTypes, fileTypes} {
		for _, t := range table {
			if _, twice := m[t.Name]; twice {
				panic("event type listed twice: " + t.Name)
			}
			m[t.Name] = t
		}
	}
	return upcoming(m)
}()

// Types returns the whole catalogue, by wire name.
func Types() map[string]Type {
	m := make(map[string]Type, len(catalogue))
	for k, v := range catalogue {
		m[k] = v
	}
	return m
}

// Lookup returns the row of a wire name.
func Lookup(name string) (Type, bool) { t, ok := catalogue[name]; return t, ok }

// Encode returns the newest version and the data of an event.
func Encode(e Event) (version int, data []byte, err error) {
	t, ok := catalogue[e.EventType()]
	if !ok {
		return 0, nil, fmt.Errorf("encode %s: not in the catalogue", e.EventType())
	}
	data, err = json.Marshal(e)
	return t.Version, data, err
}

// Decode turns stored data of any released version into the event of today.
func Decode(name string, version int, data []byte) (Event, error) {
	t, ok := catalogue[name]
	if !ok || version > t.Version {
		return nil, fmt.Errorf("decode %s v%d: %w", name, version, ErrUnknownType)
	}
	return t.read(version, data)
}

// read decodes data of a version that the row knows.
func (t Type) read(version int, data []byte) (Event, error) {
	raw := json.RawMessage(data)
	for v := version; v < t.Version; v++ {
		var err error
		if raw, err = t.shapes[v-1].up(raw); err != nil {
			return nil, fmt.Errorf("upcast %s v%d: %w", t.Name, v, err)
		}
	}
	e, err := t.decode(raw)
	if err != nil {
		return nil, fmt.Errorf("decode %s v%d: %w", t.Name, version, err)
	}
	return e, nil
}

// Recorded is a decoded event with its envelope.
type Recorded[E Event] struct {
	Envelope
	Event E
}

// Decode returns the record's event, which must not be changed: others may have
// got the same.
func (r *Record) Decode() (Recorded[Event], error) {
	if e := r.Known.event; e != nil && !distrusted {
		return Recorded[Event]{Envelope: r.Envelope, Event: e}, nil
	}
	e, err := Decode(r.Type, r.Version, r.Data)
	if err == nil && r.Known.event != nil {
		err = distrust(r.Known.event, e)
	}
	return Recorded[Event]{Envelope: r.Envelope, Event: e}, err
}

// Known is the event of a record that this process has written, so that it need
// not decode it. It is no part of the record: records are equal without it.
type Known struct{ event Event }

// Equal is always true.
func (Known) Equal(Known) bool { return true }

var (
	distrusted bool
	distrust   = func(known, read Event) error { return nil }
)

// Distrust has every event decoded, and compared with what is known of it. It is
// for tests, before anything else: a difference would be one between what this
// process does now and what it does after a restart.
func Distrust(compare func(known, read Event) error) { distrusted, distrust = true, compare }

// Position is domain.Position, named here because every reader of events
// speaks of it.
type Position = domain.Position
