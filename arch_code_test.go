package hishamos_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// longest is the number of lines after which a file is split.
const longest = 500

// parsed is one Go file of the module.
type parsed struct {
	pkg    pkg
	name   string // relative to the package's folder
	syntax *ast.File
	fset   *token.FileSet
}

func parseFiles(t *testing.T, p pkg, files ...string) []parsed {
	t.Helper()
	var out []parsed
	for _, name := range files {
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", p.ImportPath, err)
			continue
		}
		out = append(out, parsed{p, name, syntax, fset})
	}
	return out
}

func (f parsed) at(n ast.Node) string {
	return f.pkg.ImportPath + "/" + f.name + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

func TestDecisionsKnowNoClockAndNoChance(t *testing.T) {
	t.Parallel()
	pure := []string{"commands", "domain", "events", "handlers", "projections"}
	for _, p := range packages(t) {
		if top, _, _ := strings.Cut(p.ImportPath, "/"); !slices.Contains(pure, top) {
			continue
		}
		for _, f := range parseFiles(t, p, p.GoFiles...) {
			for _, problem := range f.impurities() {
				t.Error(problem)
			}
		}
	}
}

// impure are imports whose members, or all of which (nil), tie a decision to
// the moment or the place where it is made.
var impure = map[string][]string{
	"time":        {"Now", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Since", "Until"},
	"crypto/rand": nil, "math/rand": nil, "math/rand/v2": nil,
	"os": nil, "net": nil, "net/http": nil, "database/sql": nil,
}

func (f parsed) impurities() []string {
	var problems []string
	for _, spec := range f.syntax.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		members, known := impure[imported]
		if known && members == nil {
			problems = append(problems, f.at(spec)+" imports "+imported+": clock, chance and input come as arguments")
			continue
		}
		local := filepath.Base(imported)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		for _, s := range f.uses(local, members...) {
			problems = append(problems, f.at(s)+" uses "+imported+"."+s.Sel.Name+": the instant is an argument")
		}
	}
	return problems
}

// uses returns the places where a file names one of an import's members.
func (f parsed) uses(local string, members ...string) []*ast.SelectorExpr {
	var found []*ast.SelectorExpr
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == local && slices.Contains(members, s.Sel.Name) {
				found = append(found, s)
			}
		}
		return true
	})
	return found
}

func TestNothingHappensByImporting(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, f := range parseFiles(t, p, p.GoFiles...) {
			for _, problem := range f.importEffects() {
				t.Error(problem)
			}
		}
	}
}

// importEffects finds init functions, and exported variables that hold a
// function and so could be replaced from outside.
func (f parsed) importEffects() []string {
	var problems []string
	for _, decl := range f.syntax.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				problems = append(problems, f.at(d)+" has an init function: list it where it is used")
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || d.Tok != token.VAR {
					continue
				}
				for i, name := range v.Names {
					_, isFunc := v.Type.(*ast.FuncType)
					if i < len(v.Values) && !isFunc {
						_, isFunc = v.Values[i].(*ast.FuncLit)
					}
					if isFunc && name.IsExported() {
						problems = append(problems, f.at(v)+" holds a function in the variable "+name.Name+", which anybody may replace: declare a function")
					}
				}
			}
		}
	}
	return problems
}

// TestEveryImplementationKeepsToItsContract finds implementations by a method
// that only they have, and the call of the suite in their tests.
func TestEveryImplementationKeepsToItsContract(t *testing.T) {
	t.Parallel()
	contracts := []struct{ below, method, suite string }{
		{"internal/eventstore/", "Submit", "storetest"},
		{"internal/keys/", "Replace", "keystest"},
		{"internal/llm/", "Complete", "llmtest"},
		{"internal/log/", "Trim", "logtest"},
	}
	for _, c := range contracts {
		found := 0
		for _, p := range packages(t) {
			if !strings.HasPrefix(p.ImportPath, c.below) || isKit(p.ImportPath) || !declaresMethod(parseFiles(t, p, p.GoFiles...), c.method) {
				continue
			}
			found++
			if !calls(parseFiles(t, p, slices.Concat(p.TestGoFiles, p.XTestGoFiles)...), c.suite, "Exercise") {
				t.Errorf("%s implements a contract, but no test of it calls %s.Exercise", p.ImportPath, c.suite)
			}
		}
		if found == 0 {
			t.Errorf("no package below %s has a method %s: name another mark of an implementation", c.below, c.method)
		}
	}
}

func declaresMethod(files []parsed, name string) bool {
	for _, f := range files {
		for _, decl := range f.syntax.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv != nil && d.Name.Name == name {
				return true
			}
		}
	}
	return false
}

func calls(files []parsed, pkgName, function string) bool {
	found := false
	for _, f := range files {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == function {
					x, ok := s.X.(*ast.Ident)
					found = found || ok && x.Name == pkgName
				}
			}
			return !found
		})
	}
	return found
}

func TestNoTestSleeps(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, f := range parseFiles(t, p, slices.Concat(p.TestGoFiles, p.XTestGoFiles)...) {
			if usesSynctest(f.syntax) { // its clock is not the wall's
				continue
			}
			for _, s := range f.uses("time", "Sleep") {
				t.Errorf("%s sleeps: wait for a signal or a position", f.at(s))
			}
		}
	}
}

func usesSynctest(f *ast.File) bool {
	return slices.ContainsFunc(f.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"testing/synctest"` })
}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			content, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Error(err)
				continue
			}
			if n := bytes.Count(content, []byte("\n")); n > longest {
				t.Errorf("%s/%s has %d lines, more than %d: split it by noun", p.ImportPath, name, n, longest)
			}
		}
	}
}
