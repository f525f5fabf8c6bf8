package kafka_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/kafka"
)

var p0 = log.Partition{Topic: "t.events", ID: 0}

func numbered(from, n int) []log.Message {
	ms := make([]log.Message, n)
	for i := range ms {
		ms[i] = log.Message{Partition: p0, Key: strconv.Itoa(from + i), Value: []byte("v")}
	}
	return ms
}

func client(t *testing.T, addr string) log.Log {
	t.Helper()
	l, err := kafka.Open(t.Context(), kafka.Options{Brokers: []string{addr}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := l.Create(t.Context(), []log.Topic{{Name: p0.Topic, Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	return l
}

// stored returns the numbers that the partition holds.
func stored(t *testing.T, l log.Log) []int {
	t.Helper()
	bounds, err := l.Bounds(t.Context(), p0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Open(t.Context(), p0, -1)
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for int64(len(out)) < bounds[p0].End {
		ms, err := r.Poll(1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(ms) == 0 {
			<-r.Ready()
		}
		for _, m := range ms {
			n, err := strconv.Atoi(m.Key)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, n)
		}
	}
	return out
}

// write sends numbers until n are in the log, going on after the last record
// whenever the writer ends.
func write(t *testing.T, l log.Log, n, batch, ahead int) (sessions int) {
	t.Helper()
	for {
		sessions++
		next := 0
		last, ok, err := l.Last(t.Context(), p0)
		if err != nil {
			continue
		}
		if ok {
			if next, err = strconv.Atoi(last.Key); err != nil {
				t.Fatal(err)
			}
			next++
		}
		if next >= n {
			return sessions
		}
		w, err := log.NewWriter(t.Context(), l)
		if err != nil {
			continue
		}
		var acks []*log.Ack
		for ; next < n && err == nil; next += batch {
			var ack *log.Ack
			if ack, err = w.Send(t.Context(), numbered(next, min(batch, n-next))); err != nil {
				break
			}
			if acks = append(acks, ack); len(acks) > ahead {
				err = acks[0].Err()
				acks = acks[1:]
			}
		}
		for _, a := range acks {
			_ = a.Err() // the next session reads what is there
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func inOrder(t *testing.T, got []int, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("%d records, expected %d", len(got), n)
	}
	for i, v := range got {
		if v != i {
			t.Fatalf("record %d is %d: out of order, missing or repeated", i, v)
		}
	}
}

// cutter closes a connection instead of writing the next answer to it.
type cutter struct {
	net.Listener
	armed atomic.Bool
	cuts  atomic.Int64
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return cutConn{conn, c}, err
}

type cutConn struct {
	net.Conn
	by *cutter
}

func (c cutConn) Write(b []byte) (int, error) {
	if c.by.armed.CompareAndSwap(true, false) {
		c.by.cuts.Add(1)
		return 0, errors.Join(errors.New("cut by plan"), c.Close())
	}
	return c.Conn.Write(b)
}

func TestDroppedAnswersNeverReorderLoseOrRepeatRecords(t *testing.T) {
	t.Parallel()
	cut := new(cutter)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), network, addr)
		cut.Listener = l
		return cut, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	l := client(t, cluster.ListenAddrs()[0])
	var produced atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if produced.Add(1)%10 == 0 { // the broker has it, the client never hears
			cut.armed.Store(true)
		}
		return nil, nil, false
	})
	const n = 20_000
	sessions := write(t, l, n, 10, 8)
	inOrder(t, stored(t, l), n)
	if cut.cuts.Load() < 10 || sessions < 10 {
		t.Fatalf("only %d answers were dropped in %d sessions", cut.cuts.Load(), sessions)
	}
	if most := int(cut.cuts.Load()) + 5; sessions > most {
		t.Fatalf("%d sessions for %d dropped answers: writers end without need", sessions, cut.cuts.Load())
	}
}

func TestARefusedBatchHoldsBackAllBehindIt(t *testing.T) {
	t.Parallel()
	for _, refusal := range []*kerr.Error{
		kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.NotLeaderForPartition,
		kerr.UnknownServerError, kerr.NotEnoughReplicasAfterAppend, kerr.UnknownTopicOrPartition,
	} {
		t.Run(refusal.Message, func(t *testing.T) {
			t.Parallel()
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Close)
			l := client(t, cluster.ListenAddrs()[0])
			var produced atomic.Int64
			fault := cluster.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Produce}, Topic: p0.Topic, Partitions: []int32{0}, Err: refusal, Count: -1,
				When: func(kmsg.Request) bool { return produced.Add(1)%7 == 0 },
			})
			const n = 3000
			write(t, l, n, 10, 8)
			inOrder(t, stored(t, l), n)
			if fault.Hits() == 0 {
				t.Fatal("nothing was refused")
			}
		})
	}
}

func TestAWriterNeverWritesBehindALostTail(t *testing.T) {
	t.Parallel()
	dir, old := t.TempDir(), t.TempDir()
	start := func(dir string, port int) (*embedded.Broker, int) {
		b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: dir, Port: port})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Stop)
		_, text, err := net.SplitHostPort(b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		port, err = strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return b, port
	}
	b, port := start(dir, 0)
	l := client(t, b.Addr())
	w, err := log.NewWriter(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	send := func(from, n int) error {
		ack, err := w.Send(t.Context(), numbered(from, n))
		if err != nil {
			return err
		}
		return ack.Err()
	}
	if err := send(0, 100); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	if err := os.CopyFS(old+"/copy", os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b, _ = start(dir, port)
	write(t, l, 200, 10, 2)              // another session of the same client
	if err := send(200, 1); err != nil { // it settles what was on its way
		t.Fatal(err)
	}
	if err := send(201, 1); err == nil {
		t.Fatal("the first writer outlived a lost connection")
	}
	if w, err = log.NewWriter(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := send(201, 1); err != nil {
		t.Fatal(err)
	}
	b.Stop() // and comes back as it was after the first hundred
	start(old+"/copy", port)
	if err := send(202, 1); err == nil {
		t.Fatal("written behind a lost tail")
	}
	// A new writer that was told where the partition ended does not either.
	if w, err = log.NewWriter(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	w.Expect(map[log.Partition]int64{p0: 202})
	if err := send(202, 1); !errors.Is(err, log.ErrLostTail) {
		t.Fatalf("error = %v", err)
	}
	if got := stored(t, l); len(got) != 100 || got[99] != 99 {
		t.Fatalf("%d records, the last is %v", len(got), got[len(got)-1:])
	}
	write(t, l, 300, 10, 2)
	inOrder(t, stored(t, l), 300)
}

func TestAMessageThatNoTopicTakesIsRefusedBeforeAnyIsWritten(t *testing.T) {
	t.Parallel()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	l := client(t, b.Addr())
	ms := numbered(0, 3)
	ms[2].Value = make([]byte, 3<<20)
	if err := l.Publish(t.Context(), ms); err == nil {
		t.Fatal("published")
	}
	if got := stored(t, l); len(got) != 0 {
		t.Fatalf("%d written", len(got))
	}
	if err := l.Publish(t.Context(), numbered(0, 1)); err != nil {
		t.Fatal(fmt.Errorf("after it: %w", err))
	}
}
