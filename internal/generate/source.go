package main

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// source is what the comments in the code say: `events.RunStarted` and
// `events.RunStarted.Inputs` → text.
type source map[string]string

// readSource reads the packages whose types appear in events and commands.
func readSource(root string) (source, error) {
	src := source{}
	for _, name := range []string{"domain", "events", "commands"} {
		fset := token.NewFileSet()
		paths, err := filepath.Glob(filepath.Join(root, name, "*.go"))
		if err != nil {
			return nil, err
		}
		var files []*ast.File
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			if err != nil {
				return nil, fmt.Errorf("read the comments: %w", err)
			}
			files = append(files, file)
		}
		pkg, err := doc.NewFromFiles(fset, files, name)
		if err != nil {
			return nil, fmt.Errorf("read the comments of %s: %w", name, err)
		}
		for _, t := range pkg.Types {
			src.addType(name, t)
		}
	}
	return src, nil
}

func (s source) addType(pkg string, t *doc.Type) {
	for _, spec := range t.Decl.Specs {
		ts := spec.(*ast.TypeSpec)
		if ts.Name.Name != t.Name {
			continue
		}
		s[pkg+"."+t.Name] = oneLine(t.Doc)
		st, ok := ts.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range st.Fields.List {
			text := f.Doc.Text()
			if text == "" {
				text = f.Comment.Text()
			}
			for _, n := range f.Names {
				s[pkg+"."+t.Name+"."+n.Name] = oneLine(text)
			}
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// sentence is the comment of a type without its name: "begins a run …" becomes
// "Begins a run …".
func (s source) sentence(pkg, typeName string) string {
	text := strings.TrimPrefix(strings.TrimPrefix(s[pkg+"."+typeName], typeName+" "), "is ")
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
