package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/eventstore"
	store "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/kafka"
	"github.com/hishamos/hishamos/internal/relay"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func broker(t testing.TB, dir string, port int) *embedded.Broker {
	t.Helper()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: dir, Port: port, Logger: quiet})
	check(t, err)
	t.Cleanup(b.Stop)
	return b
}

func onKafka(t testing.TB, addr string) log.Log {
	t.Helper()
	l, err := kafka.Open(t.Context(), kafka.Options{Brokers: []string{addr}, Logger: quiet})
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestTheRelayPublishesToABrokerInOrder(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), onKafka(t, broker(t, t.TempDir(), 0).Addr())
	fill(t, s, 10_000, types...)
	drain(t, newRelay(s, l))
	if n := consume(t, s, l); n != 0 {
		t.Fatalf("%d repeats", n)
	}
	_, m := merged(t, l, 0)
	if m.Last != 10_000 || m.Missing != 0 {
		t.Fatalf("merged %+v", m)
	}
}

// running runs a relay until the test ends; marks receives each published
// position.
func running(t *testing.T, s eventstore.Reader, l log.Log) (marks chan domain.Position) {
	t.Helper()
	marks = make(chan domain.Position, 1<<16)
	r := newRelay(s, l, func(o *relay.Options) {
		o.Logger, o.Poll = quiet, 100*time.Millisecond
		o.OnPublished = func(p domain.Position) { marks <- p }
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("relay ended with %v", err)
		}
	})
	return marks
}

func reaches(t *testing.T, marks chan domain.Position, want domain.Position) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case p := <-marks:
			if p == want {
				return
			}
		case <-deadline:
			t.Fatalf("position %d is not published", want)
		}
	}
}

func TestARunningRelayRepairsABrokerThatComesBackWithoutItsNewestRecords(t *testing.T) {
	t.Parallel()
	dir, old := t.TempDir(), t.TempDir()+"/old"
	b := broker(t, dir, 0)
	_, text, err := net.SplitHostPort(b.Addr())
	check(t, err)
	port, err := strconv.Atoi(text)
	check(t, err)
	s, l := store.New(store.Options{}), onKafka(t, b.Addr())
	marks := running(t, s, l)

	fill(t, s, 500, types...)
	reaches(t, marks, 500)
	b.Stop()
	check(t, os.CopyFS(old, os.DirFS(dir))) // what the disk held at that moment
	b = broker(t, dir, port)
	fill(t, s, 500, types...)
	reaches(t, marks, 1000)
	b.Stop()
	broker(t, old, port) // the second half is lost, hint and all
	fill(t, s, 100, types...)
	reaches(t, marks, 1100)
	consume(t, s, l)
}

func TestACommitReachesTheLogWithoutWaitingForThePoll(t *testing.T) {
	t.Parallel()
	s, l := store.New(store.Options{}), onKafka(t, broker(t, t.TempDir(), 0).Addr())
	marks := make(chan domain.Position, 100)
	r := newRelay(s, l, func(o *relay.Options) {
		o.Logger, o.Poll = quiet, time.Hour
		o.OnPublished = func(p domain.Position) { marks <- p }
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for i := range domain.Position(20) {
		fill(t, s, 1, types...)
		reaches(t, marks, i+1)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// endless is a store of n events made from a few, so that only the relay and
// the log are measured.
type endless struct {
	eventstore.Reader
	records []events.Record
}

func (e endless) Head(context.Context) (eventstore.Head, error) {
	return eventstore.Head{LogID: e.records[0].LogID, Position: domain.Position(len(e.records))}, nil
}

func (e endless) ReadAll(_ context.Context, after domain.Position, limit int) ([]events.Record, error) {
	from := min(int(after), len(e.records))
	return e.records[from:min(from+limit, len(e.records))], nil
}

// BenchmarkRefill publishes a store to an empty embedded broker on disk and
// reports events/s.
func BenchmarkRefill(b *testing.B) {
	e := endless{}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	data := fmt.Appendf(nil, `{"path":"plan/for-each[3]/call[1]","output":%q}`, make([]byte, 50))
	for i := range 300_000 {
		r := events.Record{Data: data, Envelope: events.Envelope{
			LogID: "bench", Generation: 1, Type: types[0], Version: 1, Sequence: domain.Sequence(i/500 + 1), Position: domain.Position(i + 1),
			Stream: domain.StreamID(fmt.Sprintf("default/run_%08d-0000-7000-8000-000000000000", i%500)), Time: at, Recorded: at,
			Correlation: "0190a0a0-0000-7000-8000-000000000000", Causation: "0190a0a0-0000-7000-8000-000000000000",
			Command: "0190a0a0-0000-7000-8000-000000000000", Count: 1, Actor: `[{"id":"t_1","kind":"token"}]`,
		}}
		if i > 0 {
			r.PrevHash = e.records[i-1].Hash
		}
		r.Hash[0], r.Hash[1], r.Hash[2] = byte(i), byte(i>>8), byte(i>>16)
		e.records = append(e.records, r)
	}
	for b.Loop() {
		b.StopTimer()
		l := onKafka(b, broker(b, b.TempDir(), 0).Addr())
		r := newRelay(e, l, func(o *relay.Options) { o.Batch, o.Logger = 1000, quiet })
		check(b, r.Resume(b.Context()))
		b.StartTimer()
		drain(b, r)
	}
	b.ReportMetric(float64(len(e.records)*b.N)/b.Elapsed().Seconds(), "events/s")
}
