package kafka_test

import (
	"context"
	"errors"
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

func TestKafkaLogConformsOnApacheKafka(t *testing.T) {
	t.Parallel()
	broker := os.Getenv("HISHAMOS_TEST_KAFKA")
	if broker == "" {
		t.Skip("set HISHAMOS_TEST_KAFKA to a broker's host:port (internal/tools/kafka.sh starts one)")
	}
	logtest.Exercise(t, opener(broker), everything)
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
