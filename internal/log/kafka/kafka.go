// Package kafka is the published log on Apache Kafka, and on anything that
// speaks its protocol, through sarama.
//
// It must not know what a record means, nor which broker is embedded. It may
// import internal/log, domain and sarama.
//
// Start reading at Open; writer.go holds the guarantee about order, lint.go the
// settings a topic must have.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/IBM/sarama"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
)

// Options say which cluster and how. The zero values of all but Brokers are
// defaults.
type Options struct {
	Brokers           []string      // host:port, at least one
	ReplicationFactor int           // of new topics; 0: 3, or as many as there are brokers
	ClientID          string        // in the broker's logs; default hishamos
	WriteTimeout      time.Duration // how long an unanswered write is repeated; default 30 s
	WriteBuffer       int           // bytes a writer takes before Send blocks; default 32 MiB
	ReadBuffer        int           // records held ahead of the readers of a partition; default 8192
	Logger            *slog.Logger
}

// maxMessage is the largest record batch that topics must take: twice the
// largest append.
const maxMessage = 2 << 20

// ErrUnreachable says that no broker answers.
var ErrUnreachable = &domain.Error{
	Kind: domain.Unavailable, Code: "log.unreachable",
	Message: "Kafka does not answer", Fix: "start the broker, or correct the broker addresses in the settings",
}

// Log is a log on Kafka.
type Log struct {
	opts   Options
	client sarama.Client // for questions and administration
	admin  sarama.ClusterAdmin

	mu        sync.Mutex
	closed    bool
	consumers []*consumer
	tails     map[log.Partition]*tail
	idle      []*writer          // of Publish
	writers   map[*writer]bool   // all that are open
	producers []producerIdentity // to be used again
}

var (
	_ log.Pipelined = (*Log)(nil)
	_ log.Offsets   = (*Log)(nil)
)

// Open connects to a cluster. A cluster that cannot be reached is an
// ErrUnreachable that names the addresses.
func Open(ctx context.Context, opts Options) (log.Log, error) {
	if len(opts.Brokers) == 0 {
		return nil, ErrUnreachable.With("no Kafka broker address is set")
	}
	if opts.ClientID == "" {
		opts.ClientID = "hishamos"
	}
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = 30 * time.Second
	}
	if opts.WriteBuffer == 0 {
		opts.WriteBuffer = 32 << 20
	}
	if opts.ReadBuffer == 0 {
		opts.ReadBuffer = 8192
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	l := &Log{opts: opts, writers: make(map[*writer]bool), tails: make(map[log.Partition]*tail)}
	err := await(ctx, func() (err error) {
		if l.client, err = sarama.NewClient(opts.Brokers, l.config()); err != nil {
			return err
		}
		if l.admin, err = sarama.NewClusterAdminFromClient(l.client); err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err(), l.client.Close())
		}
		return nil
	})
	if err != nil {
		return nil, l.fault("open log", err)
	}
	return l, nil
}

// protocol is the newest level whose requests Kafka 4.3 and kfake both take.
var protocol = sarama.V3_7_0_0

// config holds every setting whose default would be unsafe or unsteady here.
func (l *Log) config() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = l.opts.ClientID
	c.Version = protocol
	c.Net.DialTimeout = 5 * time.Second
	c.Net.ReadTimeout = 15 * time.Second // longer than a broker may take to answer a write
	c.Net.MaxOpenRequests = 1
	c.Metadata.Retry.Max = 3
	c.Metadata.Retry.Backoff = 100 * time.Millisecond
	c.Metadata.AllowAutoTopicCreation = false
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Producer.Compression = sarama.CompressionLZ4
	c.Producer.MaxMessageBytes = maxMessage
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Return.Errors = true
	c.Consumer.MaxWaitTime = 250 * time.Millisecond
	c.Consumer.Retry.Backoff = 100 * time.Millisecond
	c.Consumer.IsolationLevel = sarama.ReadUncommitted // nobody writes transactions here
	c.ChannelBufferSize = 1024
	return c
}

// Close ends all readers, writers and connections.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	writers, consumers, tails := l.writers, l.consumers, l.tails
	l.writers, l.consumers, l.idle, l.tails = nil, nil, nil, nil
	var streams []*stream
	for _, c := range consumers {
		for _, s := range c.open {
			if s != nil {
				streams = append(streams, s)
			}
		}
	}
	l.mu.Unlock()
	for w := range writers {
		w.end(errClosed)
	}
	for _, t := range tails {
		t.end()
	}
	for _, s := range streams {
		s.stop()
	}
	var errs []error
	for _, c := range consumers {
		errs = append(errs, c.Consumer.Close(), c.client.Close())
	}
	for w := range writers {
		w.loop.Wait()
	}
	return errors.Join(append(errs, l.client.Close())...)
}

var errClosed = errors.New("log is closed")

// await runs a call that knows no context. When the context ends first, the
// call is left to end by its own time limits.
func await(ctx context.Context, call func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fault wraps an error with the operation, and turns the many faces of "no
// broker there" into ErrUnreachable.
func (l *Log) fault(operation string, err error) error {
	if err == nil {
		return nil
	}
	if unreachable(err) {
		err = ErrUnreachable.With("Kafka at %s does not answer: %v", strings.Join(l.opts.Brokers, ", "), err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}

func unreachable(err error) bool {
	var network *net.OpError
	for _, e := range []error{
		sarama.ErrOutOfBrokers, sarama.ErrNotConnected, sarama.ErrBrokerNotAvailable,
		sarama.ErrBrokerNotFound, sarama.ErrNotLeaderForPartition, sarama.ErrLeaderNotAvailable, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.EPIPE,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, &network)
}
