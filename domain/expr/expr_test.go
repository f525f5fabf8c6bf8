package expr_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/expr"
)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

var vars = expr.Vars{
	Inputs: map[string]json.RawMessage{
		"n": raw(`3`), "big": raw(`9007199254740993`), "huge": raw(`123456789012345678901234567890`), "half": raw(`0.5`),
		"text": raw(`"a \u003cb\u003e"`), "list": raw(`[3,1,2]`), "object": raw(`{"z":1,"a":{"b":[true,null]}}`), "none": raw(`null`),
	},
	Step: func(id string) expr.Step {
		switch id {
		case "plan":
			return expr.Step{State: "completed", Output: raw(`{"title":"T","score":7,"parts":["x","y"]}`)}
		case "my-step":
			return expr.Step{State: "failed", Fault: &domain.Fault{Code: "c", Message: "m"}}
		}
		return expr.Step{State: "skipped"}
	},
}

func TestExpressionsHaveTheValuesOfTheSpecification(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`inputs.n + 1`:                      `4`,
		`inputs.n > 2.5`:                    `true`,
		`inputs["n"] * 2`:                   `6`,
		`inputs.big + 1`:                    `9007199254740994`,
		`inputs.half + 1.0`:                 `1.5`,
		`inputs.text + "&"`:                 `"a \u003cb\u003e\u0026"`,
		`inputs.list.map(x, x * 2)`:         `[6,2,4]`,
		`{"z": 1, "a": [inputs.object.a]}`:  `{"a":[{"b":[true,null]}],"z":1}`,
		`inputs.absent == null`:             `true`,
		`inputs.absent`:                     `null`,
		`has(inputs.object.q)`:              `false`,
		`has(inputs.n) && inputs.n in [3]`:  `true`,
		`steps.plan.output.score`:           `7`,
		`steps.plan.output.parts[1]`:        `"y"`,
		`steps["plan"]["output"].title`:     `"T"`,
		`steps.plan.error`:                  `null`,
		`steps["my-step"].error.code`:       `"c"`,
		`steps["my-step"].output`:           `null`,
		`steps.other.state`:                 `"skipped"`,
		`b"ab"`:                             `"YWI="`,
		`duration("90s")`:                   `"1m30s"`,
		`timestamp("2026-01-02T03:04:05Z")`: `"2026-01-02T03:04:05Z"`,
		`18446744073709551615u`:             `18446744073709551615`,
		`steps.plan.output.parts.exists(p, p == "x") && inputs.n in [1, 3]`: `true`,
	} {
		if got, err := expr.Eval(source, vars); err != nil || string(got) != want {
			t.Errorf("%s is %s (%v), want %s", source, got, err, want)
		}
	}
}

func TestAPlainNameKeepsTheValuesOwnBytes(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`inputs.huge`: `123456789012345678901234567890`, `inputs["half"]`: `0.5`, ` inputs.object `: `{"z":1,"a":{"b":[true,null]}}`,
		`steps.plan.output`: `{"title":"T","score":7,"parts":["x","y"]}`,
	} {
		if got, err := expr.Eval(source, vars); err != nil || string(got) != want {
			t.Errorf("%s is %s (%v), want %s", source, got, err, want)
		}
	}
}

func TestAnExpressionWithoutAValueSaysWhyAndQuotesNoValue(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`inputs.n / 0`:                   "division by zero",
		`inputs.object.missing`:          "not there",
		`inputs.list[7]`:                 "shorter than the index",
		`inputs.n + inputs.text`:         "wrong types",
		`int(inputs.text)`:               "",
		`inputs.huge + 1`:                "too large to calculate with",
		`1.0 / 0.0`:                      "not a finite number",
		`{1: 2}`:                         "keys that are not text",
		`steps`:                          "a step must be named",
		`steps.plan`:                     "say what of step plan",
		`steps[inputs.text].output`:      "a step must be named",
		`inputs.`:                        "column",
		`nobody + 1`:                     "undeclared reference",
		`now()`:                          "undeclared reference",
		`9223372036854775807 + inputs.n`: "out of range",
	} {
		_, err := expr.Eval(source, vars)
		e, ok := errors.AsType[*expr.Error](err)
		if !ok || !strings.Contains(e.Reason, want) || strings.Contains(e.Reason, "<b>") {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}

func TestAnExpressionThatDoesTooMuchIsStopped(t *testing.T) {
	t.Parallel()
	items := "[" + strings.Repeat("1,", 199) + "1]"
	v := expr.Vars{Inputs: map[string]json.RawMessage{"l": raw(items)}}
	_, err := expr.Eval("inputs.l.map(a, inputs.l.map(b, inputs.l.map(c, inputs.l.map(d, a + b + c + d))))", v)
	if err == nil || !strings.Contains(err.Error(), "too much work") {
		t.Errorf("got %v", err)
	}
}

func TestAConditionIsTrueOrFalse(t *testing.T) {
	t.Parallel()
	if truth, err := expr.EvalBool("inputs.n == 3", vars); err != nil || !truth {
		t.Errorf("got %v, %v", truth, err)
	}
	if truth, err := expr.EvalBool(`steps.plan.state != "completed"`, vars); err != nil || truth {
		t.Errorf("got %v, %v", truth, err)
	}
	if _, err := expr.EvalBool("inputs.text", vars); err == nil || !strings.Contains(err.Error(), "not true or false") {
		t.Errorf("got %v", err)
	}
}

func TestInterpolationFillsExpressionsAtAnyDepthAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	with := map[string]any{
		"z": "${inputs.n}", "a": map[string]any{"list": []any{"${steps.plan.output.title}", "plain", 2, nil, true}},
		"literal": "costs $${5}", "spaced": "${ inputs.big }",
	}
	got, err := expr.Interpolate(with, vars)
	if want := `{"a":{"list":["T","plain",2,null,true]},"literal":"costs ${5}","spaced":9007199254740993,"z":3}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	if got, err := expr.Interpolate(nil, vars); err != nil || string(got) != `{}` {
		t.Errorf("nothing is %s, %v", got, err)
	}
}

func TestInterpolationNamesTheFieldThatHasNoValue(t *testing.T) {
	t.Parallel()
	_, err := expr.Interpolate(map[string]any{"a": map[string]any{"list": []any{1, "${inputs.n / 0}"}}, "b": "${inputs.n / 0}"}, vars)
	if e, ok := errors.AsType[*expr.Error](err); !ok || e.Field != "a.list[1]" {
		t.Errorf("got %+v", err)
	}
}

func TestManyExpressionsAtOnceFillTheMemoryAndStayRight(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 1500 {
				n := (w*1000 + i) % 5000
				got, err := expr.Eval(fmt.Sprintf("inputs.n + %d", n), vars)
				if err != nil || string(got) != fmt.Sprint(n+3) {
					t.Errorf("%d: got %s, %v", n, got, err)
				}
			}
		})
	}
	wg.Wait()
	if n := expr.Remembered(); n > expr.MostRemembered {
		t.Errorf("%d programs are remembered, at most %d may be", n, expr.MostRemembered)
	}
}

func BenchmarkCondition(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := expr.EvalBool(`steps.plan.output.score > 5 && inputs.n == 3`, vars); err != nil {
			b.Fatal(err)
		}
	}
}
