package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"

	"github.com/hishamos/hishamos/internal/log"
)

// consumer is one set of fetch connections. It reads each partition at most
// once, as sarama does, so a second reader of a partition gets a second set.
type consumer struct {
	client sarama.Client
	sarama.Consumer
	open map[log.Partition]*reader // nil value: being opened; guarded by Log.mu
}

// questions sends the questions of a consumer over the log's other connection:
// on its own they would wait behind a fetch that waits for records.
type questions struct {
	sarama.Client
	ask sarama.Client
}

func (q questions) GetOffset(topic string, partition int32, at int64) (int64, error) {
	return q.ask.GetOffset(topic, partition, at)
}

func (q questions) RefreshMetadata(topics ...string) error {
	if err := q.ask.RefreshMetadata(topics...); err != nil {
		return err
	}
	for _, t := range topics { // its own copy only when it is out of date
		partitions, err := q.ask.Partitions(t)
		if err != nil {
			return err
		}
		for _, p := range partitions {
			want, wantEpoch, err := q.ask.LeaderAndEpoch(t, p)
			if err != nil {
				return err
			}
			have, haveEpoch, err := q.Client.LeaderAndEpoch(t, p)
			if err != nil || have.ID() != want.ID() || have.Addr() != want.Addr() || haveEpoch != wantEpoch {
				return q.Client.RefreshMetadata(topics...)
			}
		}
	}
	return nil
}

// Open implements log.Log.
func (l *Log) Open(ctx context.Context, p log.Partition, offset int64) (log.Reader, error) {
	if offset == -1 {
		offset = sarama.OffsetOldest
	}
	var r *reader
	err := await(ctx, func() error {
		c, err := l.consumerFor(p)
		if err != nil {
			return err
		}
		source, err := c.ConsumePartition(p.Topic, p.ID, offset)
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil {
			delete(c.open, p)
			if errors.Is(err, sarama.ErrOffsetOutOfRange) {
				return fmt.Errorf("offset %d: %w", offset, log.ErrOffsetOutOfRange)
			}
			return err
		}
		r = &reader{log: l, partition: p, source: source, max: l.opts.ReadBuffer, ready: make(chan struct{}, 1)}
		r.changed.L = &r.mu
		r.release = func() { l.mu.Lock(); defer l.mu.Unlock(); delete(c.open, p) }
		c.open[p] = r
		r.pumps.Add(2)
		go r.pump()
		go r.watch()
		if ctx.Err() != nil || l.closed { // nobody waits for it any more
			go r.stop()
		}
		return nil
	})
	if err != nil {
		return nil, l.fault("open "+p.String(), err)
	}
	return r, nil
}

// consumerFor reserves a partition on the first consumer that is free for it.
func (l *Log) consumerFor(p log.Partition) (*consumer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	for _, c := range l.consumers {
		if _, taken := c.open[p]; !taken {
			c.open[p] = nil
			return c, nil
		}
	}
	client, err := sarama.NewClient(l.opts.Brokers, l.config())
	if err != nil {
		return nil, err
	}
	source, err := sarama.NewConsumerFromClient(questions{client, l.client})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	c := &consumer{client: client, Consumer: source, open: map[log.Partition]*reader{p: nil}}
	l.consumers = append(l.consumers, c)
	return c, nil
}

// reader holds records of one partition until they are polled.
type reader struct {
	log       *Log
	partition log.Partition
	source    sarama.PartitionConsumer
	release   func()
	max       int
	ready     chan struct{}
	pumps     sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond // room in waiting, or stopped
	waiting []log.Message
	err     error
	stopped bool
}

func (r *reader) pump() {
	defer r.pumps.Done()
	for m := range r.source.Messages() {
		message := log.Message{Partition: r.partition, Offset: m.Offset, Key: string(m.Key), Headers: headers(m.Headers), Value: m.Value}
		r.mu.Lock()
		for len(r.waiting) >= r.max && !r.stopped {
			r.changed.Wait()
		}
		if !r.stopped {
			r.waiting = append(r.waiting, message)
		}
		r.mu.Unlock()
		r.signal()
	}
	r.fail(errClosed) // unless it has a better reason already
}

// watch keeps the error that ends the reader; all others sarama mends by
// trying again.
func (r *reader) watch() {
	defer r.pumps.Done()
	for e := range r.source.Errors() {
		if errors.Is(e.Err, sarama.ErrOffsetOutOfRange) {
			r.fail(fmt.Errorf("read %s: %w", r.partition, log.ErrOffsetOutOfRange))
			continue
		}
		r.log.opts.Logger.Warn("reading from Kafka is interrupted", "partition", r.partition.String(), "error", e.Err)
	}
}

func (r *reader) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	r.signal()
}

func (r *reader) signal() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// Poll implements log.Reader.
func (r *reader) Poll(limit int) ([]log.Message, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(limit, len(r.waiting))
	if n == 0 {
		return nil, r.err
	}
	out := r.waiting[:n:n]
	r.waiting = r.waiting[n:]
	r.changed.Signal()
	if len(r.waiting) > 0 || r.err != nil {
		r.signal()
	}
	return out, nil
}

// Ready implements log.Reader.
func (r *reader) Ready() <-chan struct{} { return r.ready }

// Close implements log.Reader.
func (r *reader) Close() error {
	r.stop()
	r.release()
	return nil
}

// stop ends the reader and waits for sarama to let go of the partition.
func (r *reader) stop() {
	r.mu.Lock()
	first := !r.stopped
	r.stopped = true
	r.waiting = nil
	r.changed.Broadcast()
	r.mu.Unlock()
	if first {
		r.source.AsyncClose()
	}
	r.pumps.Wait()
}
