package main

import "github.com/spf13/cobra"

// examples are shown by --help; a test knows that every command has one and that
// each is a command line that is understood.
var examples = map[string]string{
	"hish agent list":        "hish agent list --capability requirements",
	"hish agent show":        "hish agent show business-analyst",
	"hish analytics":         "hish analytics agents --from 2026-11-01 --to 2026-11-30",
	"hish erase person":      "hish erase person ada --yes",
	"hish run erase":         "hish run erase run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a --yes",
	"hish file get":          "hish file get file_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a -o plan.pdf",
	"hish file list":         "hish file list --state uploading",
	"hish file remove":       "hish file remove file_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a --yes",
	"hish file show":         "hish file show file_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a",
	"hish file upload":       "hish file upload plan.pdf --type application/pdf",
	"hish log export":        "hish log export --type run -o runs.jsonl",
	"hish log head":          "hish log head --json",
	"hish log tail":          "hish log tail --type run.completed,run.failed",
	"hish run cancel":        "hish run cancel run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a --reason mistaken",
	"hish run events":        "hish run events run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a --json",
	"hish run list":          "hish run list --state failed --since 24h",
	"hish run show":          "hish run show run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a --at 2026-11-23T09:30:00Z",
	"hish run start":         "hish run start requirements-to-user-stories --input requirements=@requirements.md --watch",
	"hish run tail":          "hish run tail --state failed",
	"hish run watch":         "hish run watch run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a",
	"hish server asyncapi":   "hish server asyncapi",
	"hish server health":     "hish server health",
	"hish server metrics":    "hish server metrics",
	"hish server openapi":    "hish server openapi",
	"hish server ready":      "hish server ready --json",
	"hish server schema":     "hish server schema run.started.v1",
	"hish task create":       "hish task create --agent business-analyst --template requirements.extract-requirements -i document=@brief.md",
	"hish task list":         "hish task list --agent coding --state failed",
	"hish task show":         "hish task show run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a.task",
	"hish task tail":         "hish task tail --agent coding",
	"hish template list":     "hish template list --category requirements",
	"hish template show":     "hish template show requirements.write-user-stories",
	"hish token list":        "hish token list --at 2026-11-23T09:30:00Z",
	"hish token rotate":      "hish token rotate --json",
	"hish token show":        "hish token show",
	"hish version":           "hish version --json",
	"hish workflow archive":  "hish workflow archive my-review",
	"hish workflow copy":     "hish workflow copy code-review my-review --title 'Our review'",
	"hish workflow create":   "hish workflow create -f my-review.yaml",
	"hish workflow edit":     "hish workflow edit my-review",
	"hish workflow list":     "hish workflow list --archived",
	"hish workflow show":     "hish workflow show two-step > my-review.yaml",
	"hish workflow versions": "hish workflow versions my-review",
}

func addExamples(c *cobra.Command) {
	if text, ok := examples[c.CommandPath()]; ok {
		c.Example = "  " + text
	}
	for _, child := range c.Commands() {
		addExamples(child)
	}
}
