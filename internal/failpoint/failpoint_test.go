package failpoint_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/internal/failpoint"
)

// mark is a mark in the code.
var mark = regexp.MustCompile(`failpoint\.(?:Hit|Err)\("([^"]+)"\)`)

func TestEveryNameIsInTheCodeOnceAndWhereTheListSays(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path != root && strings.ContainsAny(d.Name()[:1], "._") || d.Name() == "bin"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		short, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, m := range mark.FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1]+" in "+filepath.ToSlash(short))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, p := range failpoint.Names() {
		listed = append(listed, p.Name+" in "+p.File)
	}
	slices.Sort(found)
	slices.Sort(listed)
	if diff := cmp.Diff(listed, found); diff != "" {
		t.Errorf("the list (-) and the code (+) differ:\n%s", diff)
	}
}

// program is a program with one mark.
const program = `package main

import (
	"fmt"

	"github.com/hishamos/hishamos/internal/failpoint"
)

func main() {
	for i := range 3 {
		fmt.Println(i, failpoint.Err("append.locked"))
	}
}
`

// build makes the program, with the tag or without.
func build(t *testing.T, tags string) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "_program") // a name that patterns leave out
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-tags", tags, "-o", bin, "./"+dir).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func TestAMarkActsAtItsHitOnlyInABuildWithTheTag(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ tags, arm, out, end string }{
		{"", "append.locked=kill@1", "0 <nil>\n1 <nil>\n2 <nil>\n", ""},
		{"failpoints", "", "0 <nil>\n1 <nil>\n2 <nil>\n", ""},
		{"failpoints", "append.locked=kill@3", "0 <nil>\n1 <nil>\n", "signal: killed"},
		{"failpoints", "append.locked=error@2", "0 <nil>\n1 failpoint append.locked\n2 <nil>\n", ""},
		{"failpoints", "append.locked=sleep:1ms", "0 <nil>\n1 <nil>\n2 <nil>\n", ""},
		{"failpoints", "append.lokked=kill", "", "exit status 2"},
	} {
		cmd := exec.Command(build(t, c.tags))
		cmd.Env = append(os.Environ(), failpoint.EnvArm+"="+c.arm)
		out, err := cmd.Output()
		end := ""
		if err != nil {
			end = err.Error()
		}
		if string(out) != c.out || end != c.end {
			t.Errorf("tags %q, %q: printed %q and ended %q, want %q and %q", c.tags, c.arm, out, end, c.out, c.end)
		}
	}
}

func TestAReleasedProgramHoldsNoMark(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile(build(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range []string{"append.locked", failpoint.EnvArm} {
		if bytes.Contains(program, []byte(trace)) {
			t.Errorf("the program holds %q", trace)
		}
	}
}
