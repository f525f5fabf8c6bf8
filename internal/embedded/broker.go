package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/hishamos/hishamos/domain"
)

// BrokerOptions say where the broker lives. The zero values of all but Dir are
// defaults.
type BrokerOptions struct {
	Dir        string // of its data; empty: in memory only
	Port       int    // on the loopback interface; 0: any free one
	Segment    int64  // bytes of one file of a partition, which is what can be trimmed; 0: 8 MiB
	SyncWrites bool   // fsync every batch; slow, and the event store is durable already
	Logger     *slog.Logger
}

// Broker is a Kafka broker inside this process. It listens on the loopback
// interface only and keeps its data in a folder, in the page cache like Kafka:
// what a power cut takes, the relay writes again.
type Broker struct {
	opts    BrokerOptions
	mu      sync.Mutex // guards cluster and stopped
	cluster *kfake.Cluster
	stopped bool
	dir     string
	lock    *os.File
	addr    string
}

// The ways a broker cannot start.
var (
	ErrBrokerInUse = &domain.Error{
		Kind: domain.Unavailable, Code: "embedded.broker_in_use",
		Message: "another process uses the broker's folder or port", Fix: "stop the other process, or choose another folder and port",
	}
	ErrBrokerDamaged = &domain.Error{
		Kind: domain.Internal, Code: "embedded.broker_damaged",
		Message: "the broker's folder cannot be read", Fix: "delete the folder: it is refilled from the event store",
	}
)

// StartBroker starts the broker on its folder, which is made if it is missing.
func StartBroker(ctx context.Context, o BrokerOptions) (*Broker, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start broker: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Segment == 0 {
		o.Segment = 8 << 20
	}
	b := &Broker{opts: o, dir: o.Dir}
	if o.Dir != "" {
		if err := b.brokerLock(o.Dir); err != nil {
			return nil, fmt.Errorf("start broker: %w", err)
		}
	}
	if err := b.brokerOpen(o.Port); err != nil {
		b.brokerUnlock()
		return nil, fmt.Errorf("start broker: %w", err)
	}
	b.addr = b.cluster.ListenAddrs()[0]
	return b, nil
}

func (b *Broker) brokerOpts(port int) []kfake.Opt {
	opts := []kfake.Opt{
		kfake.Ports(port),
		kfake.WithLogger(brokerLogger{b.opts.Logger}),
		kfake.ClusterID("hishamos-embedded"),
		kfake.BrokerConfigs(map[string]string{
			"offsets.retention.minutes": "2147483647", // resume points are never old
			"log.segment.bytes":         strconv.FormatInt(b.opts.Segment, 10),
		}),
	}
	if b.dir != "" {
		opts = append(opts, kfake.DataDir(b.dir))
	}
	if b.opts.SyncWrites {
		opts = append(opts, kfake.SyncWrites())
	}
	return opts
}

// brokerOpen starts the cluster and tells what went wrong in the user's terms.
// kfake parses its folder by trusting it: a panic there is damage too.
func (b *Broker) brokerOpen(port int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = ErrBrokerDamaged.With("the broker's folder %s cannot be read: %v", b.dir, p)
		}
	}()
	b.cluster, err = kfake.NewCluster(b.brokerOpts(port)...)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return ErrBrokerInUse.With("port %d is used by another process", port)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ENOSPC):
		return err
	case b.dir != "" && strings.Contains(err.Error(), "persisted state"):
		return ErrBrokerDamaged.With("the broker's folder %s cannot be read: %v", b.dir, err)
	}
	return err
}

// brokerLock makes sure that one process uses the folder: kfake does not.
func (b *Broker) brokerLock(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "broker.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(ErrBrokerInUse.With("another process uses the broker's folder %s", dir), f.Close())
	}
	b.lock = f
	return nil
}

func (b *Broker) brokerUnlock() {
	if b.lock != nil {
		_ = b.lock.Close() // which gives the lock back
	}
}

// Addr is the host and port to connect to.
func (b *Broker) Addr() string { return b.addr }

// Stop writes everything down and stops listening.
func (b *Broker) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	b.stopped = true
	if b.cluster != nil { // it may not have come back
		b.cluster.Close()
	}
	b.brokerUnlock()
}

// brokerLogger passes kfake's warnings on; the rest is noise.
type brokerLogger struct{ *slog.Logger }

func (l brokerLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.Error("embedded broker", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.Warn("embedded broker", "message", fmt.Sprintf(format, args...))
	}
}
