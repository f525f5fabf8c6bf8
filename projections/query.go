package projections

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// query collects the conditions of a list and their parameters.
type query struct {
	conditions []string
	args       []any
}

// where adds a condition; its one %s becomes the parameter.
func (q *query) where(condition string, arg any) {
	q.conditions = append(q.conditions, fmt.Sprintf(condition, q.arg(arg)))
}

// oneOf adds a condition for any of some values; none: no condition. A single
// value is compared by =, so that an index gives the order too.
func (q *query) oneOf(column string, values []string) {
	switch len(values) {
	case 0:
	case 1:
		q.where(column+" = %s", values[0])
	default:
		q.where(column+" = any(%s)", values)
	}
}

// arg adds a parameter and returns its name.
func (q *query) arg(v any) string {
	q.args = append(q.args, v)
	return fmt.Sprintf("$%d", len(q.args))
}

func (q *query) String() string { return strings.Join(q.conditions, " and ") }

// instant is a bound of a page: the text of a cursor, or the end of time in the
// direction of the list, so that the condition is the same on every page.
func instant(text string, newestFirst bool) (pgtype.Timestamptz, error) {
	if text == "" {
		if newestFirst {
			return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, nil
		}
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return pgtype.Timestamptz{}, ErrCursor
	}
	return pgtype.Timestamptz{Time: t, Valid: true}, nil
}

// direction is the order of a list and the comparison that continues it.
func direction(newestFirst bool) (order, beyond string) {
	if newestFirst {
		return "desc", "<"
	}
	return "asc", ">"
}

// collect runs a query whose columns are the fields of R.
func collect[R any](ctx context.Context, db DB, sql string, args []any) ([]R, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[R])
}
