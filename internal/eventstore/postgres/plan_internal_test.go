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
