package pg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
)

// Reader is a pool whose login is a member of hishamos_reader. It answers nothing
// by itself: a query runs in a Scope, which names whose rows it sees.
type Reader struct {
	pool *pgxpool.Pool
	key  tenantKey
}

// tenantKey signs the name of a tenant; current_tenant() in migration 0005 checks
// it. The reader cannot read the key, so SQL that is smuggled into a query of one
// tenant cannot sign the name of another.
type tenantKey struct{ inside, outside []byte }

func (k tenantKey) sign(tenant string) string {
	inner := sha256.Sum256(append(append([]byte(nil), k.inside...), tenant...))
	outer := sha256.Sum256(append(append([]byte(nil), k.outside...), inner[:]...))
	return hex.EncodeToString(outer[:]) + "." + tenant
}

// readerSettings hold for every session of a reader.
func readerSettings() map[string]string {
	return map[string]string{"default_transaction_read_only": "on", "statement_timeout": "30s"}
}

// NewReader makes a reader of a pool whose login is limited; the writer tells it
// the key.
func NewReader(ctx context.Context, pool *pgxpool.Pool, w Writer) (Reader, error) {
	r := Reader{pool: pool}
	if err := w.QueryRow(ctx, `select inside, outside from tenant_key`).Scan(&r.key.inside, &r.key.outside); err != nil {
		return Reader{}, fmt.Errorf("read the key of tenants: %w", err)
	}
	return r, nil
}

// Close closes the pool.
func (r Reader) Close() { r.pool.Close() }

// Of is what a tenant may see. The empty tenant sees nothing.
func (r Reader) Of(t domain.Tenant) Scope {
	if t == everyone { // no tenant has this name, and nobody becomes everyone by it
		t = ""
	}
	return Scope{r.pool, r.key.sign(string(t))}
}

const everyone = "*"

// Everyone is what all tenants may see together. Only what is no answer about a
// tenant, or is for an operator with the permission for it, may be asked of it:
// an arch test knows every place that does.
func (r Reader) Everyone() Scope { return Scope{r.pool, r.key.sign(everyone)} }

// Scope runs queries that see some tenant's rows only.
type Scope struct {
	pool   *pgxpool.Pool
	signed string
}

const (
	asTenant = `select set_config('hishamos.tenant', $1, true)`
	// The plan is made for the arguments, as pgx.QueryExecModeCacheDescribe does
	// it for a single statement.
	asTenantFresh = `select set_config('hishamos.tenant', $1, true), set_config('plan_cache_mode', 'force_custom_plan', true)`
)

// Query names the tenant and runs a statement: one round trip, one transaction.
// The rows hold a connection until they are closed or read to their end.
func (s Scope) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	name := asTenant
	if len(args) > 0 && args[0] == pgx.QueryExecModeCacheDescribe {
		name, args = asTenantFresh, args[1:]
	}
	b := &pgx.Batch{}
	b.Queue(name, s.signed)
	b.Queue(sql, args...)
	results := s.pool.SendBatch(ctx, b)
	if _, err := results.Exec(); err != nil {
		return nil, errors.Join(err, results.Close())
	}
	rows, err := results.Query()
	if err != nil {
		rows.Close()
		return nil, errors.Join(err, results.Close())
	}
	return &scoped{Rows: rows, results: results}, nil
}

// QueryRow is Query for one row.
func (s Scope) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := s.Query(ctx, sql, args...)
	return oneRow{rows, err}
}

// scoped are rows that end their transaction when they are closed.
type scoped struct {
	pgx.Rows
	results pgx.BatchResults
	closed  bool
	err     error
}

func (s *scoped) Next() bool {
	if s.Rows.Next() {
		return true
	}
	s.Close()
	return false
}

func (s *scoped) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.Rows.Close()
	s.err = s.results.Close()
}

func (s *scoped) Err() error {
	if err := s.Rows.Err(); err != nil {
		return err
	}
	return s.err
}

type oneRow struct {
	rows pgx.Rows
	err  error
}

func (o oneRow) Scan(into ...any) error {
	if o.err != nil {
		return o.err
	}
	defer o.rows.Close()
	if !o.rows.Next() {
		if err := o.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := o.rows.Scan(into...); err != nil {
		return err
	}
	o.rows.Close()
	return o.rows.Err()
}
