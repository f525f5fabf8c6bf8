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

// Migrate brings the schema up to date. Many processes may call it at once: a
// session lock lets one work.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return withProvider(pool, migrations.FS, func(p *goose.Provider) error {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		return newer(ctx, p)
	})
}

// MigrateDown takes the newest migration back. Those of the event store refuse.
func MigrateDown(ctx context.Context, pool *pgxpool.Pool) error {
	return withProvider(pool, migrations.FS, func(p *goose.Provider) error {
		if _, err := p.Down(ctx); err != nil {
			return fmt.Errorf("migrate down: %w", err)
		}
		return nil
	})
}

// MigrationStatus lists the migrations this build knows, in order.
func MigrationStatus(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	var out []Migration
	err := withProvider(pool, migrations.FS, func(p *goose.Provider) error {
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
