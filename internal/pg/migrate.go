package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/migrations"
)

// Migration is one step of the schema and whether the database has it.
type Migration struct {
	Version int64
	Name    string
	Applied bool
}

// ErrNewerSchema says that the database was migrated by a later build.
var ErrNewerSchema = errors.New("the database was migrated by a newer build: upgrade this one")

// Migrate brings the schema up to date, and gives the two roles what they need
// of it. Many processes may call it at once: a session lock lets one work.
func Migrate(ctx context.Context, o Owner) error {
	if err := makeGroups(ctx, o); err != nil {
		return err
	}
	// A start that finds all of it done needs no lock and no second connection.
	// What goose finds wrong it says better.
	if checkSchema(ctx, o.Pool) == nil {
		return nil
	}
	return withProvider(o.Pool, migrations.FS, func(p *goose.Provider) error {
		applied, err := p.Up(ctx)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if len(applied) > 0 {
			if _, err := o.Exec(ctx, `select protect_tables()`); err != nil {
				return fmt.Errorf("protect the tables: %w", err)
			}
		}
		return newer(ctx, p)
	})
}

// ErrOldSchema says that migrations are missing and this login cannot apply them.
var ErrOldSchema = &domain.Error{
	Kind: domain.Conflict, Code: "schema.old", Field: "DATABASE_URL",
	Message: "the schema is older than this build, and this login does not own it",
	Fix:     "run `hishamos migrate up` with DATABASE_URL set to the login that owns the schema",
}

// known are how many migrations this build has, and the newest of them.
func known() (count, newest int64, err error) {
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return 0, 0, fmt.Errorf("list migrations: %w", err)
	}
	for _, f := range files {
		n, err := goose.NumericComponent(f)
		if err != nil {
			return 0, 0, fmt.Errorf("list migrations: %w", err)
		}
		newest = max(newest, n)
	}
	return int64(len(files)), newest, nil
}

// checkSchema is nil if every migration was applied. A login that may only read
// which were can ask it too.
func checkSchema(ctx context.Context, pool *pgxpool.Pool) error {
	want, newest, err := known()
	if err != nil {
		return err
	}
	const sql = `select count(distinct version_id), coalesce(max(version_id), 0) from goose_db_version where is_applied and version_id > 0`
	var count, current int64
	if err := pool.QueryRow(ctx, sql).Scan(&count, &current); err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	switch {
	case current > newest:
		return fmt.Errorf("schema version %d, build knows %d: %w", current, newest, ErrNewerSchema)
	case count < want:
		return ErrOldSchema
	}
	return nil
}

// MigrateKeys brings the schema of a key store up to date.
func MigrateKeys(ctx context.Context, o Owner) error {
	files, err := fs.Sub(migrations.Keys, "keys")
	if err != nil {
		return fmt.Errorf("migrate keys: %w", err)
	}
	return withProvider(o.Pool, files, func(p *goose.Provider) error {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate keys: %w", err)
		}
		return newer(ctx, p)
	})
}

// MigrateDown takes the newest migration back. Those of the event store refuse.
func MigrateDown(ctx context.Context, o Owner) error {
	return withProvider(o.Pool, migrations.FS, func(p *goose.Provider) error {
		if _, err := p.Down(ctx); err != nil {
			return fmt.Errorf("migrate down: %w", err)
		}
		return nil
	})
}

// MigrationStatus lists the migrations this build knows, in order.
func MigrationStatus(ctx context.Context, o Owner) ([]Migration, error) {
	var out []Migration
	err := withProvider(o.Pool, migrations.FS, func(p *goose.Provider) error {
		status, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("migration status: %w", err)
		}
		for _, s := range status {
			out = append(out, Migration{s.Source.Version, s.Source.Path, s.State == goose.StateApplied})
		}
		return newer(ctx, p)
	})
	return out, err
}

func newer(ctx context.Context, p *goose.Provider) error {
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migration status: %w", err)
	}
	if current > target {
		return fmt.Errorf("schema version %d, build knows %d: %w", current, target, ErrNewerSchema)
	}
	return nil
}

func withProvider(pool *pgxpool.Pool, files fs.FS, f func(*goose.Provider) error) (err error) {
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker), goose.WithVerbose(false))
	if err != nil {
		return errors.Join(fmt.Errorf("migrate: %w", err), db.Close())
	}
	defer func() { err = errors.Join(err, p.Close()) }() // closes db, not the pool
	return f(p)
}
