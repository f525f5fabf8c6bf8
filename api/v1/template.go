package v1

import "github.com/hishamos/hishamos/domain"

// Template is one entry of the command library: a prompt with parameters and the
// shape of its answer. In lists, Description, Parameters and Output are left out.
type Template struct {
	ID          string             `json:"id"`
	Version     int                `json:"version"`
	Title       string             `json:"title"`
	Category    string             `json:"category,omitempty"`
	Summary     string             `json:"summary,omitempty"`
	Tags        []string           `json:"tags" nullable:"false"`
	Hash        string             `json:"hash,omitempty" doc:"Content hash"`
	Description string             `json:"description,omitempty"`
	Parameters  []domain.Parameter `json:"parameters,omitempty" nullable:"false"`
	Output      map[string]any     `json:"output,omitempty" doc:"JSON Schema of the answer"`
}

// TemplateList is one page of templates.
type TemplateList struct {
	Items []Template `json:"items" nullable:"false"`
	Next  string     `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}
