package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
)

// ErrBehind says that the database came back without events that this process,
// or Kafka, has seen: a failover to an old copy, or a backup put back under a
// running process. Nothing was written.
var ErrBehind = &domain.Error{
	Kind: domain.Unavailable, Code: "append.store_behind",
	Message: "the database came back without events that were committed",
	Fix:     "bring back the newer database; or start this process again, which takes what Kafka has and gives up the rest",
}

// behindTimeout bounds how long a fresh connection may be looked at.
const behindTimeout = 20 * time.Second

// compared makes sure, before a fresh connection is appended on, that it leads
// to a database with all that was committed: by asking whoever knows of another
// copy, and by looking for the last event that this process has seen.
func (a *appender) compared(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(a.ctx, behindTimeout)
	defer cancel()
	if a.opts.Connected != nil {
		if err := a.opts.Connected(ctx); errors.As(err, new(*domain.Error)) {
			return refusal{ErrBehind.With("nothing can be appended: %v", err)}
		} else if err != nil {
			return fmt.Errorf("compare: %w", err)
		}
	}
	if a.seen.Position == 0 {
		return nil
	}
	var hash []byte
	err := conn.QueryRow(ctx, `select hash from events where position = $1`, int64(a.seen.Position)).Scan(&hash)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return refusal{ErrBehind.With("the database came back without position %d, which was committed", a.seen.Position)}
	case err != nil:
		return fmt.Errorf("compare: %w", err)
	case !bytes.Equal(hash, a.seen.Hash[:]):
		return refusal{ErrBehind.With("the database came back with another event at position %d", a.seen.Position)}
	}
	return nil
}
