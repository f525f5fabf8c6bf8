package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/hishamos/hishamos/internal/log"
)

// writer is an idempotent producer on sarama's asynchronous produce call: acks
// from all, one request in flight per broker, one batch in flight per
// partition. While a request is away the next one fills, so batches grow with
// the load and a lone message waits for nothing.
//
// It is not sarama.AsyncProducer, because that one goes on after a failed
// message: the messages behind it are written, the hole is not seen by reading
// the last record, and the missing message lands out of order when it is sent
// again. This writer keeps a rule the relay needs:
//
//	A partition never has a message without all those sent to it before.
//
// A batch that may or may not have been written is sent again, byte for byte,
// with its sequence number, which the broker drops if it has it. After a lost
// connection or a moved leader it settles those batches only (after checking
// that the partition has not lost its tail), and then ends.
type writer struct {
	log    *Log
	id     producerIdentity
	client sarama.Client // its own connections: see newWriter

	wake      chan struct{} // something to do
	responses chan response
	done      chan struct{} // closed when ended
	loop      sync.WaitGroup

	mu        sync.Mutex
	lanes     map[log.Partition]*lane
	order     []*lane // lanes with something to send, oldest first
	size      int     // bytes not acknowledged
	room      chan struct{}
	disturbed error // set: nothing new is sent any more
	err       error // set: ended
}

// lane is one partition's queue.
type lane struct {
	partition log.Partition
	queue     []entry
	head      *batch // built and not acknowledged; stays the same until it is
	sequence  int32
	next      int64 // the offset the next batch must get; -1: not asked yet
	check     bool  // the partition's end must be checked before the next send
	listed    bool  // in writer.order

	failing time.Time // since when the head fails
	retryAt time.Time
}

type entry struct {
	message log.Message
	record  *record
	size    int
	left    *countdown
}

// record is a message as sarama takes it: some fifty texts, in one piece of memory.
type record struct {
	sarama.Record
	headers []sarama.RecordHeader
	text    []byte
}

// records are those to be used again, because one is made for every event.
var records = sync.Pool{New: func() any { return new(record) }}

// countdown settles an Ack when all its messages are acknowledged.
type countdown struct {
	left int
	ack  *log.Ack
}

type batch struct {
	records *sarama.RecordBatch
	entries []entry
}

type response struct {
	broker *sarama.Broker
	lanes  []*lane
	answer *sarama.ProduceResponse
	err    error
}

// Limits of one batch: half of what topics take, before compression.
const (
	maxBatchBytes   = maxMessage / 2
	maxBatchRecords = 8192
	maxRequestBytes = 8 << 20
)

var errOverlong = errors.New("message is larger than a topic takes")

// Writer implements log.Pipelined.
func (l *Log) Writer(ctx context.Context) (log.Writer, error) {
	w, err := l.newWriter(ctx)
	if err != nil {
		return nil, err // not a nil *writer in an interface that is not nil
	}
	return w, nil
}

// identityPatience is how long a broker that just started gets to load what it
// needs to name a producer.
const identityPatience = 5 * time.Second

func (l *Log) newWriter(ctx context.Context) (*writer, error) {
	w := &writer{
		log: l, wake: make(chan struct{}, 1), responses: make(chan response, 16), done: make(chan struct{}),
		lanes: make(map[log.Partition]*lane), room: make(chan struct{}, 1),
	}
	connect := func() (err error) {
		if w.id, err = l.identity(); err != nil {
			return err
		}
		// Nothing may reconnect behind a writer's back: it must see every lost
		// connection, because a broker may come back without its newest records.
		config := l.config()
		config.Metadata.RefreshFrequency = 0
		if w.client, err = sarama.NewClient(l.opts.Brokers, config); err == nil && ctx.Err() != nil {
			err = errors.Join(ctx.Err(), w.client.Close())
		}
		return err
	}
	err := await(ctx, connect)
	for end := time.Now().Add(identityPatience); loading(err) && time.Now().Before(end) && pause(ctx, coordinatorPause) == nil; {
		err = await(ctx, connect)
	}
	if err != nil {
		return nil, l.fault("open writer", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.Join(errClosed, w.client.Close())
	}
	l.writers[w] = true
	w.loop.Add(1)
	go w.run()
	return w, nil
}

// Send implements log.Writer.
func (w *writer) Send(ctx context.Context, messages []log.Message) (*log.Ack, error) {
	ack := log.NewAck()
	if len(messages) == 0 {
		ack.Settle(nil)
		return ack, nil
	}
	entries := make([]entry, len(messages))
	left := &countdown{left: len(messages), ack: ack}
	total := 0
	for i, m := range messages {
		entries[i] = entry{message: m, size: sizeOf(&m), left: left}
		if entries[i].size > maxBatchBytes {
			return nil, fmt.Errorf("send to %s: %d bytes: %w", m.Partition, entries[i].size, errOverlong)
		}
		total += entries[i].size
	}
	for i := range entries { // here, not in the loop, which others wait for
		entries[i].record = records.Get().(*record)
		entries[i].record.set(&entries[i].message)
	}
	w.mu.Lock()
	for w.err == nil && w.disturbed == nil && w.size > 0 && w.size+total > w.log.opts.WriteBuffer {
		w.mu.Unlock()
		select {
		case <-w.room:
		case <-w.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	if err := errors.Join(w.err, w.disturbed); err != nil {
		return nil, w.log.fault("send", err)
	}
	w.size += total
	for i, m := range messages {
		ln := w.lanes[m.Partition]
		if ln == nil {
			ln = &lane{partition: m.Partition, next: -1, check: true}
			w.lanes[m.Partition] = ln
		}
		ln.queue = append(ln.queue, entries[i])
		if !ln.listed {
			ln.listed = true
			w.order = append(w.order, ln)
		}
	}
	signal(w.wake)
	return ack, nil
}

// Expect implements log.Writer.
func (w *writer) Expect(ends map[log.Partition]int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, end := range ends {
		if w.lanes[p] == nil {
			w.lanes[p] = &lane{partition: p, next: end, check: true}
		}
	}
}

// sizeOf is about what a message takes in a batch.
func sizeOf(m *log.Message) int {
	size := 32 + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		size += 10 + len(h.Key) + len(h.Value)
	}
	return size
}

// set makes the record one of a message. Its offset is that of the batch it is in.
func (r *record) set(m *log.Message) {
	r.text = slices.Grow(r.text[:0], sizeOf(m)-len(m.Value)) // the value stays where it is
	piece := func(s string) []byte {
		from := len(r.text)
		r.text = append(r.text, s...)
		return r.text[from:len(r.text):len(r.text)]
	}
	r.Key, r.Value = piece(m.Key), m.Value
	r.headers, r.Headers = slices.Grow(r.headers[:0], len(m.Headers)), slices.Grow(r.Headers[:0], len(m.Headers))
	for _, h := range m.Headers {
		r.headers = append(r.headers, sarama.RecordHeader{Key: piece(h.Key), Value: piece(h.Value)})
		r.Headers = append(r.Headers, &r.headers[len(r.headers)-1])
	}
}

// Close implements log.Writer.
func (w *writer) Close() error {
	w.end(errClosed)
	w.loop.Wait()
	return nil
}

// end fails everything that is not acknowledged and stops the loop.
func (w *writer) end(err error) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return
	}
	w.err = err
	failed := w.log.fault("publish", err)
	for _, ln := range w.lanes {
		if ln.head != nil {
			for _, e := range ln.head.entries {
				e.left.ack.Settle(failed)
			}
		}
		for _, e := range ln.queue {
			e.left.ack.Settle(failed)
		}
	}
	close(w.done)
	w.mu.Unlock()
	w.log.retire(w, err)
}

