package pg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	return Scope{r.pool, r.key.sign(string(t)), asTenant}
}

const everyone = "*"

// Everyone is what all tenants may see together. Only what is no answer about a
// tenant, or is for an operator with the permission for it, may be asked of it:
// an arch test knows every place that does.
func (r Reader) Everyone() Scope { return Scope{r.pool, r.key.sign(everyone), asTenant} }

// Scope runs queries that see some tenant's rows only.
type Scope struct {
	pool   *pgxpool.Pool
	signed string
	as     string // the statement that names the tenant
}

// Keyed is the scope for queries as Keyed runs them.
func (s Scope) Keyed() Scope {
	s.as = asTenantKeyed
	return s
}

// Query names the tenant and runs a statement: one round trip, one transaction.
// The rows hold a connection until they are closed or read to their end.
func (s Scope) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	b := &pgx.Batch{}
	b.Queue(s.as, s.signed)
	b.Queue(sql, args...)
	return second(ctx, s.pool, b)
}

// QueryRow is Query for one row.
func (s Scope) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := s.Query(ctx, sql, args...)
	return oneRow{rows, err}
}
