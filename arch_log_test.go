package hishamos_test

import (
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEveryLogAttributeIsInTheOneList compares the names that log calls use with
// the constants of internal/telemetry, so that a query for one part of the
// program works for all.
func TestEveryLogAttributeIsInTheOneList(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	var files []parsed
	for _, p := range packages(t) {
		for _, f := range parseFiles(t, p, p.GoFiles...) {
			files = append(files, f)
			if p.ImportPath == "internal/telemetry" && f.name == "telemetry.go" {
				maps.Copy(known, f.texts())
			}
		}
	}
	if !known["stream"] || !known["error"] {
		t.Fatal("the list was not found")
	}
	calls := 0
	for _, f := range files {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			attrs, ok := attributes(call)
			if !ok {
				return true
			}
			calls++
			for i := 0; i < len(attrs); i += 2 {
				if lit, ok := attrs[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if name, err := strconv.Unquote(lit.Value); err != nil || !known[name] {
						t.Errorf("%s: the log attribute %q is not in internal/telemetry/telemetry.go", f.at(lit), name)
					}
				}
			}
			return true
		})
	}
	if calls < 40 {
		t.Errorf("only %d log calls were found", calls)
	}
}

// texts are the string constants of a file.
func (f parsed) texts() map[string]bool {
	out := map[string]bool{}
	for _, d := range f.syntax.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, s := range group.Specs {
			for _, v := range s.(*ast.ValueSpec).Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						out[text] = true
					}
				}
			}
		}
	}
	return out
}

// attributes returns the names and values that a call of a slog.Logger takes.
func attributes(call *ast.CallExpr) ([]ast.Expr, bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil, false
	}
	at := slices.Index([]string{"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext"}, method.Sel.Name)
	if at < 0 {
		return nil, false
	}
	receiver := ""
	switch x := method.X.(type) {
	case *ast.SelectorExpr:
		receiver = x.Sel.Name
	case *ast.Ident:
		receiver = x.Name
	case *ast.CallExpr:
		if s, ok := x.Fun.(*ast.SelectorExpr); ok {
			receiver = s.Sel.Name
		}
	}
	if !strings.Contains(strings.ToLower(receiver), "log") {
		return nil, false
	}
	skip := 1
	if at >= 4 {
		skip = 2
	}
	if len(call.Args) < skip {
		return nil, false
	}
	return call.Args[skip:], true
}
