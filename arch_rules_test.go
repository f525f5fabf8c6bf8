package hishamos_test

import (
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// rules are the tables of doc.go.
type rules struct {
	pools     []poolRule
	packages  []packageRule
	libraries []libraryRule
}

type packageRule struct {
	of      string // a package, or x/... for those below x
	allowed []string
	reason  string
}

type poolRule struct {
	pool    string // pg.Writer
	holders []string
}

type libraryRule struct {
	path  string
	users []string
}

// readDoc parses the tables: the documentation is the rule.
func readDoc(t *testing.T) rules {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var r rules
	for line := range strings.Lines(file.Doc.Text()) {
		if !strings.HasPrefix(line, "\t") {
			continue
		}
		line = strings.TrimSpace(line)
		if of, rest, ok := strings.Cut(line, "→"); ok {
			allowed, reason, _ := strings.Cut(rest, "|")
			r.packages = append(r.packages, packageRule{strings.TrimSpace(of), names(allowed), strings.TrimSpace(reason)})
		} else if pool, rest, ok := strings.Cut(line, " by "); ok {
			holders, _, _ := strings.Cut(rest, "|")
			r.pools = append(r.pools, poolRule{strings.TrimSpace(pool), names(holders)})
		} else if library, users, ok := strings.Cut(line, " in "); ok {
			r.libraries = append(r.libraries, libraryRule{strings.TrimSpace(library), names(users)})
		} else {
			t.Fatalf("doc.go: %q is a row of no table", line)
		}
	}
	if len(r.packages) < 20 || len(r.libraries) < 10 || len(r.pools) < 4 {
		t.Fatalf("doc.go has %d packages, %d libraries and %d pools: the tables were not found", len(r.packages), len(r.libraries), len(r.pools))
	}
	return r
}

func names(list string) []string {
	var out []string
	for n := range strings.SplitSeq(list, ",") {
		out = append(out, strings.TrimSpace(n))
	}
	return out
}

// packageRule returns the most precise row for a package.
func (r rules) packageRule(importPath string) (packageRule, bool) {
	var best packageRule
	precision := -1
	for _, rule := range r.packages {
		parent, below := strings.CutSuffix(rule.of, "/...")
		switch {
		case importPath == rule.of:
			return rule, true
		case below && strings.HasPrefix(importPath, parent+"/") && len(parent) > precision,
			below && importPath == parent && strings.HasPrefix(parent, "internal/") && len(parent) > precision:
			best, precision = rule, len(parent)
		}
	}
	return best, precision >= 0
}

// allows reports whether the row lets a package import another.
func (r packageRule) allows(from, to string) bool {
	if slices.Contains(r.allowed, "everything") || slices.Contains(r.allowed, to) {
		return true
	}
	family, ok := familyOf(from)
	other, ok2 := familyOf(to)
	return ok && ok2 && family == other
}

func (r packageRule) because() string {
	if r.reason == "" {
		return ""
	}
	return ": " + r.reason
}

// familyOf is internal/<name>, which a contract shares with its implementations.
func familyOf(importPath string) (string, bool) {
	rest, ok := strings.CutPrefix(importPath, "internal/")
	name, _, _ := strings.Cut(rest, "/")
	return path.Join("internal", name), ok
}

// libraryRule returns the row of the library that a package belongs to.
func (r rules) libraryRule(imported string) (library string, users []string, ok bool) {
	for _, l := range r.libraries {
		if (imported == l.path || strings.HasPrefix(imported, l.path+"/")) && len(l.path) > len(library) {
			library, users, ok = l.path, l.users, true
		}
	}
	return library, users, ok
}
