package memory

import (
	"context"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// Tenants implements eventstore.TenantReader.
type Tenants struct{ *Store }

func sees(as domain.Tenant, r events.Record) bool {
	return as == eventstore.Everyone || as != "" && r.Stream.Tenant() == as
}

// ReadStream implements eventstore.TenantReader.
func (t Tenants) ReadStream(ctx context.Context, as domain.Tenant, stream domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error) {
	records, err := t.Store.ReadStream(ctx, stream, after, limit)
	if err != nil || len(records) == 0 || !sees(as, records[0]) {
		return nil, err
	}
	return records, nil
}

// ReadAll implements eventstore.TenantReader.
func (t Tenants) ReadAll(ctx context.Context, as domain.Tenant, after, upTo domain.Position, limit int) (eventstore.Page, error) {
	page := eventstore.Page{Reached: max(after, upTo)}
	all, err := t.Store.ReadAll(ctx, after, int(page.Reached-after))
	for _, r := range all {
		if sees(as, r) {
			page.Records = append(page.Records, r)
		}
		if len(page.Records) == limit {
			page.Reached = r.Position
			break
		}
	}
	return page, err
}
