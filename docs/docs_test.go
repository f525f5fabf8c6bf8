// Package docs is the documentation; its test keeps it from rotting. It has no
// code of its own.
package docs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/domain/workflow"
	"github.com/hishamos/hishamos/library"
)

const root = ".."

// pages returns every Markdown file of the repository that people read.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	read := func(path string) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = string(content)
	}
	read(filepath.Join(root, "README.md"))
	read(filepath.Join(root, "CONTRIBUTING.md"))
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			content, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s links to %s, which does not exist", page, m[1])
			} else if fragment != "" && !hasHeading(content, fragment) {
				t.Errorf("%s links to %s, but the page has no such heading", page, m[1])
			}
		}
	}
}

func hasHeading(content []byte, fragment string) bool {
	for line := range bytes.Lines(content) {
		if text, ok := bytes.CutPrefix(line, []byte("#")); ok {
			heading := strings.ToLower(strings.Trim(string(text), "# \n"))
			heading = strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9_ -]`).ReplaceAllString(heading, ""), " ", "-")
			if heading == fragment {
				return true
			}
		}
	}
	return false
}

func TestEveryPageCanBeReachedFromTheIndex(t *testing.T) {
	t.Parallel()
	all := pages(t)
	seen := map[string]bool{}
	var visit func(page string)
	visit = func(page string) {
		if seen[page] {
			return
		}
		seen[page] = true
		for _, m := range link.FindAllStringSubmatch(all[page], -1) {
			target, _, _ := strings.Cut(m[1], "#")
			visit(filepath.Join(filepath.Dir(page), target))
		}
	}
	visit("README.md")
	for page := range all {
		if !seen[page] && !strings.HasPrefix(page, root) {
			t.Errorf("no page that starts at docs/README.md leads to %s", page)
		}
	}
}

func TestTheReadmeIsShort(t *testing.T) {
	t.Parallel()
	if n := strings.Count(pages(t)[filepath.Join(root, "README.md")], "\n"); n > 200 {
		t.Errorf("the README has %d lines, more than 200", n)
	}
}

// TestTheWorkflowOfTheGuideIsAccepted reads the example as the server would.
func TestTheWorkflowOfTheGuideIsAccepted(t *testing.T) {
	t.Parallel()
	text := pages(t)["how-to/own-workflow.md"]
	_, after, ok := strings.Cut(text, "```yaml\n")
	example, _, closed := strings.Cut(after, "```")
	if !ok || !closed {
		t.Fatal("the guide has no example")
	}
	lib, err := library.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lib.ParseWorkflow("own-workflow.md", []byte(example), workflow.Check); err != nil {
		t.Error(err)
	}
}

var makeTarget = regexp.MustCompile("(?m)(?:^    |`)make ([a-z-]+)")

func TestEveryMakeTargetThatIsNamedExists(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for page, text := range pages(t) {
		for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
			if !bytes.Contains(makefile, []byte("\n"+m[1]+":")) {
				t.Errorf("%s names `make %s`, which is no target", page, m[1])
			}
		}
	}
}
