package projection_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/projection"
)

// everyKind is a row with every kind of column.
type everyKind struct {
	Name   string          `db:"name,key"`
	Number int32           `db:"number,key"`
	Share  float64         `db:"share"`
	Yes    bool            `db:"yes"`
	At     time.Time       `db:"at"`
	Ended  *time.Time      `db:"ended"`
	Raw    json.RawMessage `db:"raw"`
	List   []string        `db:"list"`
	Text   string          `db:"text,live"`
}

// twoRows is a store that holds the same two rows in every table.
type twoRows struct{ projection.Store }

func (twoRows) Scan(_ context.Context, _ projection.Build, _ *projection.Schema, _ bool, each func(any, domain.Position, domain.Position) error) error {
	at := time.Date(2026, 11, 22, 10, 0, 0, 123_456_000, time.UTC)
	for i, row := range []everyKind{
		{Name: "a", Number: -1, Share: 0.25, Yes: true, At: at, Ended: &at, Raw: json.RawMessage(`{"a":1}`), List: []string{"x"}, Text: "content"},
		{Name: "b", List: []string{}},
	} {
		if err := each(&row, domain.Position(i+1), 9); err != nil {
			return err
		}
	}
	return nil
}

func TestDigestsOfDifferentReleasesCanBeCompared(t *testing.T) {
	t.Parallel()
	d := &projection.Definition{Name: "kinds", Version: 1, Tables: []*projection.Schema{projection.NewHistoryTable[everyKind]("kinds").Schema}}
	got, err := projection.DigestOf(t.Context(), twoRows{}, d, projection.Build{})
	const want = "sha256:c31013cd314534e4119dfc708b91f1f499f09ca64571607ba22a8035c098dabd"
	if err != nil || got != want {
		t.Errorf("digest %s, %v, want %s", got, err, want)
	}
}
