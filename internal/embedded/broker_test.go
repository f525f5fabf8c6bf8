package embedded_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/kafka"
)

func brokerAt(t *testing.T, o embedded.BrokerOptions) *embedded.Broker {
	t.Helper()
	b, err := embedded.StartBroker(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

func brokerClient(t *testing.T, b *embedded.Broker) log.Log {
	t.Helper()
	l, err := kafka.Open(t.Context(), kafka.Options{Brokers: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func brokerFill(t *testing.T, b *embedded.Broker, key string) log.Partition {
	t.Helper()
	l, p := brokerClient(t, b), log.Partition{Topic: "t.events", ID: 0}
	if err := l.Create(t.Context(), []log.Topic{{Name: p.Topic, Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context(), []log.Message{{Partition: p, Key: key, Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	if err := l.(log.Offsets).CommitOffsets(t.Context(), "g", map[log.Partition]log.Resume{p: {Offset: 1, Metadata: "m"}}); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBrokerKeepsRecordsAndResumePointsOverARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := brokerAt(t, embedded.BrokerOptions{Dir: dir})
	p := brokerFill(t, first, "kept")
	first.Stop()

	l := brokerClient(t, brokerAt(t, embedded.BrokerOptions{Dir: dir}))
	m, ok, err := l.Last(t.Context(), p)
	if err != nil || !ok || m.Key != "kept" {
		t.Fatalf("last = %q, %v, %v", m.Key, ok, err)
	}
	at, err := l.(log.Offsets).CommittedOffsets(t.Context(), "g", p)
	if err != nil || at[p] != (log.Resume{Offset: 1, Metadata: "m"}) {
		t.Fatalf("resume point = %v, %v", at, err)
	}
}

func TestBrokerListensOnTheLoopbackInterfaceOnly(t *testing.T) {
	t.Parallel()
	host, _, err := net.SplitHostPort(brokerAt(t, embedded.BrokerOptions{}).Addr())
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Fatalf("listens on %q, %v", host, err)
	}
}

func TestTwoBrokersNeverShareAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := brokerAt(t, embedded.BrokerOptions{Dir: dir})
	if _, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: dir}); !errors.Is(err, embedded.ErrBrokerInUse) {
		t.Fatalf("error = %v", err)
	}
	first.Stop()
	brokerAt(t, embedded.BrokerOptions{Dir: dir})
}

func TestATakenPortIsNamed(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(brokerAt(t, embedded.BrokerOptions{}).Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Port: n}); !errors.Is(err, embedded.ErrBrokerInUse) {
		t.Fatalf("error = %v", err)
	}
}

func TestADamagedFolderIsReportedAndCanBeDeleted(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"meta.json", "topics.json"} {
		dir := t.TempDir()
		first := brokerAt(t, embedded.BrokerOptions{Dir: dir})
		brokerFill(t, first, "lost")
		first.Stop()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(`{"version":`), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: dir}); !errors.Is(err, embedded.ErrBrokerDamaged) {
			t.Fatalf("%s: error = %v", file, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		second := brokerAt(t, embedded.BrokerOptions{Dir: dir})
		brokerFill(t, second, "again")
		second.Stop()
	}
}

func TestABrokerIsNotStartedForAnEndedContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.StartBroker(ctx, embedded.BrokerOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
}
