package events

import (
	"encoding/json"
	"fmt"

	"github.com/hishamos/hishamos/domain"
)

// Recast turns the data of one version of a type into that of another. It must
// not fail on any data that was ever written.
type Recast func(json.RawMessage) (json.RawMessage, error)

// shape is a version of a type's data after the first.
type shape struct {
	level    int    // of the log, from which it may be written
	up, down Recast // from the version before, and back to it
}

// next adds a version. Up brings what was written before to it; down makes the
// version before, which is written while the log's level is lower, because
// builds that know no other read along.
func next(level int, up, down Recast) option {
	return func(t *Type) { t.shapes = append(t.shapes, shape{level, up, down}) }
}

// since marks a type that may be written from a level of the log on. Before
// returns what a build without the type writes in its place, perhaps nothing;
// both must lead to the same decisions. Nil: what leads to it is refused until
// then.
func since(level int, before func(Event) []Event) option {
	return func(t *Type) { t.Level, t.before = level, before }
}

// Written is an event in the form in which the log gets it.
type Written struct {
	Type    Type
	Version int
	Data    []byte
	KeyIDs  string // the keys that sealed what has a class; empty: none
	Event   Event  // as everybody will read it who has the keys
	Known   Known  // as everybody will read it
}

// Protect returns an event with the values sealed that have a class, and the keys
// it names then.
type Protect func(Event) (sealed Event, keyIDs string, err error)

// ErrLevelTooLow says that an event cannot be written yet, in no form.
var ErrLevelTooLow = &domain.Error{
	Kind: domain.Unavailable, Code: "log.level_too_low",
	Message: "the level of the log is too low", Fix: "when every process runs this version: hishamos log level N",
}

// At returns the forms in which events are written at a level of the log: of each
// the newest that every build of that level reads, sealed by protect; nil: plain.
func At(level int, list []Event, protect Protect) ([]Written, error) {
	return at(catalogue, level, list, protect)
}

func at(types map[string]Type, level int, list []Event, protect Protect) ([]Written, error) {
	out := make([]Written, 0, len(list))
	for _, e := range list {
		t, ok := types[e.EventType()]
		switch {
		case !ok || t.Retired:
			return nil, fmt.Errorf("write %s: not in the catalogue, or retired", e.EventType())
		case t.Level > level && t.before == nil:
			too := ErrLevelTooLow.With("event %s needs log level %d, the log is at %d", t.Name, t.Level, level)
			too.Fix = fmt.Sprintf("when every process runs this version: hishamos log level %d", t.Level)
			return nil, too
		case t.Level > level:
			older, err := at(types, level, t.before(e), protect)
			if err != nil {
				return nil, err
			}
			out = append(out, older...)
		default:
			w, err := t.at(level, e, protect)
			if err != nil {
				return nil, err
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// at writes an event in the newest shape that the level allows.
func (t Type) at(level int, e Event, protect Protect) (w Written, err error) {
	form, keyIDs := e, ""
	if protect != nil {
		if form, keyIDs, err = protect(e); err != nil {
			return w, fmt.Errorf("seal %s: %w", t.Name, err)
		}
	}
	if w, err = t.write(level, form); err != nil {
		return w, err
	}
	w.KeyIDs, w.Event = keyIDs, e
	if w.Version == t.Version {
		w.Known = Known{form}
	}
	if w.Version < t.Version { // what the older shape cannot say is forgotten here too
		plain, err := t.write(level, e)
		if err != nil {
			return w, err
		}
		if w.Event, err = t.read(plain.Version, plain.Data); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (t Type) write(level int, e Event) (Written, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return Written{}, fmt.Errorf("encode %s: %w", t.Name, err)
	}
	w := Written{Type: t, Version: t.Version, Data: data}
	for w.Version > 1 && t.shapes[w.Version-2].level > level {
		down, err := t.shapes[w.Version-2].down(w.Data)
		if err != nil {
			return w, fmt.Errorf("write %s as version %d: %w", t.Name, w.Version-1, err)
		}
		w.Version, w.Data = w.Version-1, down
	}
	return w, nil
}
