package liblint_test

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hishamos/hishamos/domain/expr"
	"github.com/hishamos/hishamos/internal/liblint"
	"github.com/hishamos/hishamos/library"
)

func TestEachRuleFindsWhatItIsFor(t *testing.T) {
	t.Parallel()
	const (
		brief  = "commands/documentation/documentation.write-brief.yaml"
		coding = "agents/coding.yaml"
		review = "workflows/code-review.yaml"
	)
	tests := []struct{ rule, file, old, new string }{
		{"schema/closed", brief, "additionalProperties: false", "additionalProperties: true"},
		{"schema/described", brief, `description: The facts that matter, most important first.`, `title: x`},
		{"schema/required", brief, "required: [title, goal,", "required: [title,"},
		{"schema/valid", brief, "maxLength: 90", "maxLength: ninety"},
		{"schema/golden", brief, "title: Note without content", "title: 7"},
		{"schema/golden-rules", brief, "facts: [Depot north gets", "facts: [Training takes three weeks., Depot north gets"},
		{"schema/golden-cases", brief, "case: positive", "case: hostile"},
		{"schema/golden-author", brief, "authored: library authors\n    input: {notes: call back}", "authored: \"\"\n    input: {notes: call back}"},
		{"schema/validator", brief, "kind: unique", "kind: uniqueness"},
		{"schema/example", "commands/requirements/requirements.extract-requirements.yaml", "id: R-1, kind: business_rule", "id: X-1, kind: business_rule"},
		{"parameters/declared", brief, "{{ .notes }}", "{{ .notes }}{{ .more }}"},
		{"parameters/used", brief, "a {{ .audience }} who", "a person who"},
		{"parameters/trust", brief, "    trust: untrusted\n    examples: [\"call", "    examples: [\"call"},
		{"parameters/examples", brief, "    examples: [team, manager]\n", ""},
		{"parameters/renders", "commands/project/project.rank-requirements.yaml", "{{ if .goal }}", "{{ if .goal.deep }}"},
		{"parameters/shows", "commands/project/project.rank-requirements.yaml", "    The goal of this round:\n    {{ .goal }}\n    {{ else }}\n    No goal is given. Take the benefit that most requirements share, and name it in the summary.\n    {{ end }}", "    {{ end }}"},
		{"parameters/golden", brief, "{notes: call back}", "{notes: 5}"},
		{"prose/title", brief, "title: Write a one-page brief from notes", "title: Write a brief from notes that is so short that it fits on one page of paper"},
		{"prose/summary", brief, "summary: \"In:", "summary: \"" + strings.Repeat("In ", 60)},
		{"prose/task-length", "commands/coding/coding.propose-bug-fix.yaml", "  task: |\n", "  task: |\n    {{ .reproduction }} {{ .report }} {{ .code }}\n  system_old: |\n"},
		{"prose/banned", brief, "Write a brief of one page", "Take a step back and write a brief of one page"},
		{"prose/sentence", coding, "You propose; you have", strings.Repeat("and so on ", 15) + "you have"},
		{"prose/method", brief, "    - Write each group from the most to the least important entry and cut what the reader would not miss.\n    - Compare each sentence with the notes and delete those without support.\n", ""},
		{"prose/parts", coding, "hand_over: |\n", "hand_over: A person commits.\n  x: |\n"},
		{"graph/agents", brief, "fallback: product-owner", "fallback: nobody"},
		{"graph/neighbours", brief, "{id: documentation.review-brief", "{id: documentation.judge-brief"},
		{"graph/effect", brief, "effect: none", "effect: external"},
		{"graph/capability", coding, "templates: [coding.propose-bug-fix]", "templates: [coding.propose-review-fixes]"},
		{"graph/golden", coding, "coding.propose-bug-fix/guard-insert", "coding.propose-bug-fix/other"},
		{"graph/hand-over", coding, "hand_to: bug-triage", "hand_to: somebody"},
		{"graph/definition", review, "steps.combine.output.verdict ==", "steps.nowhere.output.verdict =="},
		{"graph/agent", review, "agent: security", "agent: product-owner"},
		{"graph/shape", review, "    when: steps.combine.output.verdict == \"request_changes\"\n", ""},
		{"graph/step", review, "    timeout: 4m\n", ""},
		{"graph/permissions", coding, `"diff:read", `, ""},
		{"graph/tools", brief, "effect: none", "effect: reads"},
		{"types/accepts", "commands/documentation/documentation.review-brief.yaml", "{brief: documentation.write-brief}", "{brief: documentation.write-letter}"},
		{"types/feeds", brief, "feeds: [documentation.review-brief]", "feeds: [project.rank-requirements]"},
		{"types/capability", coding, "output: code_change", "output: story"},
		{"types/edge", review, `threats: "${steps.audit.output.threats}"`, `threats: "${steps.review.output.points}"`},
		{"types/edge", "workflows/two-step.yaml", "type: text", "type: code"},
		{"types/edge", "workflows/two-step.yaml", "enum: [manager, team, customer]", "enum: [manager, team, board]"},
		{"types/edge", "workflows/two-step.yaml", "    required: true\n    trust: untrusted\n", "    trust: untrusted\n"},
		{"types/edge", "workflows/two-step.yaml", `brief: "${steps.draft.output}"`, `brief: "${[steps.draft.output]}"`},
		{"types/field", review, "${steps.analyse.output.drivers}", "${steps.analyse.output.driver}"},
		{"types/value", review, `verdict == "request_changes"`, `verdict == "rejected"`},
		{"review/named", brief, "reviewed_by: [library reviewers]", "reviewed_by: []"},
		{"review/independent", brief, "reviewed_by: [library reviewers]", "reviewed_by: [library authors]"},
		{"review/date", brief, `reviewed_at: "2026-11-22"`, "reviewed_at: soon"},
		{"version/listed", brief, "version: 2\n", "version: 9\n"},
		{"version/raised", brief, "under 250 words", "under 240 words"},
		{"version/changelog", brief, "- {version: 2,", "- {version: 3,"},
		{"search/intents", brief, "intents:\n  - make something readable out of my meeting notes\n  - I need a short summary paper people can decide on\n  - turn these bullet points into a one-pager", "intents: [bake a cake, water the plants, walk the dog]"},
		{"graph/with", "workflows/two-step.yaml", `audience: "${inputs.audience}"`, "audience: aliens"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			files := copyOf(t)
			text := string(files[tt.file].Data)
			if !strings.Contains(text, tt.old) {
				t.Fatalf("%q is not in %s", tt.old, tt.file)
			}
			text = strings.Replace(text, tt.old, tt.new, 1)
			for _, key := range []string{"  system_old: |\n", "  x: |\n"} { // take the old text away
				if before, after, ok := strings.Cut(text, key); ok {
					lines := strings.SplitAfter(after, "\n")
					for len(lines) > 0 && (strings.HasPrefix(lines[0], "    ") || strings.TrimSpace(lines[0]) == "") {
						lines = lines[1:]
					}
					text = before + strings.Join(lines, "")
				}
			}
			files[tt.file] = &fstest.MapFile{Data: []byte(text)}
			lib, err := library.Load(files)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range liblint.Check(lib, expr.Check) {
				if f.Rule == tt.rule {
					return
				}
			}
			t.Errorf("nothing was found; findings: %v", liblint.Check(lib, expr.Check))
		})
	}
}

