package events_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// The list is the promise: what leaves it is stored in plain for ever.
func TestTheseFieldsAreProtected(t *testing.T) {
	t.Parallel()
	want := map[string]map[string]events.Class{
		"erasure.ordered":    {"reason": events.Content},
		"file.upload_begun":  {"key": events.Content, "media_type": events.Content, "name": events.Content},
		"file.uploaded":      {"digest": events.Content},
		"run.cancelled":      {"reason": events.Content},
		"run.completed":      {"outputs": events.Content},
		"run.failed":         {"fault.message": events.Content},
		"run.started":        {"inputs": events.Content},
		"run.step_completed": {"output": events.Content},
		"run.step_failed":    {"fault.message": events.Content},
		"run.step_scheduled": {"input_hash": events.Content},
		"run.step_started":   {"key": events.Content},
		"token.issued":       {"holder": events.Personal},
	}
	got := make(map[string]map[string]events.Class)
	for name, row := range events.Types() {
		for _, f := range row.Protected() {
			if got[name] == nil {
				got[name] = make(map[string]events.Class)
			}
			got[name][f.Path] = f.Class
			if _, about := row.Zero.(events.About); f.Class == events.Personal && !about {
				t.Errorf("%s has a personal field and does not say whose: implement About", name)
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRewritingChangesTheProtectedValuesOfACopyAlone(t *testing.T) {
	t.Parallel()
	e := events.RunStarted{Engine: 3, Inputs: map[string]json.RawMessage{"b": []byte("2"), "a": []byte("1")}}
	var seen []string
	got, err := events.Rewrite(e, func(f events.Field, value []byte) ([]byte, error) {
		seen = append(seen, f.Path+"="+string(value))
		if f.Path == "inputs.a" {
			return nil, nil
		}
		return []byte(`"x"`), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"inputs.a=1", "inputs.b=2"}, seen); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(events.RunStarted{Engine: 3, Inputs: map[string]json.RawMessage{"b": []byte(`"x"`)}}, got); d != "" {
		t.Error(d)
	}
	if len(e.Inputs) != 2 {
		t.Error("the event itself was changed")
	}
	fails := errors.New("no")
	if _, err := events.Rewrite(e, func(events.Field, []byte) ([]byte, error) { return nil, fails }); !errors.Is(err, fails) {
		t.Errorf("answered %v", err)
	}
}

func TestWhatIsWrittenIsSealedAndWhatIsFoldedIsNot(t *testing.T) {
	t.Parallel()
	e := events.RunFailed{Fault: domain.Fault{Code: "a.b", Message: "canary"}}
	w, err := events.At(events.Level, []events.Event{e}, func(e events.Event) (events.Event, string, error) {
		sealed, err := events.Rewrite(e, func(events.Field, []byte) ([]byte, error) { return []byte("sealed"), nil })
		return sealed, `["k"]`, err
	})
	if err != nil || len(w) != 1 || w[0].KeyIDs != `["k"]` || string(w[0].Data) != `{"fault":{"code":"a.b","message":"sealed"}}` || w[0].Event != events.Event(e) {
		t.Errorf("%v: %s, %v", err, w[0].Data, w[0])
	}
}
