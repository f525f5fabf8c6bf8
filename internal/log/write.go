package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
)

// Pipelined is a Log that takes the next messages before the last are
// acknowledged.
type Pipelined interface {
	Log
	// Writer opens a writer. One writer is one producer session.
	Writer(ctx context.Context) (Writer, error)
}

// Writer publishes in order without waiting. It ends with its first
// disturbance (an error, a lost connection, a moved leader): by the time the
// last Ack is settled nothing more is sent, and each partition has the messages
// sent to it up to some point and none after that. Read Last, then open another.
type Writer interface {
	// Send puts messages behind all those sent before; it blocks only while the
	// buffer is full. The Ack settles when all replicas have all of them. Sends
	// must not run side by side.
	Send(ctx context.Context, messages []Message) (*Ack, error)
	// Expect states where partitions end, as read before the writer was opened.
	// A partition that ends earlier when it is written has lost its tail: the
	// writer ends with ErrLostTail and writes nothing behind the hole.
	Expect(ends map[Partition]int64)
	// Close ends the writer; what is not acknowledged may or may not be written.
	Close() error
}

// ErrLostTail says that a partition ends before records it had acknowledged.
var ErrLostTail = errors.New("the broker lost records that it had acknowledged")

// NewWriter opens a writer on any log; one that is not Pipelined waits in Send.
func NewWriter(ctx context.Context, l Log) (Writer, error) {
	if p, ok := l.(Pipelined); ok {
		return p.Writer(ctx)
	}
	return &plainWriter{log: l, ends: make(map[Partition]int64)}, nil
}

// plainWriter publishes each batch at once.
type plainWriter struct {
	log  Log
	ends map[Partition]int64
	err  error
}

func (w *plainWriter) Send(ctx context.Context, messages []Message) (*Ack, error) {
	if w.err == nil {
		w.err = w.check(ctx, messages)
	}
	if w.err != nil {
		return nil, w.err
	}
	w.err = w.log.Publish(ctx, messages)
	ack := NewAck()
	ack.Settle(w.err)
	return ack, nil
}

// check compares the ends of the partitions with what was written to them.
func (w *plainWriter) check(ctx context.Context, messages []Message) error {
	added := make(map[Partition]int64)
	var partitions []Partition
	for _, m := range messages {
		if added[m.Partition]++; added[m.Partition] == 1 {
			partitions = append(partitions, m.Partition)
		}
	}
	bounds, err := w.log.Bounds(ctx, partitions...)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		if bounds[p].End < w.ends[p] {
			return fmt.Errorf("%s ends at %d, expected %d: %w", p, bounds[p].End, w.ends[p], ErrLostTail)
		}
		w.ends[p] = bounds[p].End + added[p]
	}
	return nil
}

func (w *plainWriter) Expect(ends map[Partition]int64) { maps.Copy(w.ends, ends) }

func (w *plainWriter) Close() error { return nil }

// Ack is the answer to messages that were sent.
type Ack struct {
	once sync.Once
	done chan struct{}
	err  error
}

// NewAck returns an Ack that is not settled.
func NewAck() *Ack { return &Ack{done: make(chan struct{})} }

// Settle gives the answer; only the first counts.
func (a *Ack) Settle(err error) { a.once.Do(func() { a.err = err; close(a.done) }) }

// Done is closed when the answer is there.
func (a *Ack) Done() <-chan struct{} { return a.done }

// Err is the answer, once Done is closed.
func (a *Ack) Err() error { <-a.done; return a.err }

// Resume is where a group goes on in a partition: the next offset, and a note
// of its own (at most 4 KiB), such as the position it stands for.
type Resume struct {
	Offset   int64
	Metadata string
}

// Offsets is a Log that keeps resume points of groups beside its records. They
// are hints: a broker that was rebuilt has none.
type Offsets interface {
	// CommitOffsets stores resume points of a group without members.
	CommitOffsets(ctx context.Context, group string, at map[Partition]Resume) error
	// CommittedOffsets returns the resume points that exist.
	CommittedOffsets(ctx context.Context, group string, partitions ...Partition) (map[Partition]Resume, error)
}
