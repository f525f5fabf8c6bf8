package projection_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	storememory "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/projection/memory"
	"github.com/hishamos/hishamos/internal/projection/projectiontest"
)

// secret is the row of the projection these tests use: the secrets a token had.
type secret struct {
	Token   domain.StreamID `db:"token,key"`
	Secrets []string        `db:"secrets"`
	Revoked bool            `db:"revoked"`
}

// tally counts events of every token in one row.
type tally struct {
	Name  string `db:"name,key"`
	Count int64  `db:"count"`
}

var (
	secrets = projection.NewHistoryTable[secret]("test_secrets")
	tallies = projection.NewCounter[tally]("test_tallies")
)

const poison = "poison"

var errPoison = errors.New("this secret cannot be applied")

// kit is a world with a projection that fails on poison until it is mended.
type kit struct {
	*testing.T
	def    *projection.Definition
	mended atomic.Bool
	events *storememory.Store
	rows   projection.Store
	world  *projectiontest.World
	runner *projection.Runner
	n      int
}

func newKit(t *testing.T, partitions int, rows projection.Store) *kit {
	t.Helper()
	k := &kit{T: t, events: storememory.New(storememory.Options{}), rows: rows}
	if rows == nil {
		k.rows = memory.New()
	}
	k.def = &projection.Definition{
		Name: "secrets", Version: 1,
		Tables: []*projection.Schema{secrets.Schema, tallies.Schema},
		Handlers: []projection.Handler{
			projection.On(func(w *projection.Rows, r events.Recorded[events.TokenIssued]) {
				secrets.Insert(w, secret{Token: r.Stream, Secrets: []string{r.Event.SecretHash}})
				tallies.Add(w, tally{Name: "all", Count: 1})
			}),
			projection.On(func(w *projection.Rows, r events.Recorded[events.TokenRotated]) {
				tallies.Add(w, tally{Name: "all", Count: 1})
				row, ok := secrets.Get(w, secret{Token: r.Stream})
				row.Token = r.Stream
				row.Secrets = append(row.Secrets[:len(row.Secrets):len(row.Secrets)], r.Event.SecretHash)
				secrets.Put(w, row)
				if !ok || r.Event.SecretHash == poison && !k.mended.Load() {
					w.Fail(errPoison)
				}
			}),
			projection.On(func(w *projection.Rows, r events.Recorded[events.TokenRevoked]) {
				row, ok := secrets.Get(w, secret{Token: r.Stream})
				if !ok {
					panic("revoked before it was issued")
				}
				row.Revoked = true
				secrets.Put(w, row)
			}),
		},
	}
	k.world = projectiontest.NewWorld(t, k.events, partitions)
	k.runner = k.world.Runner(t, k.rows, 100, k.def)
	if err := k.runner.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *kit) stream() domain.StreamID {
	k.n++
	return domain.NewStreamID("default", "token_"+uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, k.n)).String())
}

// append puts events into the store, not on the log.
func (k *kit) append(s domain.StreamID, es ...events.Event) []events.Record {
	k.Helper()
	k.n++
	w := eventstore.Write{Stream: s, Expected: eventstore.Any}
	for _, e := range es {
		v, data, err := events.Encode(e)
		if err != nil {
			k.Fatal(err)
		}
		w.Events = append(w.Events, eventstore.Proposed{Type: e.EventType(), Version: v, Time: time.Now(), Data: data})
	}
	r, err := k.events.Append(k.Context(), eventstore.Append{Command: domain.CommandID(fmt.Sprint(k.n)), Tenant: s.Tenant(), Writes: []eventstore.Write{w}, Actor: "[]"})
	if err != nil {
		k.Fatal(err)
	}
	return r.Records
}

func (k *kit) publish(s domain.StreamID, es ...events.Event) domain.Position {
	k.Helper()
	records := k.append(s, es...)
	k.world.Publish(k, records...)
	return records[len(records)-1].Position
}

func issued(hash string) events.TokenIssued   { return events.TokenIssued{SecretHash: hash} }
func rotated(hash string) events.TokenRotated { return events.TokenRotated{SecretHash: hash} }

func (k *kit) feeds() []*projection.Feed { return k.world.Feeds(k, k.runner, k.def) }

func (k *kit) feedOf(s domain.StreamID) *projection.Feed {
	k.Helper()
	f, err := k.runner.Open(k.Context(), k.def.Name, log.Partition{Topic: "hishamos.token.events", ID: log.PartitionOf(string(s), k.world.Partitions)})
	if err != nil {
		k.Fatal(err)
	}
	return f
}

func (k *kit) step(f *projection.Feed) int {
	k.Helper()
	n, err := f.Step(k.Context())
	if err != nil {
		k.Fatal(err)
	}
	return n
}

func (k *kit) build() projection.Build {
	k.Helper()
	b, ok, err := k.rows.Live(k.Context(), k.def.Name, 1)
	if err != nil || !ok {
		k.Fatalf("live build: %t, %v", ok, err)
	}
	return b
}

func (k *kit) row(s domain.StreamID) (secret, bool) {
	k.Helper()
	rows, err := k.rows.Load(k.Context(), k.build(), secrets.Schema, []any{&secret{Token: s}})
	if err != nil {
		k.Fatal(err)
	}
	if len(rows) == 0 {
		return secret{}, false
	}
	return *rows[0].Row.(*secret), true
}

func (k *kit) tally() int64 {
	k.Helper()
	rows, err := k.rows.Load(k.Context(), k.build(), tallies.Schema, []any{&tally{Name: "all"}})
	if err != nil {
		k.Fatal(err)
	}
	if len(rows) == 0 {
		return 0
	}
	return rows[0].Row.(*tally).Count
}

func (k *kit) status() projection.Status {
	k.Helper()
	s, err := k.runner.Status(k.Context(), k.def.Name)
	if err != nil {
		k.Fatal(err)
	}
	return s
}

// digests checks that the live rows are those of a replay.
func (k *kit) rebuiltIsLive() {
	k.Helper()
	live, err := k.runner.Digest(k.Context(), k.def.Name)
	if err != nil {
		k.Fatal(err)
	}
	fresh := k.world.Runner(k, memory.New(), 0, k.def)
	if err := fresh.Rebuild(k.Context(), k.def.Name); err != nil {
		k.Fatal(err)
	}
	if again, err := fresh.Digest(k.Context(), k.def.Name); err != nil || again != live {
		k.Errorf("rebuilt digest %s, live %s, %v", again, live, err)
	}
}
