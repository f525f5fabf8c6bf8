package hishamos_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/hishamos/hishamos"

// planned are packages of the tree that have a row and are not written yet.
var planned = []string{}

// pkg is what the go command says of a package of this module, with the module
// path cut off; "." is the root.
type pkg struct {
	ImportPath, Dir, Doc               string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
}

// list asks the go command once for all packages.
var list = sync.OnceValues(func() ([]pkg, error) {
	out, err := goList("-e", "-json=ImportPath,Dir,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports", "./...")
	if err != nil {
		return nil, err
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		p.ImportPath = short(p.ImportPath)
		all = append(all, p)
	}
})

func goList(args ...string) (string, error) {
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

func packages(t *testing.T) []pkg {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// short cuts the module path off; the root becomes ".".
func short(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func TestAPackageImportsOnlyWhatItsRowAllows(t *testing.T) {
	t.Parallel()
	rules := readDoc(t)
	for _, p := range packages(t) {
		if isKit(p.ImportPath) {
			continue
		}
		rule, ok := rules.packageRule(p.ImportPath)
		if !ok {
			if p.ImportPath != "." && len(p.GoFiles) > 0 {
				t.Errorf("%s has no row in the table of doc.go: say what it may import", p.ImportPath)
			}
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module) {
				continue
			}
			if other := short(imported); !rule.allows(p.ImportPath, other) {
				t.Errorf("%s imports %s, but may import only %s%s", p.ImportPath, other, strings.Join(rule.allowed, ", "), rule.because())
			}
		}
	}
}

func TestOnlyTestsImportTestKits(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module) && isKit(imported) && !isKit(p.ImportPath) {
				t.Errorf("%s imports the test kit %s outside its tests", p.ImportPath, short(imported))
			}
		}
	}
}

func isKit(importPath string) bool { return strings.HasSuffix(path.Base(importPath), "test") }

func TestALibraryIsUsedOnlyWhereItsRowAllows(t *testing.T) {
	t.Parallel()
	rules := readDoc(t)
	for _, p := range packages(t) {
		if isKit(p.ImportPath) {
			continue
		}
		for _, imported := range p.Imports {
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || imported == module || strings.HasPrefix(imported, module+"/") {
				continue // the standard library, or ours
			}
			library, users, ok := rules.libraryRule(imported)
			switch {
			case !ok:
				t.Errorf("%s uses %s, which has no row in the table of doc.go", p.ImportPath, imported)
			case slices.Contains(users, "tests"):
				t.Errorf("%s uses %s, which is for tests", p.ImportPath, library)
			case p.ImportPath != "cmd/hishamos" && !slices.Contains(users, p.ImportPath):
				t.Errorf("%s uses %s, which is for %s: go through one of these", p.ImportPath, imported, strings.Join(users, ", "))
			}
		}
	}
}

func TestTheClientLinksNoPartOfTheServer(t *testing.T) {
	t.Parallel()
	out, err := goList("-deps", "./cmd/hish")
	if err != nil {
		t.Fatal(err)
	}
	forbidden := []string{
		"github.com/jackc/pgx/v5", "github.com/IBM/sarama", "github.com/ThreeDotsLabs/watermill", "github.com/gin-gonic/gin",
		module + "/internal/eventstore", module + "/internal/dispatch", module + "/internal/log",
	}
	for _, dep := range strings.Fields(out) {
		for _, f := range forbidden {
			if dep == f || strings.HasPrefix(dep, f+"/") {
				t.Errorf("cmd/hish depends on %s: the client speaks HTTP and stays small", dep)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment: say what it is, what it must not know, what it may import, where to start", p.ImportPath)
		}
	}
}

func TestEveryRowNamesPackagesAndLibrariesThatExist(t *testing.T) {
	t.Parallel()
	rules := readDoc(t)
	known := func(where, name string) {
		if slices.Contains([]string{"nothing", "everything", "tests"}, name) || slices.Contains(planned, strings.TrimSuffix(name, "/...")) {
			return
		}
		if !exists(t, strings.TrimSuffix(name, "/...")) {
			t.Errorf("%s names %s, which does not exist: remove it, or list it as planned", where, name)
		}
	}
	for _, r := range rules.packages {
		known("the table of packages", r.of)
		for _, a := range r.allowed {
			known("the row of "+r.of, a)
		}
		if !slices.IsSorted(r.allowed) {
			t.Errorf("the row of %s is not in alphabetical order", r.of)
		}
	}
	for _, l := range rules.libraries {
		for _, u := range l.users {
			known("the row of "+l.path, u)
		}
		if !slices.IsSorted(l.users) {
			t.Errorf("the row of %s is not in alphabetical order", l.path)
		}
	}
	for _, p := range planned {
		if exists(t, p) {
			t.Errorf("%s is listed as planned, but exists", p)
		}
	}
	names := make([]string, len(rules.libraries))
	for i, l := range rules.libraries {
		names[i] = l.path
	}
	direct := directDependencies(t, "go.mod")
	slices.Sort(direct)
	slices.Sort(names)
	for _, d := range direct {
		if !slices.Contains(names, d) {
			t.Errorf("%s is required by go.mod and has no row in the table of libraries", d)
		}
	}
	for _, n := range names {
		if !slices.Contains(direct, n) {
			t.Errorf("%s has a row in the table of libraries, but go.mod does not require it directly", n)
		}
	}
}

// exists reports whether a folder of the module holds a package, itself or
// below it.
func exists(t *testing.T, folder string) bool {
	t.Helper()
	return slices.ContainsFunc(packages(t), func(p pkg) bool {
		return p.ImportPath == folder || strings.HasPrefix(p.ImportPath, folder+"/")
	})
}

func TestEveryDependencyHasAReason(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/reference/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		name := strings.Trim(strings.TrimSpace(cells[1]), "`")
		if strings.TrimSpace(cells[2]) == "" {
			t.Errorf("dependencies.md gives no reason for %s", name)
		}
		reasons[name] = true
	}
	var required []string
	for _, file := range []string{"go.mod", "internal/tools/go.mod", "internal/tools/alerts/go.mod"} {
		required = append(required, directDependencies(t, file)...)
	}
	slices.Sort(required)
	for _, r := range slices.Compact(required) { // two modules may have one
		if !reasons[r] {
			t.Errorf("%s has no line in docs/reference/dependencies.md", r)
		}
		delete(reasons, r)
	}
	for left := range reasons {
		t.Errorf("docs/reference/dependencies.md explains %s, which nothing requires", left)
	}
}

// directDependencies are the modules that a go.mod file requires directly; for
// the file of the tools, where the go command marks all as indirect, the modules
// of its tools.
func directDependencies(t *testing.T, file string) []string {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", file).Output()
	if err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []struct{ Old struct{ Path string } }
		Tool    []struct{ Path string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	for _, r := range mod.Replace {
		t.Errorf("%s replaces %s: a program must be the same wherever it is built", file, r.Old.Path)
	}
	var direct []string
	for _, r := range mod.Require {
		isTool := false
		for _, tool := range mod.Tool {
			isTool = isTool || strings.HasPrefix(tool.Path+"/", r.Path+"/")
		}
		if !r.Indirect || isTool {
			direct = append(direct, r.Path)
		}
	}
	return direct
}
