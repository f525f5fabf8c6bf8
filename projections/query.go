package projections

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
)

// query is a statement that ends in its conditions, and its parameters.
type query struct {
	sql  string
	args []any
}

// source is the query that a list, or one of its rows, begins with.
func source(tenant domain.Tenant, at domain.Position, now, asOf string) *query {
	if at == 0 {
		return &query{now, []any{tenant}}
	}
	return &query{asOf, []any{tenant, at}}
}

// where adds a condition; each %s in it becomes one of the parameters.
func (q *query) where(condition string, args ...any) {
	names := make([]any, len(args))
	for i, v := range args {
		names[i] = q.arg(v)
	}
	q.sql += " and " + fmt.Sprintf(condition, names...)
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

// collect runs a query whose columns are the fields of R.
func collect[R any](ctx context.Context, db DB, sql string, args []any) ([]R, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[R])
}
