package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/domain"
)

// kinds are the constants of domain.ErrorKind by their Go names.
var kinds = map[string]domain.ErrorKind{
	"Invalid": domain.Invalid, "Unauthenticated": domain.Unauthenticated, "Forbidden": domain.Forbidden, "NotFound": domain.NotFound,
	"Conflict": domain.Conflict, "Stale": domain.Stale, "Exhausted": domain.Exhausted, "TooLarge": domain.TooLarge,
	"Unavailable": domain.Unavailable, "Unknown": domain.Unknown, "Internal": domain.Internal,
}

// problems finds every error with a code in the code: the literals of
// domain.Error. The codes are part of the interface, so that each is written out.
func problems(root string) ([]api.Explanation, error) {
	found := map[string]api.Explanation{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || strings.HasSuffix(name, "test")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		var failed error
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok || !isError(literal.Type, file.Name.Name) || len(literal.Elts) == 0 {
				return true
			}
			e, err := explanationOf(literal)
			if err == nil && e.Code == "" { // it is made of another
				return true
			}
			if err != nil {
				failed = fmt.Errorf("%s: %w", fset.Position(literal.Pos()), err)
				return false
			}
			if old, twice := found[e.Code]; !twice || len(old.Meaning)+len(old.Fix) < len(e.Meaning)+len(e.Fix) {
				found[e.Code] = e
			}
			return true
		})
		return failed
	})
	if err != nil {
		return nil, fmt.Errorf("find the problems: %w", err)
	}
	all := make([]api.Explanation, 0, len(found))
	for _, e := range found {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b api.Explanation) int { return cmp.Compare(a.Code, b.Code) })
	return all, nil
}

func isError(t ast.Expr, pkg string) bool {
	switch t := t.(type) {
	case *ast.SelectorExpr:
		x, ok := t.X.(*ast.Ident)
		return ok && x.Name == "domain" && t.Sel.Name == "Error"
	case *ast.Ident:
		return pkg == "domain" && t.Name == "Error"
	}
	return false
}

// explanationOf reads one literal. Only what is written out counts: a message
// that is put together at run time is that of its occasion.
func explanationOf(literal *ast.CompositeLit) (api.Explanation, error) {
	e := domain.Error{}
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			return api.Explanation{}, fmt.Errorf("an error is written with the names of its fields")
		}
		text := ""
		if v, ok := pair.Value.(*ast.BasicLit); ok && v.Kind == token.STRING {
			var err error
			if text, err = strconv.Unquote(v.Value); err != nil {
				return api.Explanation{}, fmt.Errorf("read the text %s: %w", v.Value, err)
			}
		}
		switch pair.Key.(*ast.Ident).Name {
		case "Kind":
			name := pair.Value
			if s, ok := name.(*ast.SelectorExpr); ok {
				name = s.Sel
			}
			if id, ok := name.(*ast.Ident); ok {
				e.Kind = kinds[id.Name]
			}
		case "Code":
			if e.Code = text; text == "" {
				if _, copied := pair.Value.(*ast.SelectorExpr); !copied {
					return api.Explanation{}, fmt.Errorf("the code of an error is written out, as it is part of the interface")
				}
				return api.Explanation{}, nil
			}
		case "Message":
			e.Message = text
		case "Field":
			e.Field = "named" // whether there is one decides the status
		case "Fix":
			e.Fix = text
		}
	}
	if e.Code == "" { // it never leaves the place where it is made
		return api.Explanation{}, nil
	}
	if e.Kind == "" { // it depends on the occasion
		e.Kind = domain.Invalid
	}
	if e.Message == "" {
		e.Message = "the message says what happened"
	}
	return api.Explanation{Code: e.Code, Status: api.StatusOf(&e), Meaning: e.Message, Fix: e.Fix}, nil
}

// problemsJSON is what the server's pages of problems are made of.
func problemsJSON(all []api.Explanation) ([]byte, error) {
	out, err := json.MarshalIndent(all, "", "  ")
	return append(out, '\n'), err
}

func problemsPage(all []api.Explanation) []byte {
	var b strings.Builder
	b.WriteString("# Problems\n\n" + pageNote)
	b.WriteString("Every error has a code that stays. The API answers with it as problem+json (RFC 9457), whose `type` is `/problems/<code>`: a page of the server that says the same as this one. " +
		"On the command line it is one sentence and an [exit code](exit-codes.md); codes of programs, such as `config.invalid`, are met only there. " +
		"A message can be more precise than the meaning given here. Status 422 names the field in `field`, and all of them in `errors`.\n\n")
	b.WriteString("| code | status | meaning | what to do |\n|---|---|---|---|\n")
	for _, e := range all {
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", e.Code, e.Status, cell(e.Meaning), cell(e.Fix))
	}
	return []byte(b.String())
}
