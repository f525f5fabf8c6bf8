package hishamos_test

import (
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// TestTheTableForbidsWhatTheDesignForbids keeps the table of packages from being
// loosened until it says nothing.
func TestTheTableForbidsWhatTheDesignForbids(t *testing.T) {
	t.Parallel()
	rules := readDoc(t)
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"domain", "events", false},
		{"domain/run", "domain/workflow", false},
		{"domain/run", "internal/eventstore", false},
		{"domain/run", "domain/expr", true},
		{"events", "commands", false},
		{"projections", "commands", false},
		{"projections", "domain/run", false},
		{"handlers", "internal/eventstore", false},
		{"handlers", "projections", false},
		{"api", "internal/eventstore", false},
		{"api", "internal/dispatch", false},
		{"api", "domain/run", false},
		{"cmd/hish", "internal/eventstore", false},
		{"cmd/hish", "internal/pg", false},
		{"internal/dispatch", "domain/run", false},
		{"internal/dispatch", "internal/eventstore/postgres", false},
		{"internal/relay", "internal/log", true},
		{"internal/relay", "internal/log/kafka", false},
		{"internal/log/kafka", "internal/log", true},
		{"internal/log", "internal/eventstore", false},
		{"internal/eventstore", "projections", false},
		{"cmd/hishamos", "internal/eventstore/postgres", true},
	} {
		rule, ok := rules.packageRule(c.from)
		if !ok {
			t.Errorf("%s has no row", c.from)
		} else if got := rule.allows(c.from, c.to); got != c.allowed {
			t.Errorf("%s may import %s: %v, want %v", c.from, c.to, got, c.allowed)
		}
	}
	for library, never := range map[string][]string{
		"github.com/jackc/pgx/v5/pgxpool": {"api", "cmd/hish", "domain", "events", "handlers", "internal/dispatch", "internal/relay"},
		"github.com/IBM/sarama":           {"api", "cmd/hish", "handlers", "internal/projection", "internal/relay", "projections"},
		"github.com/gin-gonic/gin":        {"cmd/hish", "handlers", "internal/auth", "internal/live"},
	} {
		_, users, ok := rules.libraryRule(library)
		if !ok {
			t.Errorf("%s has no row", library)
		}
		for _, n := range never {
			if slices.Contains(users, n) {
				t.Errorf("%s may use %s", n, library)
			}
		}
	}
}

func TestTheChecksOfTheCodeFindWhatTheyLookFor(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int{
		`import "time"; func f() { time.Now() }`:                                             1,
		`import clock "time"; func f() { clock.Sleep(1); clock.Since(x) }`:                   2,
		`import "math/rand/v2"`:                                                              1,
		`import "time"; func f(t time.Time) time.Duration { return t.Sub(t) + time.Second }`: 0,
	} {
		if got := parseText(t, code).impurities(); len(got) != want {
			t.Errorf("%s: found %v, want %d", code, got, want)
		}
	}
	for code, want := range map[string]int{
		`func init() {}`:                     1,
		`var Hook func()`:                    1,
		`var Hook = func() {}`:               1,
		`var hook = func() {}`:               0,
		`var Limits = []int{1}; func F() {}`: 0,
	} {
		if got := parseText(t, code).importEffects(); len(got) != want {
			t.Errorf("%s: found %v, want %d", code, got, want)
		}
	}
	for code, want := range map[string]int{
		"const q = `update  runs\nset state = ''`":                               1,
		"const q = `insert into runs_history select 1`":                          1,
		"const q = `select 1 from runs for update`":                              0,
		"const q = `update runs_elsewhere set a = 1; delete from reaction_runs`": 0,
	} {
		if got := parseText(t, code).writesAny([]string{"runs", "runs_history"}); len(got) != want {
			t.Errorf("%s: found %v, want %d", code, got, want)
		}
	}
	for code, want := range map[string]int{
		`import "x/internal/pg"; type t struct { w pg.Writer; o pg.Owner }`: 2,
		`import "github.com/jackc/pgx/v5/pgxpool"`:                          1,
		`func f(r reader) { r.Everyone().Query() }`:                         1,
		`func f(r reader) { r.Of(t).Query() }`:                              0,
	} {
		if got := parseText(t, code).wrongPools(readDoc(t)); len(got) != want {
			t.Errorf("%s: found %v, want %d", code, got, want)
		}
	}
	test := parseText(t, `func TestX(t *testing.T) { storetest.Exercise(t, New) }; func (S) Submit() {}`)
	if !calls([]parsed{test}, "storetest", "Exercise") || calls([]parsed{test}, "logtest", "Exercise") {
		t.Error("the call of a suite is not recognised")
	}
	if !declaresMethod([]parsed{test}, "Submit") || declaresMethod([]parsed{test}, "TestX") {
		t.Error("an implementation is not recognised")
	}
}

func parseText(t *testing.T, code string) parsed {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "x.go", "package x; "+code, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return parsed{name: "x.go", syntax: file, fset: fset}
}
