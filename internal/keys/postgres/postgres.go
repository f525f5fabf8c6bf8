// Package postgres keeps keys in a database of its own. It must not be the one of
// the events: whoever copies or restores those would copy the keys with them.
//
// It must not know what a record is. It imports the contract, internal/pg and
// pgx. Start at Open.
package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/pg"
)

// Store is a key store in Postgres. Its login owns the one table there.
type Store struct{ pool pg.Owner }

// database is what can be asked which one it is.
type database interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var _ keys.Store = (*Store)(nil)

// ErrSameDatabase says that keys and events would lie together.
var ErrSameDatabase = &domain.Error{
	Kind: domain.Invalid, Code: "keys.same_database", Field: "HISHAMOS_KEYS_URL",
	Message: "is the database of the events", Fix: "give the keys a database of their own, with backups of its own",
}

// Open reaches the key store by its URL and brings its schema up to date. It
// refuses the database that the events are in. Only where it makes sense to wait
// is the error a keys.ErrUnreachable.
func Open(ctx context.Context, url string, events database) (_ *Store, err error) {
	opened, err := pg.Open(ctx, url, pg.Options{Name: "hishamos-keys", MaxConns: 8})
	if err != nil {
		return nil, fault(err)
	}
	pool := pg.Owner{Pool: opened}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	theirs, err := place(ctx, events)
	if err != nil {
		return nil, err
	}
	ours, err := place(ctx, pool)
	if err != nil {
		return nil, fault(err)
	}
	if ours == theirs {
		return nil, ErrSameDatabase
	}
	if err := pg.MigrateKeys(ctx, pool); err != nil {
		return nil, fault(err)
	}
	return &Store{pool}, nil
}

// fault tells a server that may come back from one that has to be mended.
func fault(err error) error {
	if pg.Away(err) {
		return fmt.Errorf("%w: %w", keys.ErrUnreachable, err)
	}
	return fmt.Errorf("open key store: %w", err)
}

// place is which database of which server a pool leads to, however it is reached.
func place(ctx context.Context, pool database) (at string, err error) {
	const sql = `select system_identifier || '/' || (select oid from pg_database where datname = current_database()) from pg_control_system()`
	if err := pool.QueryRow(ctx, sql).Scan(&at); err != nil {
		return "", fmt.Errorf("identify database: %w", err)
	}
	return at, nil
}

// Close gives the connections back.
func (s *Store) Close() { s.pool.Close() }

const (
	createSQL  = `insert into keys (box, n, record) select $1, i - 1, r from unnest($2::bytea[]) with ordinality as u (r, i)`
	readSQL    = `select record from keys where box = $1 and n = $2`
	replaceSQL = `insert into keys (box, n, record) values ($1, $2, $3) on conflict (box, n) do update set record = excluded.record`
)

// uniqueViolation is the SQLSTATE of a key that is there.
const uniqueViolation = "23505"

// Create implements keys.Store.
func (s *Store) Create(ctx context.Context, box string, records [][]byte) error {
	_, err := s.pool.Exec(ctx, createSQL, box, records)
	if known := (*pgconn.PgError)(nil); errors.As(err, &known) && known.Code == uniqueViolation {
		return keys.ErrExists
	}
	if err != nil {
		return fmt.Errorf("keep keys: %w", err)
	}
	return nil
}

// Read implements keys.Store.
func (s *Store) Read(ctx context.Context, box string, n int) (record []byte, err error) {
	err = s.pool.QueryRow(ctx, readSQL, box, n).Scan(&record)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, keys.ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	return record, nil
}

// Replace implements keys.Store.
func (s *Store) Replace(ctx context.Context, box string, n int, record []byte) error {
	if _, err := s.pool.Exec(ctx, replaceSQL, box, n, record); err != nil {
		return fmt.Errorf("overwrite key: %w", err)
	}
	return nil
}
