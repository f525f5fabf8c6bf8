// Package pgtest gives every test a database of its own, with the schema of this
// build, on the server that HISHAMOS_TEST_DATABASE_URL names or on an embedded
// one.
//
// It must not be imported by product code. It imports pg, embedded and pgx. Start
// at New.
package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/migrations"
)

// Env names the server; its user must be allowed to create databases.
const Env = "HISHAMOS_TEST_DATABASE_URL"

// New returns a pool on a fresh, migrated database, which is dropped when the
// test ends.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Open(t, URL(t))
}

// Open returns a further pool on a database of URL.
func Open(t testing.TB, database string) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), database, pg.Options{Name: "hishamos test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// AsWriter returns a further pool on the database of a pool, with what the writer
// may do and no more.
func AsWriter(t testing.TB, pool *pgxpool.Pool) pg.Writer {
	t.Helper()
	return pg.Writer{Pool: as(t, pool, "hishamos_writer")}
}

// AsReader returns a further pool on the database of a pool, with what the reader
// may do and no more.
func AsReader(t testing.TB, pool *pgxpool.Pool) pg.Reader {
	t.Helper()
	r, err := pg.NewReader(t.Context(), as(t, pool, "hishamos_reader"), pg.Writer{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func as(t testing.TB, pool *pgxpool.Pool, role string) *pgxpool.Pool {
	t.Helper()
	c := pool.Config()
	c.ConnConfig.RuntimeParams["role"] = role
	limited, err := pgxpool.NewWithConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(limited.Close)
	return limited
}

// URL returns the address of a fresh, migrated database, which is dropped when
// the test ends.
func URL(t testing.TB) string {
	t.Helper()
	return fresh(t, true)
}

// Empty returns the address of a fresh database without a schema.
func Empty(t testing.TB) string {
	t.Helper()
	return fresh(t, false)
}

func fresh(t testing.TB, migrated bool) string {
	t.Helper()
	s := server(t)
	name := "hishamos_test_" + hex.EncodeToString(randomBytes())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := create(ctx, s, name, migrated); err != nil {
		t.Fatalf("make a test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := drop(ctx, s, name); err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	return onDatabase(s, name)
}

func randomBytes() []byte { id := uuid.New(); return id[:8] }

// create copies the template, which one process makes once per set of
// migrations.
func create(ctx context.Context, server, name string, migrated bool) error {
	if !migrated {
		return execute(ctx, server, `create database `+name+` template template0`)
	}
	template, err := templateName()
	if err != nil {
		return err
	}
	for range 20 {
		err = execute(ctx, server, `create database `+name+` template `+template)
		var pe *pgconn.PgError
		switch {
		case err == nil || !errors.As(err, &pe):
			return err
		case pe.Code == "3D000": // no template yet
			if err := makeTemplate(ctx, server, template); err != nil {
				return err
			}
		case pe.Code != "55006": // 55006: its maker is still connected
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return err
}

const templatePrefix = "hishamos_template_"

// templateName changes with the migrations.
func templateName() (string, error) {
	h := sha256.New()
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return "", err
	}
	for _, n := range names {
		b, err := fs.ReadFile(migrations.FS, n)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", n, len(b), b)
	}
	return templatePrefix + hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// makeTemplate builds the template under another name and renames it when it is
// whole, so that nobody copies a half-made one.
func makeTemplate(ctx context.Context, server, template string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	const lock = `select pg_advisory_lock(hashtext('hishamos test template'))`
	if _, err := conn.Exec(ctx, lock); err != nil {
		return err
	}
	var there bool
	const exists = `select exists (select 1 from pg_database where datname = $1)`
	if err := conn.QueryRow(ctx, exists, template).Scan(&there); err != nil || there {
		return err
	}
	if err := dropOld(ctx, conn); err != nil {
		return err
	}
	draft := "hishamos_test_" + hex.EncodeToString(randomBytes())
	if _, err := conn.Exec(ctx, `create database `+draft+` template template0`); err != nil {
		return err
	}
	pool, err := pg.Open(ctx, onDatabase(server, draft), pg.Options{})
	if err == nil {
		err = pg.Migrate(ctx, pg.Owner{Pool: pool})
		pool.Close()
	}
	if err != nil {
		_, derr := conn.Exec(ctx, `drop database `+draft+` with (force)`)
		return errors.Join(err, derr)
	}
	for _, sql := range []string{
		`alter database ` + draft + ` rename to ` + template,
		`comment on database ` + template + ` is '` + time.Now().UTC().Format(time.RFC3339) + `'`,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// dropOld removes templates of other migrations that are older than an hour. One
// that is needed again is made again.
func dropOld(ctx context.Context, conn *pgx.Conn) error {
	const sql = `select datname from pg_database where starts_with(datname, $1)
		and shobj_description(oid, 'pg_database')::timestamptz < now() - interval '1 hour'`
	rows, err := conn.Query(ctx, sql, templatePrefix)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, n := range names {
		if _, derr := conn.Exec(ctx, `drop database if exists `+n+` with (force)`); derr != nil {
			err = errors.Join(err, derr)
		}
	}
	return err
}

// drop removes a database and the logins that were made for it.
func drop(ctx context.Context, server, name string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `select r.rolname from pg_database d join pg_roles r
		on r.rolname in ('hishamos_writer_' || d.oid, 'hishamos_reader_' || d.oid, 'hishamos_test_owner_' || d.oid) where d.datname = $1`, name)
	if err != nil {
		return err
	}
	logins, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `drop database if exists `+name+` with (force)`); err != nil {
		return err
	}
	for _, l := range logins {
		if _, err := conn.Exec(ctx, `drop role if exists `+l); err != nil {
			return err
		}
	}
	return nil
}

func execute(ctx context.Context, server, sql string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func onDatabase(server, name string) string {
	u, err := url.Parse(server)
	if err != nil { // server() has parsed it
		panic(err)
	}
	u.Path = "/" + name
	return u.String()
}

// server returns the address of the server.
func server(t testing.TB) string {
	t.Helper()
	s := os.Getenv(Env)
	if s == "" {
		return embeddedServer(t)
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" && u.RawQuery == "" {
		t.Fatalf("%s is not a URL like postgres://user@host:5432/postgres", Env)
	}
	return s
}
