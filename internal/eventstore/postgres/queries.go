package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/pg"
)

// Queries is the side of the store that answers requests: it sees what a tenant
// may see, by the reader's own rights. It implements eventstore.TenantReader.
type Queries struct{ reader pg.Reader }

// NewQueries returns the queries of a migrated database.
func NewQueries(r pg.Reader) Queries { return Queries{r} }

const (
	readRangeSQL = `select ` + recordColumns + ` from events where position > $1 and position <= $2 order by position limit $3`
	recordedSQL  = `select recorded from events where position = $1`
	// window bounds how many positions one query goes over to find a tenant's.
	window = 10_000
)

func (q Queries) as(t domain.Tenant) pg.Scope {
	if t == eventstore.Everyone {
		return q.reader.Everyone().Keyed()
	}
	return q.reader.Of(t).Keyed()
}

// ReadStream implements eventstore.TenantReader.
func (q Queries) ReadStream(ctx context.Context, as domain.Tenant, stream domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	out, err := readRecords(ctx, q.as(as), limit, readStreamSQL, string(stream), int64(after), limit)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return out, nil
}

// ReadAll implements eventstore.TenantReader.
func (q Queries) ReadAll(ctx context.Context, as domain.Tenant, after, upTo domain.Position, limit int) (eventstore.Page, error) {
	page := eventstore.Page{Reached: max(after, min(upTo, after+window))}
	if limit <= 0 || page.Reached == after {
		return eventstore.Page{Reached: after}, nil
	}
	var err error
	page.Records, err = readRecords(ctx, q.as(as), limit, readRangeSQL, int64(after), int64(page.Reached), limit)
	if err != nil {
		return eventstore.Page{Reached: after}, fmt.Errorf("read events after %d: %w", after, err)
	}
	if len(page.Records) == limit {
		page.Reached = page.Records[limit-1].Position
	}
	return page, nil
}

// Head implements eventstore.TenantReader.
func (q Queries) Head(ctx context.Context) (eventstore.Head, error) {
	var h eventstore.Head
	if err := scanHead(q.reader.Of("").QueryRow(ctx, headSQL), &h); err != nil {
		return h, fmt.Errorf("read head: %w", err)
	}
	return h, nil
}

// Recorded is when the event at a position was recorded, whoever it belongs to:
// an instant of the past is looked up by it.
func (q Queries) Recorded(ctx context.Context, p domain.Position) (time.Time, error) {
	var at time.Time
	err := q.reader.Everyone().QueryRow(ctx, recordedSQL, int64(p)).Scan(&at)
	if errors.Is(err, pgx.ErrNoRows) {
		return at, fmt.Errorf("read when event %d was recorded: it is missing", p)
	}
	if err != nil {
		return at, fmt.Errorf("read when event %d was recorded: %w", p, err)
	}
	return at.UTC(), nil
}

// Committed returns the receipt of a tenant's command id, if it was carried out,
// and the body digest it was carried out with.
func (q Queries) Committed(ctx context.Context, t domain.Tenant, c domain.CommandID) (eventstore.Receipt, []byte, bool, error) {
	return committed(ctx, q.reader.Of(t).Keyed(), t, c)
}
