// Package schema checks JSON values against JSON Schema 2020-12 and words what
// is wrong so that a person or a model can mend it.
//
// It must not know where a schema comes from, and never fetches one: a
// reference that leaves the schema is an error. It imports the validator only.
//
// Start reading at Compile.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is a compiled schema; it is safe for concurrent use.
type Schema struct{ compiled *jsonschema.Schema }

// Compile reads a schema.
func Compile(raw json.RawMessage) (*Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(noLoader{})
	const name = "schema:///answer"
	if err := c.AddResource(name, doc); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	return &Schema{compiled}, nil
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("the schema refers to %s; only references within it are allowed", url)
}

// Check returns what is wrong with a value: one line per place, sorted, like
// "/stories/0/id: does not match pattern". Nil: it fits.
func (s *Schema) Check(raw json.RawMessage) []string {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return []string{"it is not JSON: " + err.Error()}
	}
	err = s.compiled.Validate(v)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return []string{err.Error()}
	}
	var lines []string
	collect(*invalid.DetailedOutput(), &lines)
	slices.Sort(lines)
	return slices.Compact(lines)
}

// collect notes the leaves of the validator's report, which name the places.
func collect(unit jsonschema.OutputUnit, lines *[]string) {
	for _, inner := range unit.Errors {
		collect(inner, lines)
	}
	if len(unit.Errors) > 0 || unit.Error == nil {
		return
	}
	at := unit.InstanceLocation
	if at == "" {
		at = "/"
	}
	*lines = append(*lines, at+": "+unit.Error.String())
}
