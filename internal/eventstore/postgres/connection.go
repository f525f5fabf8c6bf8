package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/internal/eventstore"
)

// settings of the append connection. A holder of the append lock that stops is
// cut off by the server after two seconds, so that others go on within three; a
// lock or a statement that takes longer than that answers definitely instead of
// hanging.
func settings() map[string]string {
	return map[string]string{
		"application_name":                    "hishamos append",
		"synchronous_commit":                  "on", // an acknowledged append is durable, whatever the URL says
		"lock_timeout":                        "2500ms",
		"statement_timeout":                   "10s",
		"idle_in_transaction_session_timeout": "2s",
		"tcp_keepalives_idle":                 "2",
		"tcp_keepalives_interval":             "1",
		"tcp_keepalives_count":                "3",
		"tcp_user_timeout":                    "5000",
		"jit":                                 "off",
		// The statements read no more by a better plan: the write has no join to
		// choose, and the reads go by primary key. One plan for ever saves a third
		// of their cost; without sequential scans it is the right one even when it
		// was made while the tables were empty.
		"plan_cache_mode": "force_generic_plan",
		"enable_seqscan":  "off",
		"timezone":        "UTC",
	}
}

// dial opens a connection beside the pool, to the same server.
func (s *Store) dial(ctx context.Context, params map[string]string) (*pgx.Conn, error) {
	c := s.pool.Config().ConnConfig.Copy()
	maps.Copy(c.RuntimeParams, params)
	if c.ConnectTimeout == 0 || c.ConnectTimeout > 3*time.Second {
		c.ConnectTimeout = 3 * time.Second
	}
	return pgx.ConnectConfig(ctx, c)
}

func (a *appender) connect() error {
	if a.conn != nil && !a.conn.IsClosed() {
		return nil
	}
	a.disconnect()
	conn, err := a.store.dial(a.ctx, settings())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	types, err := readRowTypes(a.ctx, conn)
	if err != nil {
		return errors.Join(err, conn.Close(a.ctx))
	}
	a.statement = newStatement(types)
	for _, form := range shapes {
		if _, err := conn.Prepare(a.ctx, form.name(), form.sql()); err != nil {
			return errors.Join(fmt.Errorf("prepare %s: %w", form.name(), err), conn.Close(a.ctx))
		}
	}
	if err := a.compared(conn); err != nil {
		return errors.Join(err, conn.Close(a.ctx))
	}
	a.conn = conn
	a.cut.Store(conn.PgConn())
	return nil
}

// disconnect drops the connection and all that was known by it.
func (a *appender) disconnect() {
	a.alone = false
	a.head = eventstore.Head{}
	a.versions.forget()
	a.cut.Store(nil)
	if a.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.conn.Close(ctx); err != nil {
		a.log.Debug("close the append connection", "error", err)
	}
	a.conn = nil
}

// The error codes that mean something to the appender.
const (
	uniqueViolation  = "23505"
	checkViolation   = "23514"
	lockNotAvailable = "55P03"
	queryCanceled    = "57014" // statement_timeout
	serialization    = "40001"
	deadlock         = "40P01"
	readOnly         = "25006" // a standby, after a failover
	diskFull         = "53100"
	otherRowType     = "42804" // a migration added a column
)

// failed turns an error of the append connection into what it means for the
// batch. committing says whether the server may have been committing it.
func (a *appender) failed(err error, committing bool) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Severity != "ERROR" {
		a.disconnect()
		if committing && !pgconn.SafeToRetry(err) {
			return broken{err}
		}
		return transient{err}
	}
	a.alone = false
	if a.conn.PgConn().TxStatus() != 'I' {
		if _, rerr := a.conn.PgConn().Exec(context.Background(), "rollback").ReadAll(); rerr != nil {
			a.log.Warn("roll back an append", "error", rerr)
			a.disconnect()
		}
	}
	switch pe.Code {
	case lockNotAvailable, queryCanceled, serialization, deadlock:
		return transient{err}
	case readOnly, otherRowType:
		a.disconnect()
		return transient{err}
	case diskFull:
		return refusal{eventstore.ErrBusy.With("the disk of the event store is full")}
	}
	return refusal{fmt.Errorf("append: %w", err)}
}
