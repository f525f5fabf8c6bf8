package pg_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// enter opens a fresh database as the program does.
func enter(t *testing.T) (owner *pgxpool.Pool, pools pg.Pools) {
	t.Helper()
	address := pgtest.URL(t)
	pools, err := pg.Enter(t.Context(), pg.Addresses{Database: address}, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pools.Close)
	return pgtest.Open(t, address), pools
}

// refused says that a statement is against the rights of a login.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "42501" || e.Code == "25006") // no privilege; read-only transaction
}

func TestTheWriterCannotChangeWhatHappened(t *testing.T) {
	t.Parallel()
	_, pools := enter(t)
	for _, sql := range []string{
		`update events set data = ''`, `delete from events`, `truncate events`,
		`update events_p1 set data = ''`, `delete from events_p1`, `truncate events_p1`,
		`insert into events_p1 select * from events_p1`,
		`alter table events disable trigger all`, `alter table events disable row level security`,
		`alter table events detach partition events_p1`, `drop table events_p1`,
		`update commands set first = 0`, `delete from commands`, `delete from stream_heads`, `delete from log`,
		`update tenant_key set inside = outside`, `insert into goose_db_version (version_id, is_applied) values (99, true)`,
		`create table mine (id int)`, `create role other`, `alter role hishamos_reader bypassrls`,
		`grant hishamos_reader to current_user`, `set session_replication_role = replica`, `copy events to program 'true'`,
	} {
		if _, err := pools.Writer.Exec(t.Context(), sql); !refused(err) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestTheWriterCannotChangeEventsOfAPartitionThatWasMadeAhead(t *testing.T) {
	t.Parallel()
	_, pools := enter(t)
	if _, err := pools.Writer.Exec(t.Context(), `select add_events_partition(5000001, 5000101)`); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`update events_p5000001 set data = ''`, `delete from events_p5000001`, `truncate events_p5000001`, `select * from events_p5000001`} {
		if _, err := pools.Writer.Exec(t.Context(), sql); !refused(err) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestTheReaderWritesNothingAndSeesNoKeyAndNoSecret(t *testing.T) {
	t.Parallel()
	_, pools := enter(t)
	tables := relations(t, pools.Writer.Pool)
	for _, scope := range []pg.Scope{pools.Reader.Of("default"), pools.Reader.Everyone()} {
		for _, table := range tables {
			for _, sql := range []string{"delete from " + table, "truncate " + table, "create table mine (id int)"} {
				if err := run(t, scope, sql); !refused(err) {
					t.Errorf("%s: %v", sql, err)
				}
			}
		}
		for _, sql := range []string{
			`select * from tenant_key`, `select * from nodes`, `select * from claims`, `select * from stream_heads`,
			`select * from events_p1`, `select rolpassword from pg_authid`,
			`select add_events_partition(5000001, 5000101)`, `select protect_tables()`,
			`set role hishamos_writer`, `insert into events select * from events`, `update runs set state = ''`,
		} {
			if err := run(t, scope, sql); !refused(err) {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
}

func run(t *testing.T, s pg.Scope, sql string) error {
	t.Helper()
	rows, err := s.Query(t.Context(), sql)
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// relations are all tables of the schema, partitions included.
func relations(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select relname from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) < 15 {
		t.Fatalf("%d tables, %v", len(names), err)
	}
	return names
}

// unprotected are the tables with a tenant, or with streams that a reader may
// read, whose rows are not kept apart.
const unprotected = `
select c.relname from pg_class c
where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
    and (exists (select from pg_attribute where attrelid = c.oid and attname = 'tenant')
        or has_table_privilege('hishamos_reader', c.oid, 'select')
            and exists (select from pg_attribute where attrelid = c.oid and attname = 'stream'))
    and not (c.relrowsecurity and c.relforcerowsecurity
        and (select count(*) from pg_policy where polrelid = c.oid and polname in ('reader', 'writer')) = 2
        and not exists (select from pg_policy where polrelid = c.oid and polname not in ('reader', 'writer')))
order by 1`

func TestEveryTableWithATenantHasForcedRowSecurity(t *testing.T) {
	t.Parallel()
	owner, pools := enter(t)
	if _, err := pools.Writer.Exec(t.Context(), `select add_events_partition(5000001, 5000101)`); err != nil {
		t.Fatal(err)
	}
	list := func() string {
		rows, err := owner.Query(t.Context(), unprotected)
		if err != nil {
			t.Fatal(err)
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(names, " ")
	}
	if got := list(); got != "" {
		t.Errorf("without forced row security: %s", got)
	}
	// A later migration's table is found, and then protected without being named.
	must(t, owner, `create table board (build int, tenant text, title text)`)
	if got := list(); got != "board" {
		t.Errorf("found %q, want the new table", got)
	}
	must(t, owner, `select protect_tables()`)
	if got := list(); got != "" {
		t.Errorf("still without forced row security: %s", got)
	}
	must(t, owner, `insert into board values (1, 'default', 'mine'), (1, 't_other', 'theirs')`)
	for tenant, want := range map[domain.Tenant]int{"default": 1, "t_other": 1, "t_third": 0, "": 0, "*": 0} {
		if n := count(t, pools.Reader.Of(tenant), "board"); n != want {
			t.Errorf("tenant %q sees %d rows, want %d", tenant, n, want)
		}
	}
	if n := count(t, pools.Reader.Everyone(), "board"); n != 2 {
		t.Errorf("everyone sees %d rows, want 2", n)
	}
}

func must(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, s pg.Scope, table string) (n int) {
	t.Helper()
	if err := s.QueryRow(t.Context(), "select count(*) from "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// SQL that is smuggled into a query runs with its login and in its transaction.
func TestSmuggledSQLCannotBecomeAnotherTenant(t *testing.T) {
	t.Parallel()
	owner, pools := enter(t)
	must(t, owner, `insert into access_tokens select 1, tenant, 'token_1', 'h', tenant, 'a', 'human', '[]', false, now(), now(), 1, 1
		from unnest(array['default', 't_other']) tenant`)
	const theirs = `, lateral (select count(*) as n from access_tokens where tenant = 't_other' and s <> '') c`
	for _, forged := range []string{
		`set_config('hishamos.tenant', 't_other', true)`,
		`set_config('hishamos.tenant', '*', true)`,
		`set_config('hishamos.tenant', repeat('0', 64) || '.t_other', true)`,
		`set_config('hishamos.tenant', left(current_setting('hishamos.tenant'), 64) || '.t_other', true)`,
		`set_config('hishamos.tenant', null, true)`,
		`set_config('row_security', 'on', true)`,
	} {
		n := 0
		sql := `with f as materialized (select ` + forged + ` as s) select n from (select coalesce(s, '-') as s from f) f` + theirs
		if err := pools.Reader.Of("default").QueryRow(t.Context(), sql).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d rows of another tenant, %v", forged, n, err)
		}
	}
	if n := count(t, pools.Reader.Of("t_other"), "access_tokens"); n != 1 {
		t.Fatalf("the other tenant sees %d rows of its own", n)
	}
	// A connection carries nothing over to the next query.
	for i := range 20 {
		tenant := domain.Tenant(fmt.Sprint("t_", i))
		if n := count(t, pools.Reader.Of(tenant), "access_tokens"); n != 0 {
			t.Errorf("%s sees %d rows", tenant, n)
		}
	}
}

func TestALoginThatIsNotLimitedIsRefused(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	_, err := pg.Enter(t.Context(), pg.Addresses{Database: address, Reader: address}, pg.Options{})
	if e, ok := errors.AsType[*domain.Error](err); !ok || e.Field != "HISHAMOS_READER_URL" || e.Fix == "" {
		t.Errorf("the owner as reader: %v", err)
	}
	pools, err := pg.Enter(t.Context(), pg.Addresses{Database: address}, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pools.Close()
	_, err = pg.Enter(t.Context(), pg.Addresses{Database: address, Reader: pools.Address}, pg.Options{})
	if e, ok := errors.AsType[*domain.Error](err); !ok || e.Field != "HISHAMOS_READER_URL" {
		t.Errorf("the writer as reader: %v", err)
	}
}

// In the cluster the owner's login can be kept away from the processes.
func TestAProcessWorksWithTheTwoLoginsAlone(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	first, err := pg.Enter(t.Context(), pg.Addresses{Database: address}, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	_, err = pg.Enter(t.Context(), pg.Addresses{Database: first.Address}, pg.Options{})
	if e, ok := errors.AsType[*domain.Error](err); !ok || e.Field != "HISHAMOS_READER_URL" {
		t.Errorf("a writer without a reader: %v", err)
	}
	u, err := url.Parse(first.Address)
	if err != nil {
		t.Fatal(err)
	}
	// The password is the operator's own.
	name := strings.Replace(u.User.Username(), "writer", "reader", 1)
	must(t, pgtest.Open(t, address), `alter role `+name+` password 'secret'`)
	u.User = url.UserPassword(name, "secret")
	second, err := pg.Enter(t.Context(), pg.Addresses{Database: first.Address, Reader: u.String()}, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	owner := pgtest.Open(t, address)
	must(t, owner, `delete from goose_db_version where version_id = (select max(version_id) from goose_db_version)`)
	_, err = pg.Enter(t.Context(), pg.Addresses{Database: first.Address, Reader: u.String()}, pg.Options{})
	if !errors.Is(err, pg.ErrOldSchema) {
		t.Errorf("an old schema: %v", err)
	}
}

// An owner that is no superuser and may make no roles is told what is missing.
func TestAnOwnerThatMayMakeNoLoginsIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	address := pgtest.Empty(t)
	super := pgtest.Open(t, address)
	var database string
	if err := super.QueryRow(t.Context(), `select oid::text from pg_database where datname = current_database()`).Scan(&database); err != nil {
		t.Fatal(err)
	}
	name := "hishamos_test_owner_" + database
	must(t, super, `do $$ begin create role hishamos_writer; exception when duplicate_object or unique_violation then null; end $$`)
	must(t, super, `do $$ begin create role hishamos_reader; exception when duplicate_object or unique_violation then null; end $$`)
	must(t, super, `create role `+name+` login password 'secret'`)
	must(t, super, `grant create on schema public to `+name)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "secret")
	_, err = pg.Enter(t.Context(), pg.Addresses{Database: u.String()}, pg.Options{})
	if !errors.Is(err, pg.ErrNoRoles) { // it may not become a member of the writer
		t.Errorf("without membership: %v", err)
	}
	must(t, super, `grant hishamos_writer to `+name)
	_, err = pg.Enter(t.Context(), pg.Addresses{Database: u.String()}, pg.Options{})
	if e, ok := errors.AsType[*domain.Error](err); !ok || e.Code != "database.no_logins" || strings.Contains(err.Error(), "secret") {
		t.Errorf("without logins: %v", err)
	}
	owner, err := pg.EnterAsOwner(t.Context(), u.String(), pg.Options{})
	if err != nil {
		t.Fatalf("it can migrate all the same: %v", err)
	}
	owner.Close()
}
