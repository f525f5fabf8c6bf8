package hishamos_test

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wide are the files that may ask for the rows of all tenants at once, and why.
var wide = map[string]string{
	"cmd/hishamos/door.go":                    "a secret tells which tenant its token is of",
	"internal/eventstore/postgres/queries.go": "an instant of the past is looked up; operators read the whole log",
}

func TestAPoolIsHeldOnlyByThoseItIsFor(t *testing.T) {
	t.Parallel()
	rules := readDoc(t)
	for _, p := range packages(t) {
		if isKit(p.ImportPath) || p.ImportPath == "internal/pg" {
			continue
		}
		for _, f := range parseFiles(t, p, p.GoFiles...) {
			for _, problem := range f.wrongPools(rules) {
				t.Error(problem)
			}
		}
	}
}

// wrongPools finds pools in the hands of those they are not for.
func (f parsed) wrongPools(r rules) []string {
	var problems []string
	for _, rule := range r.pools {
		name := strings.TrimPrefix(rule.pool, "pg.")
		if slices.Contains(rule.holders, f.pkg.ImportPath) {
			continue
		}
		for _, s := range f.uses("pg", name) {
			problems = append(problems, f.at(s)+" holds a "+rule.pool+", which is for "+strings.Join(rule.holders, ", "))
		}
	}
	for _, spec := range f.syntax.Imports {
		if strings.Trim(spec.Path.Value, `"`) == "github.com/jackc/pgx/v5/pgxpool" {
			problems = append(problems, f.at(spec)+" imports pgxpool: take a pool of internal/pg, which says what its login may do")
		}
	}
	if wide[f.pkg.ImportPath+"/"+f.name] == "" {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok {
				if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Everyone" {
					problems = append(problems, f.at(c)+" asks for the rows of all tenants: ask as the tenant, or give the file a reason in arch_pools_test.go")
				}
			}
			return true
		})
	}
	return problems
}

// What answers requests never has the writer's pool in its hands.
func TestQueriesOfRequestsHoldNoWriter(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for file, reader := range map[string]string{"cmd/hishamos": "queries.go", "internal/eventstore/postgres": "queries.go"} {
			if p.ImportPath != file {
				continue
			}
			for _, f := range parseFiles(t, p, reader) {
				for _, s := range append(f.uses("pg", "Writer", "Owner", "Open"), f.fields("writer", "pool")...) {
					t.Error(f.at(s) + " answers requests with " + s.Sel.Name)
				}
			}
		}
		if p.ImportPath == "api" || p.ImportPath == "projections" {
			for _, f := range parseFiles(t, p, p.GoFiles...) {
				for _, s := range f.uses("pg", "Writer", "Owner", "Reader", "Open") {
					t.Error(f.at(s) + " knows a pool: it is given what it asks")
				}
			}
		}
	}
}

// fields returns the places where a file selects a field or method of a name.
func (f parsed) fields(names ...string) []*ast.SelectorExpr {
	var found []*ast.SelectorExpr
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(names, s.Sel.Name) {
			found = append(found, s)
		}
		return true
	})
	return found
}

// Only projections write read models: no other SQL names one of their tables to
// change it.
func TestOnlyProjectionsWriteReadModels(t *testing.T) {
	t.Parallel()
	tables := readModels(t)
	for _, p := range packages(t) {
		if isKit(p.ImportPath) || p.ImportPath == "internal/projection/postgres" {
			continue
		}
		for _, f := range parseFiles(t, p, p.GoFiles...) {
			for _, problem := range f.writesAny(tables) {
				t.Error(problem)
			}
		}
	}
}

// writesAny finds SQL that changes one of some tables.
func (f parsed) writesAny(tables []string) []string {
	var problems []string
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		l, ok := n.(*ast.BasicLit)
		if !ok {
			return true
		}
		text := strings.Join(strings.Fields(strings.ToLower(l.Value)), " ")
		for _, verb := range []string{"insert into ", "update ", "delete from ", "truncate ", "merge into "} {
			for _, table := range tables {
				if i := strings.Index(text, verb+table); i >= 0 && !isLetter(text[i+len(verb+table):]) {
					problems = append(problems, f.at(l)+" writes the read model "+table+": events do, by a projection")
				}
			}
		}
		return true
	})
	return problems
}

// createTable is a table of a migration, with its columns.
var createTable = regexp.MustCompile(`(?s)create table (\w+) \((.*?)\n\)`)

// readModels are the tables of the migrations whose rows belong to a build and a
// tenant.
func readModels(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for _, name := range files {
		sql, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range createTable.FindAllStringSubmatch(string(sql), -1) {
			if strings.Contains(m[2], "\n    build ") && strings.Contains(m[2], "\n    tenant ") {
				tables = append(tables, m[1])
			}
		}
	}
	if len(tables) < 11 {
		t.Fatalf("found the read models %v: too few", tables)
	}
	return tables
}

func isLetter(rest string) bool {
	return rest != "" && (rest[0] == '_' || rest[0] >= 'a' && rest[0] <= 'z')
}
