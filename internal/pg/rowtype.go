package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// RowType is the row type of a table: arrays of it carry rows in binary form.
type RowType struct {
	OID, Array uint32
	Columns    []RowColumn // in the order in which a row has them
}

// RowColumn is a column of a row type.
type RowColumn struct {
	Name     string
	OID      uint32
	Nullable bool
}

// Querier is a connection, a pool, a transaction or a tenant's scope.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

const rowTypeSQL = `
select t.oid, t.typarray, a.attname, a.atttypid, not a.attnotnull
from pg_attribute a join pg_type t on t.typrelid = a.attrelid
where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum`

// ReadRowType returns the row type of a table as the database has it; of a table
// that is not there it has no columns.
func ReadRowType(ctx context.Context, db Querier, table string) (RowType, error) {
	var t RowType
	rows, err := db.Query(ctx, rowTypeSQL, table)
	if err == nil {
		var c RowColumn
		_, err = pgx.ForEachRow(rows, []any{&t.OID, &t.Array, &c.Name, &c.OID, &c.Nullable}, func() error {
			t.Columns = append(t.Columns, c)
			return nil
		})
	}
	if err != nil {
		return t, fmt.Errorf("read the columns of %s: %w", table, err)
	}
	return t, nil
}
