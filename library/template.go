package library

import (
	"encoding/json"

	"github.com/hishamos/hishamos/domain"
)

// Template is a reusable, parameterised prompt with the shape of its answer.
type Template struct {
	Schema       string             `json:"schema"`
	Kind         string             `json:"kind"`
	ID           string             `json:"id"`
	Version      int                `json:"version"`
	Status       string             `json:"status"` // draft, published or withdrawn
	Title        string             `json:"title"`
	Category     string             `json:"category"`
	Tags         []string           `json:"tags"`
	Audience     []string           `json:"audience"`
	Summary      string             `json:"summary"`
	Description  string             `json:"description"`
	DistinctFrom []Neighbour        `json:"distinct_from"`
	Intents      []string           `json:"intents"`
	Parameters   []domain.Parameter `json:"parameters"`
	Prompt       TemplatePrompt     `json:"prompt"`
	Output       Output             `json:"output"`
	Validators   []Validator        `json:"validators"`
	Golden       []Golden           `json:"golden"`
	Rubric       []Question         `json:"rubric"`
	Agents       Performers         `json:"agents"`
	Model        ModelNeeds         `json:"model"`
	Effect       string             `json:"effect"` // none, reads or proposes
	Notices      []string           `json:"notices,omitempty"`
	Feeds        []string           `json:"feeds,omitempty"`
	SeeAlso      []string           `json:"see_also,omitempty"`
	Sources      []string           `json:"sources"`
	Authors      []string           `json:"authors"`
	Changelog    []Change           `json:"changelog"`
	hash         string
	schema       json.RawMessage
}

// Neighbour is a similar template and why it is not this one.
type Neighbour struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// TemplatePrompt is what the model is told about the task. Only Task is
// templated.
type TemplatePrompt struct {
	System           string    `json:"system"`
	Task             string    `json:"task"`
	Method           []string  `json:"method"`
	Examples         []Example `json:"examples,omitempty"`
	WhenInsufficient string    `json:"when_insufficient"`
}

// Example is a literal pair of input and answer.
type Example struct {
	Input  string `json:"input"`
	Output any    `json:"output"`
}

// Output is the shape of the answer.
type Output struct {
	Schema      map[string]any `json:"schema"`
	Form        string         `json:"form"` // report, list, record or change
	Sections    []string       `json:"sections"`
	ActionItems string         `json:"action_items,omitempty"`
}

// Validator is a check of an answer beyond its schema.
type Validator struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"`     // one of ValidatorKinds
	At       string `json:"at"`       // path into the answer, such as stories[*].id
	Min      *int   `json:"min"`      // count, length
	Max      *int   `json:"max"`      // count, length
	Of       string `json:"of"`       // coverage, cites_input: path into the input
	Severity string `json:"severity"` // error or warning
	Message  string `json:"message"`  // how to repair
}

// ValidatorKinds are the validators that exist: the number of values, their
// difference, their length in words, whether each quotes the input, and whether
// every value of the input's list occurs among them.
var ValidatorKinds = []string{"count", "unique", "length", "cites_input", "coverage"}

// Golden is an example with an answer written and checked by hand.
type Golden struct {
	ID       string                     `json:"id"`
	Case     string                     `json:"case"` // positive, insufficient or hostile
	Input    map[string]json.RawMessage `json:"input,omitempty"`
	Fixture  map[string]string          `json:"fixture,omitempty"` // parameter → file under library/
	Output   json.RawMessage            `json:"output"`
	Authored string                     `json:"authored"` // by whom; never a model's output
}

// Question is one yes/no question of the rubric.
type Question struct {
	Text   string `json:"text"`
	Weight int    `json:"weight"`
}

// Performers are the agents a template is written for.
type Performers struct {
	Recommended []string `json:"recommended"`
	Fallback    string   `json:"fallback,omitempty"`
}

// Ref names this version of the template.
func (t *Template) Ref() domain.Ref { return domain.Ref{ID: t.ID, Version: t.Version, Hash: t.hash} }

// AnswerSchema is the JSON Schema of the answer with the shared types it uses.
func (t *Template) AnswerSchema() json.RawMessage { return t.schema }

// Parameter returns the parameter with a name.
func (t *Template) Parameter(name string) (domain.Parameter, bool) {
	for _, p := range t.Parameters {
		if p.Name == name {
			return p, true
		}
	}
	return domain.Parameter{}, false
}

func (t *Template) header() (schema, kind, id string, version int) {
	return t.Schema, t.Kind, t.ID, t.Version
}
func (t *Template) setHash(h string) { t.hash = h }
