package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// A young log has no statistics, and is read page by page all the same: were each
// page sorted out of everything behind it, the whole would take the square.
func TestAYoungLogIsReadAlongItsIndexes(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	const fill = `insert into events (position, log_id, generation, stream, sequence, tenant, type, version, time, recorded, correlation,
			causation, command, index, count, claims, actor, decidedby, forkedfrom, traceparent, keyids, data, prevhash, hash)
		select n, (select log_id from log), 1, 'default/run/run_1', n, 'default', 'run.started', 1, now(), now(), 'c', '', 'command-' || n, 0, 1, '',
			'{}', '', '', '', '', decode(repeat('00', 300), 'hex'), decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex')
		from generate_series(1, 20000) n`
	if _, err := pool.Exec(t.Context(), fill); err != nil {
		t.Fatal(err)
	}
	reader := pgtest.AsReader(t, pool)
	for _, db := range []struct {
		whose string
		pg.Querier
	}{{"the store's", pg.Keyed{DB: pool}}, {"a tenant's", reader.Of("default").Keyed()}} {
		for name, q := range map[string]struct {
			sql  string
			args []any
		}{
			"everything":    {readAllSQL, []any{int64(100), 2000}},
			"a window":      {readRangeSQL, []any{int64(100), int64(10_100), 2000}},
			"a long stream": {readStreamSQL, []any{"default/run/run_1", int64(100), 2000}},
		} {
			rows, err := db.Query(t.Context(), "explain "+q.sql, q.args...)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			if plan := strings.Join(lines, "\n"); strings.Contains(plan, "Sort") || !strings.Contains(plan, "Index Scan") {
				t.Errorf("%s reading of %s:\n%s", db.whose, name, plan)
			}
		}
	}
	s := &Store{keyed: pg.Keyed{DB: pool}}
	page, err := s.ReadAll(t.Context(), 100, 2000)
	if err != nil || len(page) != 2000 || page[0].Position != 101 || page[1999].Position != domain.Position(2100) {
		t.Errorf("a page of %d events, %v", len(page), err)
	}
}

// A plan is kept from when the tables were empty, and known to be: then the
// cheapest is to read them from end to end.
func TestAPlanMadeOnEmptyTablesFollowsTheKeys(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	if _, err := pool.Exec(t.Context(), `vacuum analyze`); err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	keyed := pg.Keyed{DB: conn}
	ask := func(sql string, args ...any) string {
		t.Helper()
		rows, err := keyed.Query(t.Context(), sql, args...)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) { return string(row.RawValues()[0]), nil })
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	for sql, q := range map[string]struct {
		args []any
		call string
	}{
		readAllSQL:    {[]any{int64(0), 10}, "(0, 10)"},
		readStreamSQL: {[]any{"default/run/run_1", int64(0), 10}, "('default/run/run_1', 0, 10)"},
		committedSQL:  {[]any{"default", "command"}, "('default', 'command')"},
		openSQL:       {[]any{"run", "", 10}, "('run', '', 10)"},
	} {
		ask(sql, q.args...)
		var name string
		if err := conn.QueryRow(t.Context(), `select name from pg_prepared_statements where statement = $1`, sql).Scan(&name); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if plan := ask("explain execute " + name + q.call); strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Sort") {
			t.Errorf("%s\n%s", sql, plan)
		}
		var custom int
		if err := conn.QueryRow(t.Context(), `select custom_plans from pg_prepared_statements where statement = $1`, sql).Scan(&custom); err != nil || custom > 0 {
			t.Errorf("%s was planned %d times for its arguments, %v", sql, custom, err)
		}
	}
}
