package checkpoint_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/checkpoint"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// memory is a log that grows.
type memory struct{ records []events.Record }

func (m *memory) ReadAll(_ context.Context, after domain.Position, limit int) ([]events.Record, error) {
	from := min(int(after), len(m.records))
	return m.records[from:min(from+limit, len(m.records))], nil
}

// workshop makes checkpoints of a log in memory, with a clock that stands still.
type workshop struct {
	t     *testing.T
	log   *memory
	store checkpoint.Store
	keys  checkpoint.Keys
	now   time.Time
}

func newWorkshop(t *testing.T, pool *pgxpool.Pool) *workshop {
	return &workshop{t: t, log: &memory{}, store: checkpoint.Store{Pool: pgtest.AsWriter(t, pool)}, keys: checkpoint.Keys{newKey(t)}, now: began}
}

func (w *workshop) maker() *checkpoint.Maker {
	return checkpoint.NewMaker(checkpoint.Options{
		Log: w.log, Store: w.store, Origin: origin, Keys: func() (checkpoint.Keys, error) { return w.keys, nil },
		Every: 100, Interval: 10 * time.Second, Now: func() time.Time { return w.now },
	})
}

func (w *workshop) step(m *checkpoint.Maker, now bool) {
	w.t.Helper()
	if _, err := m.Step(w.t.Context(), now); err != nil {
		w.t.Fatal(err)
	}
}

func (w *workshop) made() []domain.Position {
	w.t.Helper()
	list, err := w.store.After(w.t.Context(), 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	out := []domain.Position{}
	for _, n := range list {
		out = append(out, n.Position)
	}
	return out
}

func (w *workshop) want(positions ...domain.Position) {
	w.t.Helper()
	if got := w.made(); !slices.Equal(got, positions) {
		w.t.Fatalf("made %v, want %v", got, positions)
	}
}

func TestACheckpointIsMadeAfterSoManyEventsOrSoLong(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, pgtest.New(t))
	all := history(600)
	w.log.records = all[:250]
	m := w.maker()
	w.step(m, false)
	w.want(100, 200) // 201 to 250 wait
	w.now = w.now.Add(9 * time.Second)
	w.step(m, false)
	w.want(100, 200)
	w.now = w.now.Add(time.Second)
	w.step(m, false)
	w.want(100, 200, 250)
	w.now = w.now.Add(time.Hour)
	w.step(m, false) // nothing is new
	w.want(100, 200, 250)

	w.log.records = all[:260]
	m = w.maker() // another process goes on
	w.now = w.now.Add(-2 * time.Hour)
	w.step(m, true) // and its clock was set back
	w.want(100, 200, 250, 260)
	w.log.records = all[:400]
	w.step(m, false)
	w.want(100, 200, 250, 260, 360)
	reports, err := verify(t, w.log.records, nil, w.store)
	if err != nil || reports[0].Checkpoints != 5 {
		t.Errorf("verify: %+v, %v", reports, err)
	}
}

func TestALogThatDoesNotFollowOnIsNotSigned(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, pgtest.New(t))
	w.log.records = copyOf(history(300))
	w.log.records[149].Data[0] ^= 1
	_, err := w.maker().Step(t.Context(), true)
	var e *events.ChainError
	if !errors.As(err, &e) || e.Position != 150 {
		t.Errorf("got %v", err)
	}
	w.want()
}

func TestTwoProcessesMakeEachCheckpointOnce(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, pgtest.New(t))
	all := history(400)
	w.log.records = all[:150]
	a, b := w.maker(), w.maker()
	w.step(a, false)
	w.log.records = all[:50] // b comes to nothing yet, but has loaded
	w.step(b, false)
	w.log.records = all
	w.step(a, false)
	if _, err := b.Step(t.Context(), false); !errors.Is(err, checkpoint.ErrMoved) {
		t.Errorf("got %v", err)
	}
	w.step(b, false)
	w.want(100, 200, 300, 400)
}

func TestAKeyThatIsNotHereIsNotReplacedSilently(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, pgtest.New(t))
	all := history(200)
	w.log.records = all[:100]
	m := w.maker()
	w.step(m, false)
	old := w.keys
	w.keys = checkpoint.Keys{newKey(t)}
	w.log.records = all
	if _, err := m.Step(t.Context(), false); !errors.Is(err, checkpoint.ErrKey) {
		t.Fatalf("got %v", err)
	}
	w.keys = append(old, w.keys...) // rotated
	w.step(m, false)
	if _, err := verify(t, all, nil, w.store); err != nil {
		t.Error(err)
	}
}

func TestWhatAnAnchorMissedIsBroughtLaterInOrder(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t, pgtest.New(t))
	all := history(500)
	w.log.records = all[:200]
	m := w.maker()
	w.step(m, false)
	a := &shelf{name: "a", outside: true, err: errors.New("no route")}
	d := checkpoint.NewDelivery(a, w.store, slog.New(slog.DiscardHandler))
	if err := d.Deliver(t.Context()); err == nil || d.State().Error == "" {
		t.Fatalf("got %v, %+v", err, d.State())
	}
	w.log.records = all
	w.step(m, false) // nobody waited
	a.err = nil
	if err := d.Deliver(t.Context()); err != nil || d.State().Error != "" || d.State().Position != 500 {
		t.Fatalf("got %v, %+v", err, d.State())
	}
	if reports, err := verify(t, all, nil, a); err != nil || reports[0].Checkpoints != 5 {
		t.Errorf("got %+v, %v", reports, err)
	}
	if err := d.Deliver(t.Context()); err != nil || len(a.notes) != 5 {
		t.Errorf("brought again: %d, %v", len(a.notes), err)
	}
	foreign := &shelf{name: "b", notes: signed(t, checkpoint.Keys{newKey(t)}, all, 100)}
	if err := checkpoint.NewDelivery(foreign, w.store, slog.Default()).Deliver(t.Context()); !errors.Is(err, checkpoint.ErrKey) || len(foreign.notes) != 1 {
		t.Errorf("an anchor of another key: %v", err)
	}
}

// BenchmarkLeaves walks, hashes and adds leaves as making checkpoints and
// verifying do, without the database.
func BenchmarkLeaves(b *testing.B) {
	records := history(2000)
	keys := checkpoint.Keys{newKey(b)}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		tree := checkpoint.NewTree()
		var mark events.Mark
		err := mark.Walk(records, func(r *events.Record, leaf events.Hash) error {
			if err := tree.Add(leaf); err != nil || r.Position%1000 != 0 {
				return err
			}
			root, err := tree.Root()
			if err != nil {
				return err
			}
			_, err = keys.Sign(checkpoint.Checkpoint{Origin: origin, Position: r.Position, Root: root, Chain: r.Hash, Time: began}, "")
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		n += len(records)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "leaves/s")
	b.ReportMetric(0, "ns/op")
}
