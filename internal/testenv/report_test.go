package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const lines = `
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"noise of a good test\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    bad_test.go:3: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestOn","Output":"=== RUN   TestOn\n"}
{"Action":"output","Package":"p","Test":"TestOn","Output":"    on_test.go:3: set HISHAMOS_TEST_KAFKA to a broker\n"}
{"Action":"skip","Package":"p","Test":"TestOn"}
{"Action":"output","Package":"p","Test":"TestPanics","Output":"panic: no\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"ok\tq\n"}
{"Action":"pass","Package":"q","Elapsed":1.25}
{"Action":"skip","Package":"r"}
`

func reportOf(t *testing.T, provided map[string]string) (text string, missed bool) {
	t.Helper()
	var out strings.Builder
	r := newReport(&out)
	if err := r.read("", strings.NewReader(strings.TrimSpace(lines))); err != nil {
		t.Fatal(err)
	}
	missed = r.finish(provided, false)
	return out.String(), missed
}

func TestAReportCountsAndShowsOnlyWhatFailed(t *testing.T) {
	t.Parallel()
	text, missed := reportOf(t, nil)
	for _, want := range []string{
		"packages: 1 passed, 1 failed, 1 without tests\n", "tests: 1 passed, 1 failed, 1 skipped\n",
		"bad_test.go:3: wrong\n", "panic: no\n", "FAIL\tp\t0.1s\n", "ok  q  1.2s\n",
		"skipped  p TestOn: on_test.go:3: set HISHAMOS_TEST_KAFKA to a broker\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "noise") {
		t.Errorf("the report shows what a good test wrote:\n%s", text)
	}
	if missed {
		t.Error("a skip counts as missed although nothing was provided")
	}
}

func TestASkipForLackOfWhatIsThereIsAFailure(t *testing.T) {
	t.Parallel()
	if _, missed := reportOf(t, map[string]string{"HISHAMOS_TEST_KAFKA": "127.0.0.1:9092"}); !missed {
		t.Error("a test that was skipped although its broker runs is not reported")
	}
}

func TestWhereEveryTestMustRunAnySkipIsAFailure(t *testing.T) {
	t.Parallel()
	for _, every := range []bool{false, true} {
		var out strings.Builder
		r := newReport(&out)
		if err := r.read("", strings.NewReader(strings.TrimSpace(lines))); err != nil {
			t.Fatal(err)
		}
		if missed := r.finish(nil, every); missed != every || strings.Contains(out.String(), "no test may skip itself") != every {
			t.Errorf("every test must run: %t; a skip counts as missed: %t:\n%s", every, missed, &out)
		}
	}
	if r := newReport(&strings.Builder{}); r.finish(nil, true) {
		t.Error("a run without skips counts as missed")
	}
}

func TestTheSwitchOfThisProgramIsNotPassedOn(t *testing.T) {
	t.Parallel()
	e := environment{postgres: "postgres://x", kafka: "k:1"}
	got := strings.Join(e.environ([]string{"HISHAMOS_CI=1", "PATH=/bin"}), " ")
	for _, want := range []string{"PATH=/bin", "HISHAMOS_TEST_DATABASE_URL=postgres://x", "HISHAMOS_TEST_KAFKA=k:1"} {
		if !strings.Contains(got, want) {
			t.Errorf("the environment %q lacks %q", got, want)
		}
	}
	if strings.Contains(got, "HISHAMOS_CI") {
		t.Errorf("the environment %q still has HISHAMOS_CI", got)
	}
}

func TestAFurtherPassIsNamedAndCountsIntoTheSameNumbers(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := newReport(&out)
	for _, set := range []string{"", "LANE=off"} {
		if err := r.read(set, strings.NewReader(strings.TrimSpace(lines))); err != nil {
			t.Fatal(err)
		}
	}
	r.finish(nil, false)
	for _, want := range []string{
		"packages: 2 passed, 2 failed, 2 without tests\n", "tests: 2 passed, 2 failed, 2 skipped\n",
		"again with LANE=off\n", "ok  q  1.2s\n", "ok  q (LANE=off)  1.2s\n", "skipped  p (LANE=off) TestOn: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}

func TestArgumentsBehindTwoDashesAreAPassWithVariablesOfItsOwn(t *testing.T) {
	t.Parallel()
	got := passes([]string{"-timeout=20m", "-run", "A=b", "./...", "--", "LANE=off", "-timeout=9m", "./x", "-kills=3"})
	want := []pass{{nil, []string{"-timeout=20m", "-run", "A=b", "./..."}}, {[]string{"LANE=off"}, []string{"-timeout=9m", "./x", "-kills=3"}}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(pass{})); d != "" {
		t.Error(d)
	}
}
