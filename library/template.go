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
	Accepts      map[string]string  `json:"accepts,omitempty"` // parameter → what an earlier step may give: a shared type, such a type with [], or the id of a template; | between several
	Prompt       TemplatePrompt     `json:"prompt"`
	Output       Output             `json:"output"`
	Validators   []Validator        `json:"validators"`
	Golden       []Golden           `json:"golden"`
	Rubric       []Question         `json:"rubric"`
	Agents       Performers         `json:"agents"`
	Model        ModelNeeds         `json:"model"`
	Tools        []string           `json:"tools,omitempty"` // ids of tools the answer may need
	Effect       string             `json:"effect"`          // one of Effects
	Notices      []string           `json:"notices,omitempty"`
	Feeds        []string           `json:"feeds,omitempty"`
	SeeAlso      []string           `json:"see_also,omitempty"`
	Sources      []string           `json:"sources"`
	Authors      []string           `json:"authors"`
	Review
	Changelog []Change `json:"changelog"`
	hash      string
	schema    json.RawMessage
}

// Review says who read this version critically, and when. The hash leaves it
// out: it is made after the version it is about.
type Review struct {
	ReviewedBy []string `json:"reviewed_by"`
	ReviewedAt string   `json:"reviewed_at"` // YYYY-MM-DD
}

// Effects are what carrying a template or a tool out may do, the mildest first.
var Effects = []string{"none", "proposes", "reads"}

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
	ID       string     `json:"id"`
	Kind     string     `json:"kind"`     // one of ValidatorKinds
	At       string     `json:"at"`       // paths into the answer, such as stories[*].id, with blanks between; empty: every text, of unique every list
	Of       string     `json:"of"`       // paths into the input; empty: the whole input
	If       *Condition `json:"if"`       // the check applies to such answers only
	Min      *int       `json:"min"`      // count, length
	Max      *int       `json:"max"`      // count, length
	In       []string   `json:"in"`       // is
	Severity string     `json:"severity"` // error or warning
	Message  string     `json:"message"`  // how to repair
}

// Condition holds if one of the values at paths of the answer, or of the input,
// is in the list.
type Condition struct {
	At string   `json:"at"` // of the answer
	Of string   `json:"of"` // of the input
	In []string `json:"in"`
}

// ValidatorKinds are the validators that exist, in the order of rules.go.
var ValidatorKinds = []string{"count", "unique", "sequence", "length", "is", "cites_input", "coverage", "refers", "located", "numbers", "language"}

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
