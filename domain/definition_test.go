package domain_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
)

func sound() domain.Definition {
	return domain.Definition{
		ID: "library/article", Version: 3, Title: "Article",
		Parameters: []domain.Parameter{{Name: "topic", Type: "text", Required: true}, {Name: "words", Type: "integer", Default: 500, Examples: []any{300}}},
		Steps: []domain.Step{
			{ID: "plan", Kind: domain.AgentStep, Agent: "writer", Template: "plan", With: map[string]any{"n": 3, "l": []any{1, int64(2), uint64(3), 4.5, nil}}},
			{ID: "draft", Kind: domain.NoopStep, Needs: []string{"plan"}, Timeout: domain.Duration(90 * time.Second)},
		},
		Outputs: map[string]string{"text": "${steps.draft.output}"}, Deadline: domain.Duration(time.Hour),
	}
}

func TestASoundDefinitionIsValid(t *testing.T) {
	t.Parallel()
	if err := sound().Validate(); err != nil {
		t.Error(err)
	}
}

func TestAnUnsoundDefinitionIsRefusedWithThePlaceAndTheReason(t *testing.T) {
	t.Parallel()
	negative := -domain.Duration(1)
	for field, c := range map[string]struct {
		change  func(*domain.Definition)
		message string
	}{
		"id":                          {func(d *domain.Definition) { d.ID = "a b" }, "not an id"},
		"version":                     {func(d *domain.Definition) { d.Version = -1 }, "negative"},
		"deadline":                    {func(d *domain.Definition) { d.Deadline = negative }, "negative"},
		"steps":                       {func(d *domain.Definition) { d.Steps = nil }, "no step"},
		"steps[1].id":                 {func(d *domain.Definition) { d.Steps[1].ID = "plan" }, "also the id of steps[0]"},
		"steps[0].id":                 {func(d *domain.Definition) { d.Steps[0].ID = "a/b" }, "not a step id"},
		"steps[0].kind":               {func(d *domain.Definition) { d.Steps[0].Kind = "magic" }, `"magic" is not a kind`},
		"steps[1].kind":               {func(d *domain.Definition) { d.Steps[1].Agent = "writer" }, "no agent"},
		"steps[0].agent":              {func(d *domain.Definition) { d.Steps[0].Agent = "" }, "missing"},
		"steps[0].template":           {func(d *domain.Definition) { d.Steps[0].Template = "" }, "missing"},
		"steps[1].needs[0]":           {func(d *domain.Definition) { d.Steps[1].Needs[0] = "plam" }, `no step "plam"`},
		"steps[1].needs[1]":           {func(d *domain.Definition) { d.Steps[1].Needs = []string{"plan", "plan"} }, "named twice"},
		"steps[0].needs":              {func(d *domain.Definition) { d.Steps[0].Needs = []string{"draft"} }, "plan → draft → plan"},
		"steps[1].needs":              {func(d *domain.Definition) { d.Steps[1].Needs = []string{"draft"} }, "draft → draft"},
		"steps[0].on_error":           {func(d *domain.Definition) { d.Steps[0].OnError = "ignore" }, "not known"},
		"steps[0].effect":             {func(d *domain.Definition) { d.Steps[0].Effect = "twice" }, "not known"},
		"steps[0].timeout":            {func(d *domain.Definition) { d.Steps[0].Timeout = negative }, "negative"},
		"steps[0].retry.max_attempts": {func(d *domain.Definition) { d.Steps[0].Retry.MaxAttempts = 101 }, "out of range"},
		"steps[0].retry.delay":        {func(d *domain.Definition) { d.Steps[0].Retry.Delay = negative }, "negative"},
		"steps[0].retry.max_delay":    {func(d *domain.Definition) { d.Steps[0].Retry.MaxDelay = negative }, "negative"},
		"steps[0].when":               {func(d *domain.Definition) { d.Steps[0].When = strings.Repeat("x", 5000) }, "too long"},
		"steps[0].with.l[1]":          {func(d *domain.Definition) { d.Steps[0].With["l"].([]any)[1] = int64(1<<53 + 1) }, "too large"},
		"steps[0].with.n":             {func(d *domain.Definition) { d.Steps[0].With["n"] = time.Second }, "not a JSON value"},
		"outputs.a b":                 {func(d *domain.Definition) { d.Outputs["a b"] = "${1}" }, "not a name"},
		"parameters[1].name":          {func(d *domain.Definition) { d.Parameters[1].Name = "topic" }, "also the name"},
		"parameters[0].type":          {func(d *domain.Definition) { d.Parameters[0].Type = "secret" }, "not a type"},
		"parameters[1].default":       {func(d *domain.Definition) { d.Parameters[1].Default = "many" }, "must be a whole number"},
		"parameters[0].enum":          {func(d *domain.Definition) { d.Parameters[0].Type = "enum" }, "empty"},
		"parameters[0].sensitivity":   {func(d *domain.Definition) { d.Parameters[0].Sensitivity = "secret" }, "not known"},
		"parameters[0].trust":         {func(d *domain.Definition) { d.Parameters[0].Trust = "some" }, "not known"},
		"parameters[0].validation.pattern": {func(d *domain.Definition) {
			d.Parameters[0].Validation = &domain.Limits{Pattern: "("}
		}, "regular expression"},
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			d := sound()
			c.change(&d)
			err := d.Validate()
			e, ok := errors.AsType[*domain.Error](err)
			if !ok || !errors.Is(err, domain.ErrInvalidDefinition) || e.Field != field || !strings.Contains(e.Message, c.message) || e.Fix == "" {
				t.Errorf("got %+v", err)
			}
		})
	}
}

func TestALongCycleIsNamedWithoutTheStepsThatLeadToIt(t *testing.T) {
	t.Parallel()
	d := domain.Definition{ID: "x"}
	for i := range 1000 {
		d.Steps = append(d.Steps, domain.Step{ID: fmt.Sprintf("s%d", i), Kind: domain.NoopStep, Needs: []string{fmt.Sprintf("s%d", min(i+1, 999))}})
	}
	d.Steps[999].Needs = []string{"s997"}
	err := d.Validate()
	if err == nil || !strings.Contains(err.Error(), "s997 → s998 → s999 → s997") {
		t.Errorf("got %v", err)
	}
}

func TestAStoredDefinitionIsTheOneThatIsReadBack(t *testing.T) {
	t.Parallel()
	d := sound()
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back domain.Definition
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(back, d.Stored()); diff != "" {
		t.Error(diff)
	}
	if d.Hash() != back.Hash() || d.Hash() != d.Stored().Hash() {
		t.Error("the hash depends on the format the definition came from")
	}
	if d.Steps[0].With["n"] != 3 || d.Parameters[1].Default != 500 {
		t.Error("Stored changed its receiver")
	}
}

func TestTheHashIsOfTheContent(t *testing.T) {
	t.Parallel()
	const pinned = "sha256:86a8fd3a34fc47552625850a7bad8ce102922dc9f5c9939f0c7017e3dae7b93f"
	if got := sound().Hash(); got != pinned {
		t.Errorf("the hash rule changed: %s", got)
	}
	d := sound()
	d.Steps[1].Needs = nil
	if d.Hash() == sound().Hash() {
		t.Error("two definitions have one hash")
	}
}

func TestADurationIsWrittenAsText(t *testing.T) {
	t.Parallel()
	var d domain.Duration
	if err := d.UnmarshalText([]byte("90s")); err != nil || d != domain.Duration(90*time.Second) {
		t.Errorf("got %v, %v", d, err)
	}
	for _, bad := range []string{"90", "-1s", "soon"} {
		if d.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
