package projections

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hishamos/hishamos/domain"
)

// ErrCursor says that a cursor did not come from the list it is used with.
var ErrCursor = domain.InvalidField("cursor", "is not a cursor of this list", "use the cursor of the previous page, with the same filter and order")

// Page is one page of a list. Next is empty on the last.
type Page[R any] struct {
	Rows []R
	Next string
}

// order is the order of a list. The columns tell all its rows apart, and begin
// with those of an index; mark points to where a row holds them.
type order[R any] struct {
	list       string
	descending bool
	columns    []string
	mark       func(*R) []any
}

// page runs a query from where the page before it ended.
func page[R any](ctx context.Context, db DB, q *query, o order[R], after string, limit int) (Page[R], error) {
	limit = limitOf(limit)
	direction, beyond := "asc", ">"
	if o.descending {
		direction, beyond = "desc", "<"
	}
	name := o.list + " " + direction
	if after != "" {
		var last R
		mark := o.mark(&last)
		if err := decodeCursor(after, name, mark); err != nil {
			return Page[R]{}, err
		}
		values := strings.TrimSuffix(strings.Repeat("%s, ", len(mark)), ", ")
		q.where(fmt.Sprintf("(%s) %s (%s)", strings.Join(o.columns, ", "), beyond, values), mark...)
	}
	by := strings.Join(o.columns, " "+direction+", ")
	found, err := collect[R](ctx, db, fmt.Sprintf("%s order by %s %s limit %s", q.sql, by, direction, q.arg(limit+1)), q.args)
	if err != nil {
		return Page[R]{}, fmt.Errorf("list %s: %w", o.list, err)
	}
	if len(found) <= limit {
		return Page[R]{Rows: found}, nil
	}
	return Page[R]{found[:limit], encodeCursor(name, o.mark(&found[limit-1]))}, nil
}

// limitOf bounds a page.
func limitOf(n int) int {
	switch {
	case n <= 0:
		return 50
	case n > 500:
		return 500
	default:
		return n
	}
}

// cursor marks the last row of a page. It is opaque to callers; the order is in
// it, so that a cursor cannot be used with another.
type cursor struct {
	Order string            `json:"o"`
	After []json.RawMessage `json:"a"`
}

func encodeCursor(name string, mark []any) string {
	c := cursor{Order: name}
	for _, v := range mark {
		c.After = append(c.After, encoded(v))
	}
	return base64.RawURLEncoding.EncodeToString(encoded(c))
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // strings, numbers and instants only
		panic(err)
	}
	return b
}

// decodeCursor reads the values after which a page begins to where mark points.
func decodeCursor(text, name string, mark []any) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return ErrCursor
	}
	var c cursor
	if json.Unmarshal(b, &c) != nil || c.Order != name || len(c.After) != len(mark) {
		return ErrCursor
	}
	for i, v := range mark {
		if json.Unmarshal(c.After[i], v) != nil {
			return ErrCursor
		}
	}
	return nil
}
