package api

import (
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// shape is what the description says of a value of a body. The zero value says
// nothing: whatever comes is left to the endpoint.
type shape struct {
	schema   *huma.Schema
	named    huma.Registry
	required bool // in the object it is in
}

// bodyShape is the shape of the JSON that an operation takes.
func bodyShape(op *huma.Operation, named huma.Registry) shape {
	if op.RequestBody == nil || op.RequestBody.Content["application/json"] == nil {
		return shape{}
	}
	return shape{op.RequestBody.Content["application/json"].Schema, named, op.RequestBody.Required}.resolved()
}

func (s shape) resolved() shape {
	for s.schema != nil && s.schema.Ref != "" {
		s.schema = s.named.SchemaFromRef(s.schema.Ref)
	}
	return s
}

// member is the shape of a member of an object. Names are found as encoding/json
// finds them: in any case, if not as they are written.
func (s shape) member(name string) shape {
	if s.schema == nil {
		return shape{}
	}
	of, ok := s.schema.Properties[name]
	for written, property := range s.schema.Properties {
		if !ok && strings.EqualFold(written, name) {
			name, of, ok = written, property, true
		}
	}
	if !ok {
		of, _ = s.schema.AdditionalProperties.(*huma.Schema)
	}
	return shape{of, s.named, slices.Contains(s.schema.Required, name)}.resolved()
}

// element is the shape of every element of an array.
func (s shape) element() shape {
	if s.schema == nil {
		return shape{}
	}
	return shape{s.schema.Items, s.named, true}.resolved()
}

// takesNull reports whether null is one of its values.
func (s shape) takesNull() bool {
	return s.schema == nil || s.schema.Nullable || s.schema.Type == ""
}
