package events_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/events"
)

// box is an event whose data has had three shapes: a width; a size; a size and a
// colour.
type box struct {
	Size   int    `json:"size"`
	Colour string `json:"colour"`
}

func (box) EventType() string { return "box.packed" }

// label is a type of level 3, in whose place a box was packed before.
type label struct{}

func (label) EventType() string { return "box.labelled" }

// seal is a type of level 3 that nothing stands for.
type seal struct{}

func (seal) EventType() string { return "box.sealed" }

func renamed(from, to string) events.Recast {
	return func(data json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(strings.Replace(string(data), from, to, 1)), nil
	}
}

func recoloured(change func(map[string]any)) events.Recast {
	return func(data json.RawMessage) (json.RawMessage, error) {
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, err
		}
		change(m)
		return json.Marshal(m)
	}
}

func boxes() map[string]events.Type {
	m := make(map[string]events.Type)
	for _, t := range []events.Type{
		events.Row[box](
			events.Next(2, renamed("width", "size"), renamed("size", "width")),
			events.Next(4, recoloured(func(m map[string]any) { m["colour"] = "brown" }), recoloured(func(m map[string]any) { delete(m, "colour") })),
		),
		events.Row[label](events.Since(3, func(events.Event) []events.Event { return []events.Event{box{Size: 1}} })),
		events.Row[seal](events.Since(3, nil)),
	} {
		m[t.Name] = t
	}
	return m
}

func TestAnEventIsWrittenInTheNewestShapeThatTheLevelAllowsAndReadBackAsToday(t *testing.T) {
	t.Parallel()
	for level, want := range map[int]struct {
		version int
		data    string
		read    box
	}{
		1: {1, `{"width":7}`, box{7, "brown"}},
		2: {2, `{"size":7}`, box{7, "brown"}},
		3: {2, `{"size":7}`, box{7, "brown"}},
		4: {3, `{"size":7,"colour":"red"}`, box{7, "red"}},
	} {
		got, err := events.AtOf(boxes(), level, []events.Event{box{7, "red"}}, nil)
		if err != nil || len(got) != 1 {
			t.Fatalf("level %d: %v, %v", level, got, err)
		}
		w := got[0]
		if w.Version != want.version || string(w.Data) != want.data {
			t.Errorf("level %d: version %d, %s", level, w.Version, w.Data)
		}
		if d := cmp.Diff(events.Event(want.read), w.Event); d != "" {
			t.Errorf("level %d: what the writer goes on with:\n%s", level, d)
		}
		read, err := boxes()["box.packed"].Read(w.Version, w.Data)
		if d := cmp.Diff(w.Event, read); d != "" || err != nil {
			t.Errorf("level %d: what others read: %v\n%s", level, err, d)
		}
	}
}

func TestBelowItsLevelATypeIsReplacedByWhatCameBeforeItOrRefused(t *testing.T) {
	t.Parallel()
	got, err := events.AtOf(boxes(), 2, []events.Event{label{}, box{Size: 2}}, nil)
	if err != nil || len(got) != 2 || got[0].Type.Name != "box.packed" || string(got[0].Data) != `{"size":1}` {
		t.Errorf("in place of a label: %+v, %v", got, err)
	}
	if got, err = events.AtOf(boxes(), 3, []events.Event{label{}, seal{}}, nil); err != nil || len(got) != 2 || got[0].Type.Name != "box.labelled" {
		t.Errorf("at its level: %+v, %v", got, err)
	}
	if _, err = events.AtOf(boxes(), 2, []events.Event{seal{}}, nil); !errors.Is(err, events.ErrLevelTooLow) || !strings.Contains(err.Error(), "level 3, the log is at 2") {
		t.Errorf("a type that nothing stands for: %v", err)
	}
}

func TestEveryLevelOfTheCatalogueIsOneThisBuildCanSet(t *testing.T) {
	t.Parallel()
	for name, row := range events.Types() {
		if row.Level > events.Level {
			t.Errorf("%s is of level %d, the build of %d", name, row.Level, events.Level)
		}
		if _, err := events.At(events.Level, []events.Event{row.Zero}, nil); err != nil && !row.Retired {
			t.Errorf("%s cannot be written: %v", name, err)
		}
	}
}
