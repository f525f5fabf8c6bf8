// Package pg is how the program reaches Postgres: the pool, transactions, and
// the runner of migrations.
//
// It must not know a table. It imports pgx, goose and migrations. Start at Open.
package pg

import (
	"context"
	"errors"
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
	// WaitFor is how long Open keeps trying a server that does not answer yet.
	// 0: one attempt.
	WaitFor time.Duration
}

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
	if err := ping(ctx, pool, o.WaitFor); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	return pool, nil
}

func ping(ctx context.Context, pool *pgxpool.Pool, patience time.Duration) error {
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	end := time.Now().Add(patience)
	for {
		err := pool.Ping(ctx)
		if err == nil || !time.Now().Before(end) {
			return err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
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