func TestAValidatorThatNoticesNothingIsFound(t *testing.T) {
	t.Parallel()
	const name = "commands/documentation/documentation.write-brief.yaml"
	tests := map[string]struct{ rule, old, new string }{
		"useless": {"mutations/useful", "validators:\n", "validators:\n  - {id: few, kind: count, at: facts, max: 99, severity: error, message: Fewer.}\n"},
		"missing": {"mutations/killed", "kind: language", "kind: none"},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			files := copyOf(t)
			text := strings.Replace(string(files[name].Data), tt.old, tt.new, 1)
			if tt.rule == "mutations/killed" {
				text = strings.NewReplacer("kind: unique", "kind: none", "kind: length", "kind: none", "kind: numbers", "kind: none").Replace(text)
			}
			files[name] = &fstest.MapFile{Data: []byte(text)}
			lib, err := library.Load(files)
			if err != nil {
				t.Fatal(err)
			}
			tmpl, _ := lib.Template("documentation.write-brief")
			found := liblint.CheckMutations(tmpl)
			if !slices.ContainsFunc(found, func(f liblint.Finding) bool { return f.Rule == tt.rule }) {
				t.Errorf("nothing was found; findings: %v", found)
			}
		})
	}
}

func TestATemplateThatSaysTheSameAsAnotherIsFound(t *testing.T) {
	t.Parallel()
	files := copyOf(t)
	data := string(files["commands/documentation/documentation.write-brief.yaml"].Data)
	data = strings.Replace(data, "id: documentation.write-brief\n", "id: documentation.write-summary\n", 1)
	files["commands/documentation/documentation.write-summary.yaml"] = &fstest.MapFile{Data: []byte(data)}
	lib, err := library.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range liblint.Check(lib) {
		if f.Rule == "similarity/shingles" && strings.Contains(f.Text, "documentation.write-brief") {
			return
		}
	}
	t.Error("the copy was not found")
}

func copyOf(t *testing.T) fstest.MapFS {
	t.Helper()
	all, source := fstest.MapFS{}, os.DirFS("../../library")
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
