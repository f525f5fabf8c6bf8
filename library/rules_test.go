package library_test

import (
	"encoding/json"
	"testing"

	"github.com/hishamos/hishamos/library"
)

func TestValidatorsRefuseWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	n := func(i int) *int { return &i }
	input := map[string]json.RawMessage{
		"paper": json.RawMessage(`"A clerk must print\n a label."`), "list": json.RawMessage(`[{"id":"R-1"},{"id":"R-2"}]`),
		"said": json.RawMessage(`"the shops send 4,000 and it is 10:30"`), "asked": json.RawMessage(`"german"`),
		"diff": json.RawMessage(`"--- a/a.go\n+++ b/a.go\n@@ -5,3 +6,3 @@ func x\n // remark\n-var a\n+var aa\n+var b\n"`),
	}
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
		"in sequence":         {library.Validator{Kind: "sequence", At: "a[*].id"}, `{"a":[{"id":"R-1"},{"id":"R-2"}]}`, true},
		"a hole":              {library.Validator{Kind: "sequence", At: "a[*].id"}, `{"a":[{"id":"R-1"},{"id":"R-3"}]}`, false},
		"is allowed":          {library.Validator{Kind: "is", At: "v", In: []string{"yes"}}, `{"v":"yes"}`, true},
		"is not allowed":      {library.Validator{Kind: "is", At: "v", In: []string{"yes"}}, `{"v":"no"}`, false},
		"only if, and it is":  {library.Validator{Kind: "is", At: "v", In: []string{"yes"}, If: &library.Condition{At: "a[*]", In: []string{"true"}}}, `{"v":"no","a":[false,true]}`, false},
		"only if, it is not":  {library.Validator{Kind: "is", At: "v", In: []string{"yes"}, If: &library.Condition{At: "a[*]", In: []string{"true"}}}, `{"v":"no","a":[false]}`, true},
		"only if the input":   {library.Validator{Kind: "is", At: "v", In: []string{"yes"}, If: &library.Condition{Of: "list[*].id", In: []string{"R-2"}}}, `{"v":"no"}`, false},
		"refers":              {library.Validator{Kind: "refers", At: "a[*]", Of: "list[*].id"}, `{"a":["R-2",""]}`, true},
		"refers to nothing":   {library.Validator{Kind: "refers", At: "a[*]", Of: "list[*].id"}, `{"a":["R-3"]}`, false},
		"several paths":       {library.Validator{Kind: "refers", At: "a[*] b", Of: "list[*].id"}, `{"a":["R-1"],"b":"R-3"}`, false},
		"on its line":         {library.Validator{Kind: "located", At: "f[*]", Of: "diff"}, `{"f":[{"file":"a.go","line":8,"quote":"var b"},{"file":"a.go","line":0,"quote":""}]}`, true},
		"on another line":     {library.Validator{Kind: "located", At: "f[*]", Of: "diff"}, `{"f":[{"file":"a.go","line":7,"quote":"var b"}]}`, false},
		"on no line":          {library.Validator{Kind: "located", At: "f[*]", Of: "diff"}, `{"f":[{"file":"a.go","line":99,"quote":""}]}`, false},
		"in another file":     {library.Validator{Kind: "located", At: "f[*]", Of: "diff"}, `{"f":[{"file":"b.go","line":8,"quote":"var b"}]}`, false},
		"figures given":       {library.Validator{Kind: "numbers", At: "t", Of: "said"}, `{"t":"4,000 at 10:30"}`, true},
		"a figure invented":   {library.Validator{Kind: "numbers", At: "t", Of: "said"}, `{"t":"4,000 at 10:31"}`, false},
		"the input's words":   {library.Validator{Kind: "language", Of: "said"}, `{"t":"this is for the shops"}`, true},
		"foreign words":       {library.Validator{Kind: "language", Of: "said"}, `{"t":["das ist für die Geschäfte"]}`, false},
		"a foreign quote":     {library.Validator{Kind: "language", Of: "said"}, `{"quote":"das ist für die Geschäfte"}`, true},
		"the language asked":  {library.Validator{Kind: "language", Of: "asked said"}, `{"t":"das ist für die Geschäfte"}`, true},
		"not the one asked":   {library.Validator{Kind: "language", Of: "asked said"}, `{"t":"this is for the shops"}`, false},
		"each list differs":   {library.Validator{Kind: "unique"}, `{"a":["x"],"b":[{"c":["x","y"]}]}`, true},
		"a list repeats":      {library.Validator{Kind: "unique"}, `{"a":["x"],"b":[{"c":["y","y"]}]}`, false},
		"every text short":    {library.Validator{Kind: "length", Max: n(3)}, `{"a":["x y z"],"b":{"c":"x"}}`, true},
		"one text long":       {library.Validator{Kind: "length", Max: n(3)}, `{"a":["x y z"],"b":{"c":"w x y z"}}`, false},
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
