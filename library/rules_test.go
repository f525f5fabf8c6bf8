package library_test

import (
	"encoding/json"
	"testing"

	"github.com/hishamos/hishamos/library"
)

func TestValidatorsRefuseWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	n := func(i int) *int { return &i }
	input := map[string]json.RawMessage{"paper": json.RawMessage(`"A clerk must print\n a label."`), "list": json.RawMessage(`[{"id":"R-1"},{"id":"R-2"}]`)}
	tests := map[string]struct {
		rule   library.Validator
		answer string
		ok     bool
	}{
		"count within":        {library.Validator{Kind: "count", At: "a", Min: n(1), Max: n(2)}, `{"a":[1,2]}`, true},
		"count above":         {library.Validator{Kind: "count", At: "a", Max: n(1)}, `{"a":[1,2]}`, false},
		"count below":         {library.Validator{Kind: "count", At: "a", Min: n(1)}, `{"a":[]}`, false},
		"unique":              {library.Validator{Kind: "unique", At: "a[*].id"}, `{"a":[{"id":"x"},{"id":"y"}]}`, true},
		"not unique":          {library.Validator{Kind: "unique", At: "a[*].id"}, `{"a":[{"id":"x"},{"id":"X"}]}`, false},
		"short enough":        {library.Validator{Kind: "length", At: "t", Max: n(3)}, `{"t":"one two three"}`, true},
		"too long":            {library.Validator{Kind: "length", At: "t", Max: n(2)}, `{"t":"one two three"}`, false},
		"quoted":              {library.Validator{Kind: "cites_input", At: "q[*]", Of: "paper"}, `{"q":["clerk must print a label", ""]}`, true},
		"invented":            {library.Validator{Kind: "cites_input", At: "q[*]", Of: "paper"}, `{"q":["a boss must print"]}`, false},
		"covered":             {library.Validator{Kind: "coverage", At: "s[*].of[*]", Of: "list[*].id"}, `{"s":[{"of":["R-1"]},{"of":["R-2"]}]}`, true},
		"not covered":         {library.Validator{Kind: "coverage", At: "s[*].of[*]", Of: "list[*].id"}, `{"s":[{"of":["R-1"]}]}`, false},
		"a path into nothing": {library.Validator{Kind: "unique", At: "x[*].y"}, `{}`, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.rule.Severity = "error"
			tmpl := &library.Template{Validators: []library.Validator{tt.rule}}
			wrong, warnings := tmpl.CheckRules(input, json.RawMessage(tt.answer))
			if ok := len(wrong) == 0; ok != tt.ok || len(warnings) != 0 {
				t.Errorf("wrong %v, warnings %v", wrong, warnings)
			}
			tmpl.Validators[0].Severity = "warning"
			if wrong, warnings = tmpl.CheckRules(input, json.RawMessage(tt.answer)); len(wrong) != 0 || (len(warnings) == 0) != tt.ok {
				t.Errorf("as a warning: wrong %v, warnings %v", wrong, warnings)
			}
		})
	}
}
