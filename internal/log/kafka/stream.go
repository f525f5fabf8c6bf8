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
// once, as sarama does, so a second stream of a partition gets a second set.
type consumer struct {
	client sarama.Client
	sarama.Consumer
	open map[log.Partition]*stream // nil value: being opened; guarded by Log.mu
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

// stream opens a stream of a partition from an offset on; ready receives when it
// has records.
func (l *Log) stream(ctx context.Context, p log.Partition, offset int64, ready chan struct{}) (*stream, error) {
	if offset == -1 {
		offset = sarama.OffsetOldest
	}
	var s *stream
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
		s = &stream{log: l, partition: p, source: source, max: l.opts.ReadBuffer, ready: ready}
		s.changed.L = &s.mu
		s.release = func() { l.mu.Lock(); defer l.mu.Unlock(); delete(c.open, p) }
		c.open[p] = s
		s.pumps.Add(2)
		go s.pump()
		go s.watch()
		if ctx.Err() != nil || l.closed { // nobody waits for it any more
			go s.stop()
		}
		return nil
	})
	if err != nil {
		return nil, l.fault("open "+p.String(), err)
	}
	return s, nil
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
	c := &consumer{client: client, Consumer: source, open: map[log.Partition]*stream{p: nil}}
	l.consumers = append(l.consumers, c)
	return c, nil
}

// stream holds records of one partition until they are polled.
type stream struct {
	log       *Log
	partition log.Partition
	source    sarama.PartitionConsumer
	release   func()
	max       int
	pumps     sync.WaitGroup

	mu      sync.Mutex
	ready   chan struct{} // told of records and of the end
	changed sync.Cond     // room in waiting, or stopped
	waiting []log.Message
	err     error
	stopped bool
}

func (s *stream) pump() {
	defer s.pumps.Done()
	for m := range s.source.Messages() {
		message := log.Message{Partition: s.partition, Offset: m.Offset, Key: string(m.Key), Headers: headers(m.Headers), Value: m.Value}
		s.mu.Lock()
		for len(s.waiting) >= s.max && !s.stopped {
			s.changed.Wait()
		}
		if !s.stopped {
			s.waiting = append(s.waiting, message)
		}
		s.mu.Unlock()
		s.signal()
	}
	s.fail(errClosed) // unless it has a better reason already
}

// watch keeps the error that ends the stream; all others sarama mends by
// trying again.
func (s *stream) watch() {
	defer s.pumps.Done()
	for e := range s.source.Errors() {
		if errors.Is(e.Err, sarama.ErrOffsetOutOfRange) {
			s.fail(fmt.Errorf("read %s: %w", s.partition, log.ErrOffsetOutOfRange))
			continue
		}
		s.log.opts.Logger.Warn("reading from Kafka is interrupted", "partition", s.partition.String(), "error", e.Err)
	}
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.signal()
}

func (s *stream) signal() {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	tell(ready)
}

// redirect tells another channel from now on.
func (s *stream) redirect(ready chan struct{}) {
	s.mu.Lock()
	s.ready = ready
	s.mu.Unlock()
	tell(ready)
}

func tell(ready chan<- struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}

// poll returns the records that have arrived, up to a limit, without waiting.
func (s *stream) poll(limit int) ([]log.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(limit, len(s.waiting))
	if n == 0 {
		return nil, s.err
	}
	out := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	s.changed.Signal()
	if len(s.waiting) > 0 || s.err != nil {
		tell(s.ready)
	}
	return out, nil
}

// close ends the stream and frees the partition of its consumer.
func (s *stream) close() {
	s.stop()
	s.release()
}

// stop ends the stream and waits for sarama to let go of the partition.
func (s *stream) stop() {
	s.mu.Lock()
	first := !s.stopped
	s.stopped = true
	s.waiting = nil
	s.changed.Broadcast()
	s.mu.Unlock()
	if first {
		s.source.AsyncClose()
	}
	s.pumps.Wait()
}
