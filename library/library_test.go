package library_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/expr"
	"github.com/hishamos/hishamos/library"
)

func builtin(t *testing.T) *library.Library {
	t.Helper()
	l, err := library.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWhatALibraryHasShowsWithoutReadingIt(t *testing.T) {
	t.Parallel()
	l, later := builtin(t), library.Deferred()
	for _, id := range l.AgentIDs() {
		if !later.HasAgent(id) || later.HasWorkflow(id) {
			t.Errorf("agent %s", id)
		}
	}
	for _, id := range l.WorkflowIDs() {
		if !later.HasWorkflow(id) || later.HasAgent(id) {
			t.Errorf("workflow %s", id)
		}
	}
	if later.HasAgent("") || later.HasWorkflow("../types") || later.HasAgent("business-analyst.yaml") {
		t.Error("it has what it has not")
	}
	if got := later.TemplateIDs(); !slices.Equal(got, l.TemplateIDs()) {
		t.Errorf("read later it holds %v", got)
	}
}

func TestTheBuiltinLibraryHoldsWhatTheStockWorkflowsNeed(t *testing.T) {
	t.Parallel()
	l := builtin(t)
	want := []string{"bug-lifecycle", "code-review", "requirements-to-user-stories", "two-step"}
	if diff := cmp.Diff(want, l.WorkflowIDs()); diff != "" {
		t.Errorf("workflows (-want +got):\n%s", diff)
	}
	for _, id := range l.WorkflowIDs() {
		w, _ := l.Workflow(id)
		d := w.ToDefinition()
		agents, templates := l.Pins(d)
		for _, s := range d.Steps {
			if agents[s.Agent].Hash == "" || templates[s.Template].Hash == "" {
				t.Errorf("%s: step %s is not pinned", id, s.ID)
			}
		}
	}
	if len(l.AgentRefs()) != len(l.AgentIDs()) || len(l.TemplateRefs()) != len(l.TemplateIDs()) {
		t.Error("not every item has a ref")
	}
}

func TestADefinitionKeepsItsHashThroughJSON(t *testing.T) {
	t.Parallel()
	l := builtin(t)
	for _, id := range l.WorkflowIDs() {
		w, _ := l.Workflow(id)
		d := w.ToDefinition()
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back domain.Definition
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if d.Hash() != back.Hash() {
			t.Errorf("%s: %s became %s", id, d.Hash(), back.Hash())
		}
	}
}

func TestTheHashOfAnItemIsThatOfItsContentNotItsLayout(t *testing.T) {
	t.Parallel()
	files := copyOf(t)
	const name = "agents/coding.yaml"
	before := load(t, files)
	was, _ := before.Agent("coding")

	files[name] = &fstest.MapFile{Data: append([]byte("# a remark\n\n"), files[name].Data...)}
	same, _ := load(t, files).Agent("coding")
	if was.Ref() != same.Ref() {
		t.Errorf("a remark changed the hash: %v, %v", was.Ref(), same.Ref())
	}
	files[name] = edit(t, files[name], "Coding Agent", "Coding Agent B")
	changed, _ := load(t, files).Agent("coding")
	if was.Ref() == changed.Ref() {
		t.Error("a change of content kept the hash")
	}
}

func TestAChangedSharedTypeChangesTheHashOfTheTemplatesThatUseIt(t *testing.T) {
	t.Parallel()
	files := copyOf(t)
	before := load(t, files)
	files["types.yaml"] = edit(t, files["types.yaml"], "What sort of need it is.", "Which sort of need it is.")
	after := load(t, files)
	changed := func(id string) bool {
		a, _ := before.Template(id)
		b, _ := after.Template(id)
		return a.Ref() != b.Ref()
	}
	if !changed("requirements.extract-requirements") || changed("documentation.write-brief") {
		t.Error("exactly the templates that use the type should change")
	}
}

func TestEveryMistakeInAnItemIsReportedAtItsPlace(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ file, old, new, want string }{
		"a misspelt key":         {"agents/coding.yaml", "\nmission:", "\nmision:", `library/agents/coding.yaml:7:1: mision: unknown key "mision" (did you mean "mission"?)`},
		"a wrong type":           {"agents/coding.yaml", "\nversion: 2", "\nversion: one", `library/agents/coding.yaml:4:10: version: is text, not a whole number (write a whole number)`},
		"a number for text":      {"agents/coding.yaml", "name: Coding Agent", "name: 42", `library/agents/coding.yaml:5:7: name: is a whole number, not text (put it in quotes: "42")`},
		"another id than file":   {"agents/coding.yaml", "id: coding\n", "id: codeing\n", "the id \"codeing\" differs from the file's name"},
		"an unknown shared type": {"commands/coding/coding.propose-bug-fix.yaml", "$defs/code_change", "$defs/code_chang", `there is no shared type "code_chang" (did you mean "code_change"?)`},
		"a broken task":          {"commands/coding/coding.propose-bug-fix.yaml", "{{ .reproduction }}", "{{ .reproduction ", "prompt.task: "},
		"an unknown agent":       {"workflows/two-step.yaml", "agent: product-owner", "agent: product-owners", `library/workflows/two-step.yaml:39:12: steps[1].agent: there is no agent "product-owners" (did you mean "product-owner"?)`},
		"a bad duration":         {"workflows/two-step.yaml", "deadline: 10m", "deadline: soon", `deadline: "soon" is not a duration; write it like 90s or 5m`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := copyOf(t)
			files[tt.file] = edit(t, files[tt.file], tt.old, tt.new)
			_, err := library.Load(files)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

const small = `schema: workflow/v1
kind: workflow
id: mine
version: 1
title: Mine
summary: A workflow of my own.
description: It drafts and reviews.
parameters:
  - {name: notes, type: text, required: true}
steps:
  - id: draft
    kind: agent
    agent: business-analyst
    template: documentation.write-brief
    with: {notes: "${inputs.notes}"}
  - id: review
    kind: agent
    agent: product-owner
    template: documentation.review-brief
    needs: [draft]
    with: {brief: "${steps.draft.output}", notes: "${inputs.notes}"}
outputs: {verdict: "${steps.review.output.verdict}"}
deadline: 5m
`

func TestAMistakeInAUsersWorkflowIsReportedAtItsPlaceWithTheFix(t *testing.T) {
	t.Parallel()
	l := builtin(t)
	tests := map[string]struct{ old, new, want string }{
		"an unknown key":       {"needs: [draft]", "need: [draft]", `mine.yaml:20:5: steps[1].need: unknown key "need" (did you mean "needs"?)`},
		"a dangling need":      {"needs: [draft]", "needs: [draught]", `mine.yaml:20:13: steps[1].needs[0]: there is no step "draught"`},
		"a cycle":              {"    with: {notes: \"${inputs.notes}\"}\n", "    needs: [review]\n    with: {notes: \"${inputs.notes}\"}\n", "the steps wait for each other: draft → review → draft"},
		"an unknown agent":     {"agent: product-owner", "agent: boss", `mine.yaml:18:12: steps[1].agent: there is no agent "boss" (use one of bug-triage,`},
		"an unknown template":  {"documentation.review-brief", "documentation.review-brif", `there is no template "documentation.review-brif" (did you mean "documentation.review-brief"?)`},
		"an unknown parameter": {"{brief:", "{brif:", `mine.yaml:21:12: steps[1].with.brif: the template documentation.review-brief has no parameter "brif" (did you mean "brief"?)`},
		"a missing parameter":  {`{brief: "${steps.draft.output}", notes`, `{notes`, `the template documentation.review-brief needs the parameter "brief" (add brief)`},
		"an unknown input":     {"${inputs.notes}\"}\n  - id: review", "${inputs.note}\"}\n  - id: review", "mine.yaml:15:19: steps[0].with.notes"},
		"a list for a mapping": {"parameters:\n  - {name: notes, type: text, required: true}", "parameters: {name: notes}", "parameters: is a mapping, not a list (write a list)"},
		"a yes for true":       {"required: true", "required: \"yes\"", "parameters[0].required: is text, not true or false"},
		"a duration in digits": {"deadline: 5m", "deadline: 5", `deadline: "5" is not a duration; write it like 90s or 5m`},
		"a key twice":          {"version: 1", "version: 1\nversion: 2", "mine.yaml:5:1"},
		"an alias":             {"title: Mine\nsummary: A workflow of my own.", "title: &a Mine\nsummary: *a", "anchors and aliases are not allowed (write the value out where it is used)"},
		"a tag":                {"title: Mine", "title: !!binary TWluZQ==", "tags are not allowed"},
		"broken YAML":          {"title: Mine", "title: \"Mine", "mine.yaml:"},
		"another kind":         {"kind: workflow", "kind: agent", `mine.yaml:2:7: kind: "agent" is not the kind of this file (write workflow)`},
		"two documents":        {"deadline: 5m\n", "deadline: 5m\n---\nid: x\n", "more than one document"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(small, tt.old) {
				t.Fatalf("%q is not in the file", tt.old)
			}
			_, err := l.ParseWorkflow("mine.yaml", []byte(strings.Replace(small, tt.old, tt.new, 1)), expr.Check)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v\nwant %s", err, tt.want)
			}
			e, ok := errors.AsType[*domain.Error](err)
			if !ok || e.Kind != domain.Invalid || e.Message == "" {
				t.Errorf("users would see %+v", e)
			}
		})
	}
}

func TestYAMLAndJSONGiveTheSameDefinition(t *testing.T) {
	t.Parallel()
	l := builtin(t)
	fromYAML, err := l.ParseWorkflow("mine.yaml", []byte(small), expr.Check)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	b, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	fields["schema"], fields["kind"] = "workflow/v1", "workflow"
	if b, err = json.MarshalIndent(fields, "", "\t"); err != nil {
		t.Fatal(err)
	}
	fromJSON, err := l.ParseWorkflow("mine.json", b, expr.Check)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromYAML, fromJSON); diff != "" {
		t.Errorf("(-yaml +json):\n%s", diff)
	}
}

