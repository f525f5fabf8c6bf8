package schema_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/internal/schema"
)

const story = `{"type":"object","additionalProperties":false,"required":["id","points"],
	"properties":{"id":{"type":"string","pattern":"^S-[0-9]+$"},"points":{"type":"array","items":{"$ref":"#/$defs/point"}}},
	"$defs":{"point":{"type":"integer","minimum":1}}}`

func TestAValueThatFitsHasNoProblems(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile(json.RawMessage(story))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Check(json.RawMessage(`{"id":"S-1","points":[1,2]}`)); got != nil {
		t.Errorf("problems: %v", got)
	}
}

func TestEveryPlaceThatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile(json.RawMessage(story))
	if err != nil {
		t.Fatal(err)
	}
	got := s.Check(json.RawMessage(`{"id":"1","points":[0,"x"],"more":true}`))
	var places []string
	for _, line := range got {
		place, _, _ := strings.Cut(line, ":")
		places = append(places, place)
	}
	if diff := cmp.Diff([]string{"/", "/id", "/points/0", "/points/1"}, places); diff != "" {
		t.Errorf("places (-want +got):\n%s\n%s", diff, strings.Join(got, "\n"))
	}
}

func TestTextThatIsNotJSONIsNamed(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile(json.RawMessage(story))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Check(json.RawMessage(`{"id":`)); len(got) != 1 || !strings.Contains(got[0], "not JSON") {
		t.Errorf("problems: %v", got)
	}
}

func TestASchemaIsNeverFetched(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"https://example.org/story.json", "file:///etc/passwd"} {
		if _, err := schema.Compile(json.RawMessage(`{"$ref":"` + ref + `"}`)); err == nil {
			t.Errorf("%s was accepted", ref)
		}
	}
}
