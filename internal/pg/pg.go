// Package pg is how the program reaches Postgres: a pool for each of the three
// who do, transactions, and the runner of migrations.
//
//   - Owner makes and changes the schema, at the start, and is closed then.
//   - Writer is what the program works as: it cannot change events.
//   - Reader is what the queries of requests run as: it sees one tenant's rows.
//
// It must not know a table but those that say who may do what (migration 0005).
// It imports domain, pgx, goose and migrations; the table of pools in doc.go says
// who may hold which. Start at Enter; reader.go holds the tenant's side.
package pg

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options of a pool. The zero value is ready for use.
type Options struct {
	// Name is shown in pg_stat_activity. Default: hishamos.
	Name string
	// MaxConns bounds the pool. 0: what the URL says, else pgx's default.
	MaxConns int32
	// Settings are sent for every session and win over the URL's.
	Settings map[string]string
	// Within bounds how long the server may take to let us in. 0: as long as it
	// wants.
	Within time.Duration
}

// Owner is a pool whose login owns the schema.
type Owner struct{ *pgxpool.Pool }

// Writer is a pool whose login is a member of hishamos_writer and of no more: it
// adds events and keeps the tables beside them, and cannot change an event, the
// schema, or who may do what.
type Writer struct{ *pgxpool.Pool }

// Open returns a pool whose server has answered. JIT is off: it compiles for
// longer than our statements run.
func Open(ctx context.Context, url string, o Options) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	params := c.ConnConfig.RuntimeParams
	params["jit"] = "off"
	params["timezone"] = "UTC"
	if params["application_name"] == "" {
		params["application_name"] = "hishamos"
	}
	if o.Name != "" {
		params["application_name"] = o.Name
	}
	maps.Copy(params, o.Settings)
	if o.MaxConns > 0 {
		c.MaxConns = o.MaxConns
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	attempt, cancel := ctx, func() {}
	if o.Within > 0 {
		attempt, cancel = context.WithTimeout(ctx, o.Within)
	}
	defer cancel()
	if err := pool.Ping(attempt); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	return pool, nil
}

// Beginner is what a transaction can be begun on: a pool or a connection.
type Beginner interface {
	BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
}

// InTx runs f in a transaction and commits it, or rolls back when f fails or
// panics.
func InTx(ctx context.Context, db Beginner, o pgx.TxOptions, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, db, o, f)
}