func TestAMistakeInJSONIsReportedAtItsPlace(t *testing.T) {
	t.Parallel()
	l := builtin(t)
	tests := map[string]struct{ text, want string }{
		"a missing comma":   {"{\n  \"id\": \"x\"\n  \"version\": 1\n}", "mine.json:3:3: the file is not JSON"},
		"a wrong type":      {"{\n  \"id\": 7\n}", `mine.json:2:9: id: is a whole number, not text (put it in quotes: "7")`},
		"a key twice":       {"{\"id\": \"x\",\n \"id\": \"y\"}", "mine.json:2:2: id: the key is there twice"},
		"more than a value": {"{}\n{}", "mine.json:2:1: there is text after the value"},
		"an unknown key":    {"{\n\"é\": 1, \"idd\": \"x\"}", `mine.json:2:9: idd: unknown key "idd"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := l.ParseWorkflow("mine.json", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestAFileThatWouldExhaustTheReaderIsRefused(t *testing.T) {
	t.Parallel()
	l := builtin(t)
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x]\n")
	for i := range 30 {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	var steps strings.Builder
	for i := range 200 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	var keys strings.Builder
	for i := range 80_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	tests := map[string]struct {
		text string
		want string
		kind domain.ErrorKind
	}{
		"too long":           {strings.Repeat("#", library.MaxFileSize+1), "send at most 1 MiB", domain.TooLarge},
		"an alias bomb":      {bomb.String(), "anchors and aliases are not allowed", domain.Invalid},
		"brackets in YAML":   {"a: " + strings.Repeat("[", 500_000), "nested deeper than 64", domain.Invalid},
		"braces in JSON":     {strings.Repeat(`{"a":`, 100_000), "nested deeper than 64", domain.Invalid},
		"dashes on one line": {strings.Repeat("- ", 100_000) + "x", "nested deeper than 64", domain.Invalid},
		"indented mappings":  {steps.String(), "nested deeper than 64", domain.Invalid},
		"explicit keys":      {strings.Repeat("? ", 100_000) + "x", "", domain.Invalid},
		"very many keys":     {keys.String(), "a mapping has more than 1000 keys", domain.Invalid},
		"a very long list":   {"a:\n" + strings.Repeat("- x\n", 200_000), "a list more than 10000 entries", domain.Invalid},
		"very many blanks":   {"a: >\n" + strings.Repeat("\n", 900_000), "more than 500 blank lines", domain.Invalid},
		"nothing":            {" \n", "the file is empty", domain.Invalid},
		"bytes":              {"id: \xff", "not UTF-8", domain.Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := l.ParseWorkflow("mine.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %.300v\nwant %s", err, tt.want)
			}
			if got := domain.KindOf(err); got != tt.kind {
				t.Errorf("kind is %s, not %s", got, tt.kind)
			}
		})
	}
}

func FuzzParseWorkflow(f *testing.F) {
	l, err := library.Builtin()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(small))
	f.Add([]byte(`{"schema":"workflow/v1","steps":[{"id":"a","needs":["a"]}]}`))
	f.Add([]byte("a: |\n  b\n- c: {d: [e, ? f : g]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := l.ParseWorkflow("fuzz", data)
		if err == nil && d.Validate() != nil {
			t.Errorf("an invalid definition was accepted: %+v", d)
		}
	})
}

func copyOf(t *testing.T) fstest.MapFS {
	t.Helper()
	all := fstest.MapFS{}
	source := os.DirFS(".")
	for _, pattern := range []string{"types.yaml", "versions.txt", "samples/*", "agents/*.yaml", "commands/*/*.yaml", "workflows/*.yaml"} {
		names, err := fs.Glob(source, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := fs.ReadFile(source, name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = &fstest.MapFile{Data: b}
		}
	}
	return all
}

func load(t *testing.T, files fstest.MapFS) *library.Library {
	t.Helper()
	l, err := library.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func edit(t *testing.T, f *fstest.MapFile, old, new string) *fstest.MapFile {
	t.Helper()
	if !strings.Contains(string(f.Data), old) {
		t.Fatalf("%q is not in the file", old)
	}
	return &fstest.MapFile{Data: []byte(strings.Replace(string(f.Data), old, new, 1))}
}