// disturb lets nothing new be sent; the loop settles what is in flight. Called
// with mu held.
func (w *writer) disturb(err error) {
	if w.disturbed == nil {
		w.disturbed = err
		for _, ln := range w.lanes {
			ln.check = true
			for _, e := range ln.queue {
				e.left.ack.Settle(w.log.fault("publish", err))
			}
			ln.queue = nil
		}
		signal(w.room)
	}
}

// Publish implements log.Log: a writer of its own for each call, taken from
// those that are idle.
func (l *Log) Publish(ctx context.Context, messages []log.Message) error {
	l.mu.Lock()
	var w *writer
	if n := len(l.idle); n > 0 {
		w, l.idle = l.idle[n-1], l.idle[:n-1]
	}
	l.mu.Unlock()
	if w == nil {
		var err error
		if w, err = l.newWriter(ctx); err != nil {
			return err
		}
	}
	ack, err := w.Send(ctx, messages)
	if err == nil {
		select {
		case <-ack.Done():
			err = ack.Err()
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil && !errors.Is(err, errOverlong) {
		w.end(err)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.idle = append(l.idle, w)
	}
	return err
}

// producerIdentity is what the broker knows a producer session by.
type producerIdentity struct {
	id    int64
	epoch int16
}

// identity returns an identity for a new session. An old one with a higher
// epoch is best: the broker then refuses what the old session may still have on
// the way, once the new one has written to the partition.
func (l *Log) identity() (producerIdentity, error) {
	l.mu.Lock()
	if n := len(l.producers); n > 0 {
		p := l.producers[n-1]
		l.producers = l.producers[:n-1]
		l.mu.Unlock()
		return p, nil
	}
	l.mu.Unlock()
	// sarama's Client.InitProducerID strikes out a broker whose connection broke
	// and never asks it again, so the question is put here.
	var err error
	for range 3 {
		broker := l.client.LeastLoadedBroker()
		if broker == nil {
			if err = l.client.RefreshMetadata(); err != nil { // finds the brokers again
				continue
			}
			if broker = l.client.LeastLoadedBroker(); broker == nil {
				err = sarama.ErrOutOfBrokers
				continue
			}
		}
		var answer *sarama.InitProducerIDResponse
		if answer, err = broker.InitProducerID(&sarama.InitProducerIDRequest{Version: 4, ProducerID: -1, ProducerEpoch: -1}); err != nil {
			_ = broker.Close() // the next use opens it anew
			continue
		}
		if answer.Err == sarama.ErrNoError {
			return producerIdentity{answer.ProducerID, answer.ProducerEpoch}, nil
		}
		err = answer.Err // the coordinator is loading, or moves
		time.Sleep(retryDelay)
	}
	return producerIdentity{}, err
}

// retire forgets an ended writer and keeps its identity, unless the broker
// disputed it.
func (l *Log) retire(w *writer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.writers, w)
	for _, e := range []error{
		sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID,
		sarama.ErrInvalidProducerEpoch, sarama.ErrInvalidProducerIDMapping, log.ErrLostTail,
	} {
		if errors.Is(err, e) {
			return
		}
	}
	if w.id.epoch < math.MaxInt16-1 {
		l.producers = append(l.producers, producerIdentity{w.id.id, w.id.epoch + 1})
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
