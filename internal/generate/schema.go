package main

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

const schemaFolder = "api/schema/events"

// catalogue returns the event types by name.
func catalogue() []events.Type {
	types := events.Types()
	out := make([]events.Type, 0, len(types))
	for _, name := range slices.Sorted(maps.Keys(types)) {
		out = append(out, types[name])
	}
	return out
}

// schemaFile is where the schema of the current version of an event is.
func schemaFile(t events.Type) string { return "api" + envelopeOf(t).DataSchema() }

func envelopeOf(t events.Type) events.Envelope {
	return events.Envelope{Type: t.Name, Version: t.Version}
}

// written are the types whose JSON is not what their Go kind suggests.
var written = map[reflect.Type]*jsonschema.Schema{
	reflect.TypeFor[domain.NanoUSD]():           {Type: "string", Pattern: `^-?[0-9]+$`},
	reflect.TypeFor[domain.NanoUSDPerMillion](): {Type: "string", Pattern: `^-?[0-9]+$`},
	reflect.TypeFor[domain.Duration]():          {Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(h|m|s|ms|us|µs|ns))+$|^0s?$`},
	reflect.TypeFor[json.RawMessage]():          {},
	reflect.TypeFor[time.Time]():                {Type: "string", Format: "date-time"},
}

// eventSchema is the JSON Schema (2020-12) of an event's data. It is open:
// readers must ignore properties they do not know.
func eventSchema(t events.Type, src source) ([]byte, error) {
	typ := reflect.TypeOf(t.Zero)
	s, err := jsonschema.ForType(typ, &jsonschema.ForOptions{TypeSchemas: written})
	if err != nil {
		return nil, err
	}
	annotate(s, typ, src)
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.ID = envelopeOf(t).DataSchema()
	s.Title = t.Name
	s.Description = src.sentence("events", typ.Name())
	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}

// annotate adds what reflection does not see: comments, the class of a field,
// numbers written as text.
func annotate(s *jsonschema.Schema, typ reflect.Type, src source) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if written[typ] != nil {
		return
	}
	switch typ.Kind() {
	case reflect.Slice, reflect.Array:
		if s.Items != nil {
			annotate(s.Items, typ.Elem(), src)
		}
	case reflect.Map:
		if s.AdditionalProperties != nil {
			annotate(s.AdditionalProperties, typ.Elem(), src)
		}
	case reflect.Struct:
		s.AdditionalProperties = nil
		for _, f := range reflect.VisibleFields(typ) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := s.Properties[name]
			if p == nil {
				continue
			}
			annotate(p, f.Type, src)
			p.Description = src[lastElement(typ.PkgPath())+"."+typ.Name()+"."+f.Name]
			nullable(p, f.Type, !strings.Contains(options, "omit"))
			if slices.Contains(strings.Split(options, ","), "string") {
				p.Type, p.Minimum, p.Pattern = "string", nil, `^[0-9]+$`
			}
			if class := f.Tag.Get("class"); class != "" {
				p.Extra = map[string]any{"x-class": class}
			}
		}
	}
}

// nullable says whether a property may be null: what can be nil is, unless it is
// then left out.
func nullable(s *jsonschema.Schema, typ reflect.Type, written bool) {
	kinds := s.Types
	if s.Type != "" {
		kinds = []string{s.Type}
	}
	kinds = slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return k == "null" })
	if len(kinds) == 0 { // any value
		return
	}
	canBeNil := typ.Kind() == reflect.Map || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer
	if written && canBeNil {
		s.Type, s.Types = "", append(kinds, "null")
	} else {
		s.Type, s.Types = kinds[0], nil
	}
}

func lastElement(path string) string { return path[strings.LastIndex(path, "/")+1:] }
