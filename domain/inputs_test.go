package domain_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/domain"
)

func ptr(f float64) *float64 { return &f }

func bind(t *testing.T, p domain.Parameter, value string) (string, *domain.Error) {
	t.Helper()
	p.Name = "x"
	bound, err := domain.BindInputs([]domain.Parameter{p}, map[string]json.RawMessage{"x": json.RawMessage(value)})
	e, _ := errors.AsType[*domain.Error](err)
	return string(bound["x"]), e
}

func TestJSONIsStoredInOneForm(t *testing.T) {
	t.Parallel()
	pieces := []string{`"`, `\\`, `\"`, `\u00e9`, `é`, "\u2028", "\u20ac", "\xff", `<`, `&`, ` `, "\n", `{`, `}`, `[`, `]`, `,`, `:`, `1`, `-0.5e3`, `null`, `"a"`, `"b":`, `{"k":`, `"x y"`}
	random := rand.New(rand.NewPCG(1, 2))
	same := 0
	for range 200_000 {
		var text []byte
		for range random.IntN(7) {
			text = append(text, pieces[random.IntN(len(pieces))]...)
		}
		want, wrong := json.Marshal(json.RawMessage(text))
		got, err := domain.StoredJSON(text)
		if (err == nil) != (wrong == nil) || string(got) != string(want) {
			t.Fatalf("%q is stored as %q (%v), not %q (%v)", text, got, err, want, wrong)
		}
		if err == nil && string(got) == string(text) {
			same++
		}
	}
	if same < 1000 {
		t.Errorf("%d values had their form already", same)
	}
}

func TestInputsKeepToTheirTypesAndLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p           domain.Parameter
		good, wrong []string
	}{
		{domain.Parameter{Type: "string"}, []string{`"a"`, `""`}, []string{`1`, `true`, `[]`, `{}`}},
		{domain.Parameter{Type: "text", Required: true}, []string{`"a"`}, []string{`""`, `null`}},
		{domain.Parameter{Type: "string", Validation: &domain.Limits{Min: ptr(2), Max: ptr(3)}}, []string{`"ab"`, `"äöü"`}, []string{`"a"`, `"abcd"`}},
		{domain.Parameter{Type: "string", Validation: &domain.Limits{Pattern: "^[a-z]+$"}}, []string{`"abc"`}, []string{`"ab1"`}},
		{domain.Parameter{Type: "integer", Validation: &domain.Limits{Min: ptr(1), Max: ptr(9)}}, []string{`1`, `9`}, []string{`0`, `10`, `1.5`, `"1"`, `1e99`}},
		{domain.Parameter{Type: "integer"}, []string{`9007199254740993`, `-1`}, []string{`99999999999999999999`}},
		{domain.Parameter{Type: "number"}, []string{`1`, `1.5`, `-2e3`}, []string{`"1"`, `1e999`}},
		{domain.Parameter{Type: "boolean"}, []string{`true`, `false`}, []string{`"true"`, `0`}},
		{domain.Parameter{Type: "date"}, []string{`"2026-02-28"`}, []string{`"2026-02-30"`, `"28.2.2026"`, `20260228`}},
		{domain.Parameter{Type: "url"}, []string{`"https://example.org/a?b"`}, []string{`"example.org"`, `"ftp://example.org"`, `"https://"`}},
		{domain.Parameter{Type: "enum", Enum: []string{"low", "high"}}, []string{`"low"`}, []string{`"medium"`, `1`}},
		{domain.Parameter{Type: "list", Validation: &domain.Limits{Max: ptr(2)}}, []string{`[]`, `[1,"a"]`}, []string{`[1,2,3]`, `{}`, `"a"`}},
		{domain.Parameter{Type: "table"}, []string{`[{"a":1}]`}, []string{`{}`}},
		{domain.Parameter{Type: "object"}, []string{`{}`}, []string{`[]`, `"a"`}},
		{domain.Parameter{Type: "file"}, []string{`"a.txt"`, `{"name":"a.txt"}`}, []string{`1`, `[]`}},
		{domain.Parameter{Type: "work_item"}, []string{`"T-1"`, `{}`}, []string{`true`}},
		{domain.Parameter{Type: "result"}, []string{`1`, `[]`, `{}`, `"a"`}, nil},
	} {
		for _, value := range c.good {
			if got, err := bind(t, c.p, value); err != nil || got != value {
				t.Errorf("%s %s: got %s, %v", c.p.Type, value, got, err)
			}
		}
		for _, value := range append(c.wrong, `{`) {
			if _, err := bind(t, c.p, value); err == nil || err.Field != "inputs.x" || err.Fix == "" || err.Kind != domain.Invalid {
				t.Errorf("%s %s: got %+v", c.p.Type, value, err)
			}
		}
	}
}

func TestEveryTypeIsKnownToTheChecks(t *testing.T) {
	t.Parallel()
	for _, name := range domain.ParameterTypes {
		p := domain.Parameter{Type: name, Enum: []string{"a"}}
		if _, wrong := bind(t, p, `true`); wrong == nil && name != "boolean" && name != "result" {
			t.Errorf("%s takes true", name)
		}
	}
}

func TestAMissingRequiredInputIsNamed(t *testing.T) {
	t.Parallel()
	_, err := domain.BindInputs([]domain.Parameter{{Name: "requirements", Type: "text", Required: true}}, nil)
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Field != "inputs.requirements" || e.Message != "is missing" || e.Fix != "send text" {
		t.Errorf("got %+v", err)
	}
}

func TestAnUnknownInputIsRefusedAndTheKnownOnesAreNamed(t *testing.T) {
	t.Parallel()
	_, err := domain.BindInputs([]domain.Parameter{{Name: "topic", Type: "text"}}, map[string]json.RawMessage{"topik": json.RawMessage(`"a"`)})
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Field != "inputs.topik" || !strings.Contains(e.Fix, "topic") {
		t.Errorf("got %+v", err)
	}
}

func TestDefaultsFillInForMissingAndNull(t *testing.T) {
	t.Parallel()
	p := domain.Parameter{Type: "integer", Default: 5, Required: true}
	for _, value := range []string{`null`} {
		if got, err := bind(t, p, value); err != nil || got != "5" {
			t.Errorf("got %s, %v", got, err)
		}
	}
	if got, err := bind(t, domain.Parameter{Type: "integer"}, `null`); err != nil || got != "" {
		t.Errorf("an optional input without a default is %q, %v", got, err)
	}
}

func TestInputsAreKeptInTheirStoredForm(t *testing.T) {
	t.Parallel()
	got, err := bind(t, domain.Parameter{Type: "object"}, ` { "b": "<", "a": [1.0, 2] } `)
	if want := `{"b":"\u003c","a":[1.0,2]}`; err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
	again, _ := domain.StoredJSON(json.RawMessage(got))
	if string(again) != got {
		t.Error("the stored form is not stable")
	}
}
