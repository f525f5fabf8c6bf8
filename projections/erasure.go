package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/projection"
)

// Erasure is an order to erase as it stands.
type Erasure struct {
	Tenant    domain.Tenant   `db:"tenant,key"`
	Erasure   string          `db:"erasure,key"` // erasure_<uuid>
	Subject   string          `db:"subject"`     // run, person or tenant
	ID        string          `db:"id"`          // of it
	Keys      []string        `db:"keys"`
	Completed bool            `db:"completed"`
	Ordered   time.Time       `db:"ordered"`
	Updated   time.Time       `db:"updated"`
	Version   domain.Sequence `db:"version"`
	Position  domain.Position `db:"position"`
}

// Order is the stream of the order.
func (e Erasure) Order() domain.StreamID { return domain.NewStreamID(e.Tenant, e.Erasure) }

var erasures = projection.NewTable[Erasure]("erasures")

// ErasuresDefinition fills erasures.
func ErasuresDefinition() *projection.Definition {
	return &projection.Definition{
		Name: "erasures", Version: 1,
		Tables:   []*projection.Schema{erasures.Schema},
		Handlers: []projection.Handler{projection.On(erasureOrdered), projection.On(erasureCompleted)},
	}
}

func erasureOrdered(w *projection.Rows, r events.Recorded[events.ErasureOrdered]) {
	e := r.Event
	erasures.Insert(w, Erasure{
		Tenant: r.Stream.Tenant(), Erasure: r.Stream.Entity(), Subject: e.Subject, ID: e.ID, Keys: e.Keys,
		Ordered: r.Time, Updated: r.Time, Version: r.Sequence, Position: r.Position,
	})
}

func erasureCompleted(w *projection.Rows, r events.Recorded[events.ErasureCompleted]) {
	e, ok := erasures.Get(w, Erasure{Tenant: r.Stream.Tenant(), Erasure: r.Stream.Entity()})
	if !ok {
		return
	}
	e.Completed, e.Updated, e.Version, e.Position = true, r.Time, r.Sequence, r.Position
	erasures.Put(w, e)
}

// Erasures are the queries over orders to erase.
type Erasures struct{ DB DB }

const erasuresAfterSQL = `
select tenant, erasure, subject, id, keys, completed, ordered, updated, version, position
from erasures
where build = live_build('erasures', 1) and position > $1 order by position limit 500`

// After returns the orders of all tenants that changed after a position, in its
// order, up to 500. It is for the program itself: no tenant is asked for.
func (q Erasures) After(ctx context.Context, position domain.Position) ([]Erasure, error) {
	found, err := collect[Erasure](ctx, q.DB, erasuresAfterSQL, []any{position})
	if err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	return found, nil
}
