package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/apitest"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func TestEveryCommandHasHelpAndAnExampleThatIsUnderstood(t *testing.T) {
	t.Parallel()
	a := &app{out: io.Discard, err: io.Discard}
	root := a.root()
	seen := 0
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, child := range c.Commands() {
			walk(child)
		}
		if c.HasSubCommands() || c.Name() == "help" || c.Parent() != nil && c.Parent().Name() == "completion" {
			return
		}
		seen++
		if c.Short == "" || examples[c.CommandPath()] == "" {
			t.Errorf("%s has no example: add one to examples.go", c.CommandPath())
			return
		}
		words := strings.Fields(strings.ReplaceAll(examples[c.CommandPath()], "'Our review'", "ours"))
		if i := slices.Index(words, ">"); i >= 0 {
			words = words[:i]
		}
		found, rest, err := root.Find(words[1:])
		if err != nil || found != c {
			t.Errorf("%v is not %s: %v", words, c.CommandPath(), err)
			return
		}
		if err := found.ParseFlags(rest); err != nil {
			t.Errorf("%v: %v", words, err)
		}
		if err := found.ValidateArgs(found.Flags().Args()); err != nil {
			t.Errorf("%v: %v", words, err)
		}
	}
	walk(root)
	if seen != len(examples) {
		t.Errorf("%d commands, %d examples", seen, len(examples))
	}
}

// forBrowsers are operations that nobody needs at a shell.
var forBrowsers = []string{"docs", "docs-file", "problems", "problem", "metrics", "upload-options"}

func TestEveryOperationHasACommand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	file := filepath.Join(b.home, "own.json")
	if err := os.WriteFile(file, []byte(`{"id":"own","version":0,"title":"Mine","steps":[{"id":"a","kind":"noop"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(b.home, "changed.json")
	if err := os.WriteFile(changed, []byte(`{"id":"own","version":0,"title":"Ours","steps":[{"id":"a","kind":"noop"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	id := b.start()
	for _, line := range []string{
		"run list --sort started --at 4", "run show " + id, "run events " + id, "task create --agent writer --template text.write -i notes=n", "task list", "task show " + id + ".write",
		"workflow list", "workflow show stock", "workflow create -f " + file, "workflow edit own -f " + changed, "workflow versions own", "workflow copy stock mine", "workflow archive own",
		"agent list", "agent show writer", "template list", "template show text.write", "analytics workflows", "analytics agents", "log export", "log head",
		"file list", "file upload " + file, "token list", "token show", "server health", "server ready", "server metrics", "server openapi", "server asyncapi", "server schema run.started.v1", "run cancel " + id, "run erase " + id + " --yes", "erase person ada --yes",
	} {
		b.ok(strings.Fields(line)...)
	}
	uploaded := strings.TrimSpace(b.ok("file", "upload", file))
	if out := b.ok("file", "get", uploaded); !strings.Contains(out, `"title":"Mine"`) {
		t.Errorf("the content of a file: %s", out)
	}
	b.ok("file", "show", uploaded)
	b.ok("file", "remove", uploaded, "--yes")
	client, err := hishamos.New(b.server.URL, b.server.Tokens.Secret(apitest.Everything), hishamos.Options{})
	if err != nil {
		t.Fatal(err)
	}
	begun, err := client.BeginUpload(t.Context(), hishamos.NewUpload{Size: 9}, hishamos.Command{})
	if err != nil {
		t.Fatal(err)
	}
	b.ok("file", "remove", begun.ID, "--yes")
	for _, line := range []string{"run tail --after 0", "task tail --after 0", "log tail --after 0", "run watch " + id} {
		ctx, stop := context.WithCancel(t.Context())
		first := &until{f: func(string) bool {
			if !strings.HasPrefix(line, "run watch") { // that one ends by itself
				stop()
			}
			return true
		}}
		b.hishIn(ctx, first, "", strings.Fields(line)...)
		stop()
	}
	if out := b.ok("token", "rotate", "--json"); !strings.Contains(out, `"secret": "hos_`) {
		t.Errorf("rotated: %s", out)
	}
	b.server.Close() // once it has ended, every request is logged
	called := map[string]bool{}
	for _, m := range regexp.MustCompile(`"method":"([A-Z]+)","route":"([^"]+)"`).FindAllStringSubmatch(b.server.Log.String(), -1) {
		called[m[1]+" "+m[2]] = true
	}
	for _, r := range api.Routes() {
		route := r.Method + " " + regexp.MustCompile(`\{(\w+)\}`).ReplaceAllString(r.Path, ":$1")
		if !called[route] && !slices.Contains(forBrowsers, r.Name) {
			t.Errorf("no command of hish leads to %s (%s)", r.Name, route)
		}
	}
}
