package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hishamos/hishamos/domain"
)

const yamlType = "application/yaml"

func isYAML(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == yamlType || media == "application/x-yaml" || media == "text/yaml" || media == "text/x-yaml")
}

// withDefinition is endpoint for a body that is a workflow definition, as JSON
// or YAML. Huma cannot read two forms into one type, so the endpoint does.
func withDefinition[I, O any](f func(*server, context.Context, *I) (*O, error)) func(*server, huma.Operation) {
	return func(s *server, op huma.Operation) {
		endpoint(f)(s, op)
		schema := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[domain.Definition](), true, "Definition")
		registered := operationOf(s.huma.OpenAPI(), op.Method, op.Path)
		registered.RequestBody = &huma.RequestBody{
			Required: true, Description: "The definition of the workflow",
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: schema},
				yamlType:           {Schema: &huma.Schema{Type: huma.TypeString, Description: "A workflow file: schema workflow/v1, kind workflow, and the definition"}},
			},
		}
	}
}

// readDefinition reads the body of the call as a definition and checks all that
// does not need the expressions to be understood; the decider checks the rest.
// YAML, and JSON that says so, is a workflow file like those of the library.
func (s *server) readDefinition(ctx context.Context) (domain.Definition, error) {
	call := callOf(ctx)
	d, err := s.parseDefinition(call.body, call.contentType)
	if err != nil {
		return d, err
	}
	switch {
	case !ownID.MatchString(d.ID) || len(d.ID) > 80:
		return d, domain.InvalidDefinition("id", "is not an id for a workflow of your own", "use up to 80 lower-case letters, digits and single hyphens")
	case d.Title == "":
		return d, domain.InvalidDefinition("title", "is missing", "give it a title")
	}
	if err := d.Validate(); err != nil {
		return d, err
	}
	_, _, err = s.pins(d)
	return d, err
}

func (s *server) parseDefinition(body []byte, contentType string) (domain.Definition, error) {
	media, _, err := mime.ParseMediaType(contentType)
	asJSON := contentType == "" || err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return domain.Definition{}, errMalformed.With("the request needs a body")
	case isYAML(contentType), asJSON && isFile(body):
		return s.Library.ParseWorkflow("body", body, s.Checks...)
	case asJSON:
		return decodeDefinition(body)
	}
	e := *errMediaType
	e.Fix = "send application/json or application/yaml"
	return domain.Definition{}, &e
}

// isFile reports whether JSON is a workflow file rather than a bare definition.
func isFile(body []byte) bool {
	var head struct {
		Schema string `json:"schema"`
	}
	return json.Unmarshal(body, &head) == nil && head.Schema != ""
}

func decodeDefinition(body []byte) (domain.Definition, error) {
	var d domain.Definition
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return d, decodeError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return d, errMalformed.With("there is something behind the definition")
	}
	return d, nil
}

// decodeError says which field encoding/json could not read.
func decodeError(err error) error {
	const fix = "see the schema Definition in /api/openapi.json"
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return domain.InvalidDefinition(wrong.Field, "must not be a "+wrong.Value, fix)
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		return errMalformed
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return domain.InvalidDefinition(strings.Trim(field, `"`), "is not a field of a definition", fix)
	}
	return domain.InvalidDefinition("definition", err.Error(), fix)
}
