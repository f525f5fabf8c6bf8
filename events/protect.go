package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Class is how a field is protected; a field without a class is plain.
type Class string

// The classes, as the struct tag `class` names them.
const (
	Content  Class = "content"  // prompts, outputs, files, free text: a key per stream
	Personal Class = "personal" // what names a person: a key per person
)

// About is implemented by events with personal fields: whose they are. The
// answer is an actor's id, which is no name and has no class.
type About interface{ AboutPerson() string }

// Field is one protected value of an event.
type Field struct {
	Path  string // as in the JSON, such as `fault.message` or `inputs.document`
	Class Class
	JSON  bool // the value is JSON text; else the text of a string
}

// protected is a struct field with a class.
type protected struct {
	index []int
	Field
	each bool // a map: every value is protected by itself, names are plain
}

// Protected returns the fields of the type that have a class. In a map of values
// the path stands for all of them.
func (t Type) Protected() []Field {
	out := make([]Field, len(t.protected))
	for i, p := range t.protected {
		out[i] = p.Field
	}
	return out
}

var (
	rawType  = reflect.TypeFor[json.RawMessage]()
	mapType  = reflect.TypeFor[map[string]json.RawMessage]()
	textType = reflect.TypeFor[string]()
)

// protectedOf finds the fields with a class. A class where it cannot be kept is a
// fault of the program.
func protectedOf(t reflect.Type, index []int, prefix string) []protected {
	var out []protected
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := protected{index: append(slices.Clone(index), i), Field: Field{Path: prefix + name, Class: Class(f.Tag.Get("class"))}}
		switch {
		case !f.IsExported():
			continue
		case p.Class == "" && f.Type.Kind() == reflect.Struct:
			out = append(out, protectedOf(f.Type, p.index, p.Path+".")...)
			continue
		case p.Class == "":
			continue
		case p.Class != Content && p.Class != Personal:
			panic(fmt.Sprintf("%s.%s: there is no class %q", t, f.Name, p.Class))
		}
		switch f.Type {
		case rawType:
			p.JSON = true
		case mapType:
			p.JSON, p.each = true, true
		case textType:
		default:
			panic(fmt.Sprintf("%s.%s: a %s cannot have a class", t, f.Name, f.Type))
		}
		out = append(out, p)
	}
	return out
}

// Rewrite returns an event with its protected values as change makes them, in a
// fixed order; the event it was given stays as it is. Empty values are left out.
// Nil for a value takes it away.
func Rewrite(e Event, change func(Field, []byte) ([]byte, error)) (Event, error) {
	t, ok := catalogue[e.EventType()]
	if !ok || len(t.protected) == 0 {
		return e, nil
	}
	var v reflect.Value // made when a value is there
	for _, p := range t.protected {
		old := reflect.ValueOf(e).FieldByIndex(p.index)
		if old.Len() == 0 {
			continue
		}
		if !v.IsValid() {
			v = reflect.New(reflect.TypeOf(e)).Elem()
			v.Set(reflect.ValueOf(e))
		}
		if err := p.rewrite(v.FieldByIndex(p.index), change); err != nil {
			return nil, fmt.Errorf("%s %s: %w", t.Name, p.Path, err)
		}
	}
	if !v.IsValid() {
		return e, nil
	}
	return v.Interface().(Event), nil
}

func (p protected) rewrite(v reflect.Value, change func(Field, []byte) ([]byte, error)) error {
	switch {
	case p.each:
		old := v.Interface().(map[string]json.RawMessage)
		changed := make(map[string]json.RawMessage, len(old))
		for _, name := range slices.Sorted(maps.Keys(old)) {
			f := p.Field
			f.Path += "." + name
			if len(old[name]) == 0 {
				changed[name] = old[name]
				continue
			}
			value, err := change(f, old[name])
			if err != nil {
				return err
			}
			if value != nil {
				changed[name] = value
			}
		}
		v.Set(reflect.ValueOf(changed))
	case p.JSON:
		value, err := change(p.Field, v.Bytes())
		if err != nil {
			return err
		}
		v.SetBytes(value)
	default:
		value, err := change(p.Field, []byte(v.String()))
		if err != nil {
			return err
		}
		v.SetString(string(value))
	}
	return nil
}
