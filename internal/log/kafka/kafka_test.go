package kafka_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/kafka"
	"github.com/hishamos/hishamos/internal/log/logtest"
)

func opener(broker string) func(*testing.T) log.Log {
	return func(t *testing.T) log.Log {
		l, err := kafka.Open(t.Context(), kafka.Options{Brokers: []string{broker}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		return l
	}
}

var everything = logtest.Capabilities{Offsets: true, Pipelined: true, LintConfig: true, LintCount: true}

func TestKafkaLogConformsOnTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	logtest.Exercise(t, opener(b.Addr()), everything)
}

func TestAPrefixedLogConformsToo(t *testing.T) {
	t.Parallel()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	open := opener(b.Addr())
	logtest.Exercise(t, func(t *testing.T) log.Log { return log.Prefixed(open(t), "team-a.") }, everything)
}

func TestLogsOfOneBrokerDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	whole := opener(b.Addr())(t)
	one, two := log.Prefixed(whole, "one."), log.Prefixed(whole, "two.")
	for _, l := range []log.Log{one, two} {
		if err := l.Create(t.Context(), []log.Topic{{Name: "t", Partitions: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	p := log.Partition{Topic: "t"}
	if err := one.Publish(t.Context(), []log.Message{{Partition: p, Key: "k"}}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := two.Last(t.Context(), p); ok || err != nil {
		t.Errorf("the other log has the record: %v", err)
	}
	if err := two.Delete(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	names, err := whole.Topics(t.Context(), "")
	if err != nil || len(names) != 1 || names["one.t"] != 1 {
		t.Errorf("topics %v: %v", names, err)
	}
	at := map[log.Partition]log.Resume{p: {Offset: 1}}
	if err := one.(log.Offsets).CommitOffsets(t.Context(), "g", at); err != nil {
		t.Fatal(err)
	}
	got, err := whole.(log.Offsets).CommittedOffsets(t.Context(), "one.g", log.Partition{Topic: "one.t"})
	if err != nil || len(got) != 1 {
		t.Errorf("group one.g is at %v: %v", got, err)
	}
}

func TestKafkaLogConformsOnApacheKafka(t *testing.T) {
	t.Parallel()
	broker := os.Getenv("HISHAMOS_TEST_KAFKA")
	if broker == "" {
		t.Skip("set HISHAMOS_TEST_KAFKA to a broker's host:port (internal/tools/kafka.sh starts one)")
	}
	logtest.Exercise(t, opener(broker), everything)
}

func TestThereIsNoWriterWithoutABroker(t *testing.T) {
	t.Parallel()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l := opener(b.Addr())(t)
	b.Stop()
	if w, err := log.NewWriter(t.Context(), l); w != nil || err == nil {
		t.Errorf("a writer %v, %v", w, err)
	}
}

func TestAnUnreachableBrokerIsNamedWithWhatToDo(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = kafka.Open(t.Context(), kafka.Options{Brokers: []string{addr}})
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Kind != domain.Unavailable || !strings.Contains(e.Message, addr) || e.Fix == "" {
		t.Fatalf("error = %v", err)
	}
	if _, err = kafka.Open(t.Context(), kafka.Options{}); !errors.Is(err, kafka.ErrUnreachable) {
		t.Fatalf("without addresses: %v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := kafka.Open(ctx, kafka.Options{Brokers: []string{"127.0.0.1:1"}}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
}
