package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/keys/keystest"
	"github.com/hishamos/hishamos/internal/keys/postgres"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

func TestItKeepsToTheContract(t *testing.T) {
	t.Parallel()
	events, url := pgtest.New(t), pgtest.Empty(t)
	direct := pgtest.Open(t, url)
	keystest.Exercise(t, func(t *testing.T) keys.Store {
		s, err := postgres.Open(t.Context(), url, events)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}, func(t *testing.T) []byte {
		var all []byte
		if err := direct.QueryRow(t.Context(), `select string_agg(record, ''::bytea order by box, n) from keys`).Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	})
}

func TestTheDatabaseOfTheEventsIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	if _, err := postgres.Open(t.Context(), url, pgtest.Open(t, url)); !errors.Is(err, postgres.ErrSameDatabase) {
		t.Errorf("answered %v", err)
	}
}

func TestADatabaseThatIsAwayIsUnreachable(t *testing.T) {
	t.Parallel()
	if _, err := postgres.Open(t.Context(), "postgres://127.0.0.1:1/none", pgtest.New(t)); !errors.Is(err, keys.ErrUnreachable) {
		t.Errorf("answered %v", err)
	}
}

// cutting breaks the connections to the keys when the events are asked.
type cutting struct {
	events *pgxpool.Pool
	cut    func()
}

func (c cutting) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	c.cut()
	return c.events.QueryRow(ctx, sql, args...)
}

func TestADatabaseThatGoesAwayMeanwhileIsUnreachable(t *testing.T) {
	t.Parallel()
	at := pgtest.Empty(t)
	events := cutting{pgtest.New(t), func() {
		run(t, at, `select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
	}}
	if _, err := postgres.Open(t.Context(), at, events); !errors.Is(err, keys.ErrUnreachable) {
		t.Errorf("answered %v", err)
	}
}

func TestAFaultThatWaitingDoesNotMendIsNotUnreachable(t *testing.T) {
	t.Parallel()
	events := pgtest.New(t)
	refuses := func(t *testing.T, url string) error {
		t.Helper()
		s, err := postgres.Open(t.Context(), url, events)
		if err == nil {
			s.Close()
		}
		if err == nil || errors.Is(err, keys.ErrUnreachable) {
			t.Errorf("answered %v", err)
		}
		return err
	}
	t.Run("a login that may not make tables", func(t *testing.T) {
		t.Parallel()
		state(t, refuses(t, edited(t, pgtest.Empty(t), func(u *url.URL) {
			q := u.Query()
			q.Set("role", "pg_monitor")
			u.RawQuery = q.Encode()
		})), "42501")
	})
	t.Run("a database that is not there", func(t *testing.T) {
		t.Parallel()
		state(t, refuses(t, edited(t, pgtest.Empty(t), func(u *url.URL) { u.Path += "_not" })), "3D000")
	})
	t.Run("a table in the way of a migration", func(t *testing.T) {
		t.Parallel()
		at := pgtest.Empty(t)
		run(t, at, `create table keys (of text)`)
		state(t, refuses(t, at), "42P07")
	})
	t.Run("a newer schema", func(t *testing.T) {
		t.Parallel()
		at := pgtest.Empty(t)
		s, err := postgres.Open(t.Context(), at, events)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		run(t, at, `insert into goose_db_version (version_id, is_applied) values (9999, true)`)
		if err := refuses(t, at); !errors.Is(err, pg.ErrNewerSchema) {
			t.Errorf("answered %v", err)
		}
	})
}

// state checks what the server itself said.
func state(t *testing.T, err error, want string) {
	t.Helper()
	if said, ok := errors.AsType[*pgconn.PgError](err); !ok || said.Code != want {
		t.Errorf("answered %v, want the server's %s", err, want)
	}
}

func edited(t *testing.T, address string, edit func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	edit(u)
	return u.String()
}

func run(t *testing.T, address, sql string) {
	t.Helper()
	if _, err := pgtest.Open(t, address).Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}
