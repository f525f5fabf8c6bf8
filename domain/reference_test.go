package domain_test

import (
	"encoding/json"
	"testing"

	"github.com/hishamos/hishamos/domain"
)

func TestOnlyAnObjectThatNamesAFileAndNothingElseRefersToIt(t *testing.T) {
	t.Parallel()
	const id = "file_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"
	if got, ok := domain.FileReference(json.RawMessage(` {"file": "` + id + `"}`)); !ok || got != id {
		t.Errorf("%q, %t", got, ok)
	}
	for _, value := range []string{`"` + id + `"`, `{"file":"` + id + `","n":1}`, `{"file":"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"}`, `{"file":7}`, `{"file":"../` + id + `"}`, `{}`, `null`, `[]`, ``} {
		if got, ok := domain.FileReference(json.RawMessage(value)); ok {
			t.Errorf("%s refers to %q", value, got)
		}
	}
	bind := func(kind string) error {
		_, err := domain.BindInputs([]domain.Parameter{{Name: "in", Type: kind, Required: true}}, map[string]json.RawMessage{"in": json.RawMessage(`{"file":"` + id + `"}`)})
		return err
	}
	for _, kind := range []string{"text", "document", "code", "diff", "file", "object"} {
		if err := bind(kind); err != nil {
			t.Errorf("in the place of a %s: %v", kind, err)
		}
	}
	for _, kind := range []string{"string", "integer", "enum", "date", "list", "boolean"} {
		if bind(kind) == nil {
			t.Errorf("in the place of a %s it is taken", kind)
		}
	}
}
