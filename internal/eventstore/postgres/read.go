package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
)

const (
	recordColumns = `position, log_id, generation, stream, sequence, type, version, time, recorded, correlation, causation,
		command, index, count, claims, actor, decidedby, forkedfrom, traceparent, keyids, data, prevhash, hash`
	readStreamSQL = `select ` + recordColumns + ` from events where stream = $1 and sequence > $2 order by sequence limit $3`
	readAllSQL    = `select ` + recordColumns + ` from events where position > $1 order by position limit $2`
	openSQL       = `select stream from stream_heads where open and kind = $1 and stream > $2 order by stream limit $3`
	committedSQL  = `select ` + commandColumns + ` from commands where tenant = $1 and command = $2`
)

// fresh makes the server plan a statement for its arguments and for the tables as
// large as they are now. A plan kept from when the tables were empty reads all of
// them.
const fresh = pgx.QueryExecModeCacheDescribe

// ReadStream implements eventstore.Reader.
func (s *Store) ReadStream(ctx context.Context, stream domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	out, err := readRecords(ctx, s.pool, limit, readStreamSQL, fresh, string(stream), int64(after), limit)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return out, nil
}

// ReadAll implements eventstore.Reader.
func (s *Store) ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	out, err := readRecords(ctx, s.pool, limit, readAllSQL, fresh, int64(after), limit)
	if err != nil {
		return nil, fmt.Errorf("read events after %d: %w", after, err)
	}
	return out, nil
}

// querier is a pool, a transaction or a tenant's scope.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func readRecords(ctx context.Context, db querier, limit int, sql string, args ...any) ([]events.Record, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make([]events.Record, 0, min(limit, 256))
	var id uuid.UUID
	var text string
	for rows.Next() {
		var r events.Record
		var logID uuid.UUID
		var at, recorded time.Time
		var prev, hash []byte
		err := rows.Scan(&r.Position, &logID, &r.Generation, &r.Stream, &r.Sequence, &r.Type, &r.Version, &at, &recorded,
			&r.Correlation, &r.Causation, &r.Command, &r.Index, &r.Count, &r.Claims, &r.Actor, &r.DecidedBy, &r.ForkedFrom,
			&r.TraceParent, &r.KeyIDs, &r.Data, &prev, &hash)
		if err != nil {
			return nil, err
		}
		if logID != id || text == "" {
			id, text = logID, logID.String()
		}
		r.LogID, r.Time, r.Recorded = text, at.UTC(), recorded.UTC()
		if len(prev) != len(r.PrevHash) || len(hash) != len(r.Hash) {
			return nil, &events.ChainError{Position: r.Position, Reason: "a stored hash is not 32 bytes long: this event was changed"}
		}
		copy(r.PrevHash[:], prev)
		copy(r.Hash[:], hash)
		out = append(out, r)
	}
	return out, rows.Err()
}

// Head implements eventstore.Reader.
func (s *Store) Head(ctx context.Context) (eventstore.Head, error) {
	var h eventstore.Head
	if err := scanHead(s.pool.QueryRow(ctx, headSQL), &h); err != nil {
		return h, fmt.Errorf("read head: %w", err)
	}
	return h, nil
}

// OpenStreams implements eventstore.Reader.
func (s *Store) OpenStreams(ctx context.Context, kind string, after domain.StreamID, limit int) ([]domain.StreamID, error) {
	rows, err := s.pool.Query(ctx, openSQL, fresh, kind, string(after), max(limit, 0))
	if err != nil {
		return nil, fmt.Errorf("list open streams of %s: %w", kind, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[domain.StreamID])
	if err != nil {
		return nil, fmt.Errorf("list open streams of %s: %w", kind, err)
	}
	return ids, nil
}

// Committed implements eventstore.Reader.
func (s *Store) Committed(ctx context.Context, t domain.Tenant, c domain.CommandID) (eventstore.Receipt, []byte, bool, error) {
	return committed(ctx, s.pool, t, c)
}

func committed(ctx context.Context, db querier, t domain.Tenant, c domain.CommandID) (eventstore.Receipt, []byte, bool, error) {
	var done batch.Done
	found := false
	rows, err := db.Query(ctx, committedSQL, fresh, string(t), string(c))
	if err == nil {
		err = readCommands(rows, func(_ batch.CommandKey, d batch.Done) { done, found = d, true })
		rows.Close()
	}
	if err = errors.Join(err); err != nil {
		return eventstore.Receipt{}, nil, false, fmt.Errorf("look up command %s: %w", c, err)
	}
	done.Receipt.Replayed = found
	return done.Receipt, done.Body, found, nil
}
