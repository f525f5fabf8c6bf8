package kafka

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/hishamos/hishamos/internal/log"
)

// errMoved says that the session must end because something moved under it.
var errMoved = errors.New("the connection or the partition's leader changed")

// How long a head is repeated before each kind of failure ends the session, and
// how often.
const (
	unknownTopicPatience = 2 * time.Second
	retryDelay           = 50 * time.Millisecond
)

// retriable are answers after which the same batch is sent again. Those that
// mean that the leader moved also disturb the session.
var (
	retriable = []sarama.KError{
		sarama.ErrRequestTimedOut, sarama.ErrNotEnoughReplicas, sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrInvalidMessage, sarama.ErrThrottlingQuotaExceeded,
	}
	moved = []sarama.KError{
		sarama.ErrNotLeaderForPartition, sarama.ErrLeaderNotAvailable, sarama.ErrReplicaNotAvailable,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch, sarama.ErrKafkaStorageError, sarama.ErrUnknownTopicOrPartition,
	}
)

// hasMoved tells whether the leader is to be looked for again.
func hasMoved(err error) bool {
	return slices.ContainsFunc(moved, func(e sarama.KError) bool { return errors.Is(err, e) })
}

// run sends until the writer ends. Only it touches brokers and lanes' heads.
func (w *writer) run() {
	defer w.loop.Done()
	defer func() {
		if err := w.client.Close(); err != nil {
			w.log.opts.Logger.Warn("closing a writer's connections", "error", err)
		}
	}()
	busy := make(map[*sarama.Broker]bool)
	for {
		delay := w.sendAll(busy)
		var later <-chan time.Time
		if delay > 0 {
			later = time.After(delay)
		}
		select {
		case <-w.done:
			return
		case r := <-w.responses:
			delete(busy, r.broker)
			w.receive(r)
		case <-w.wake:
		case <-later:
		}
	}
}

// sendAll gives every broker that is not busy a request, and says when to try
// again if some lane has to wait.
func (w *writer) sendAll(busy map[*sarama.Broker]bool) (delay time.Duration) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return 0
	}
	now := time.Now()
	var work, wait []*lane
	for _, ln := range w.order {
		switch {
		case ln.head == nil && len(ln.queue) == 0:
			ln.listed = false
		case ln.retryAt.After(now):
			wait = append(wait, ln)
			if d := ln.retryAt.Sub(now); delay == 0 || d < delay {
				delay = d
			}
		default:
			work = append(work, ln)
		}
	}
	w.order = append(work, wait...)
	settled := w.disturbed != nil && len(w.order) == 0
	disturbed := w.disturbed
	w.mu.Unlock()
	if settled { // nothing is in flight any more
		w.end(disturbed)
		return 0
	}
	perBroker := make(map[*sarama.Broker][]*lane)
	var brokers []*sarama.Broker
	for _, ln := range slices.Clone(work) {
		leader, err := w.client.Leader(ln.partition.Topic, ln.partition.ID)
		if err == nil && busy[leader] {
			continue
		}
		if err == nil && ln.check {
			err = w.checkEnd(ln)
		}
		if err != nil {
			if !w.retry(ln, err, w.patience(err)) {
				return 0
			}
			if delay == 0 || delay > retryDelay {
				delay = retryDelay
			}
			continue
		}
		if perBroker[leader] == nil {
			brokers = append(brokers, leader)
		}
		perBroker[leader] = append(perBroker[leader], ln)
	}
	for _, b := range brokers {
		if w.request(b, perBroker[b]) {
			busy[b] = true
		}
	}
	return delay
}

// checkEnd compares a partition's end with what the broker acknowledged.
func (w *writer) checkEnd(ln *lane) error {
	end, err := w.log.client.GetOffset(ln.partition.Topic, ln.partition.ID, sarama.OffsetNewest)
	if err != nil {
		_ = w.log.client.RefreshMetadata(ln.partition.Topic) // it may have asked a former leader
		return err
	}
	if end < ln.next {
		return fmt.Errorf("%s ends at %d, expected %d: %w", ln.partition, end, ln.next, log.ErrLostTail)
	}
	if ln.next < 0 {
		ln.next = end
	}
	ln.check = false
	return nil
}

// patience is how long an error is borne.
func (w *writer) patience(err error) time.Duration {
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return min(w.log.opts.WriteTimeout, unknownTopicPatience)
	}
	return w.log.opts.WriteTimeout
}

// request builds and sends one produce request; it reports whether an answer
// will come.
func (w *writer) request(b *sarama.Broker, lanes []*lane) bool {
	request := &sarama.ProduceRequest{Version: 9, RequiredAcks: sarama.WaitForAll, Timeout: 10_000}
	var sent []*lane
	size := 0
	w.mu.Lock()
	for _, ln := range lanes {
		if size >= maxRequestBytes {
			break
		}
		if ln.head == nil {
			if len(ln.queue) == 0 {
				continue
			}
			ln.head = w.build(ln)
		}
		for _, e := range ln.head.entries {
			size += e.size
		}
		request.AddBatch(ln.partition.Topic, ln.partition.ID, ln.head.records)
		sent = append(sent, ln)
	}
	w.mu.Unlock()
	if len(sent) == 0 {
		return false
	}
	err := b.AsyncProduce(request, func(answer *sarama.ProduceResponse, err error) {
		select {
		case w.responses <- response{b, sent, answer, err}:
		case <-w.done:
		}
	})
	if err != nil {
		w.receive(response{b, sent, nil, err})
		return false
	}
	return true
}

// build takes the next batch from a lane's queue. Called with mu held.
func (w *writer) build(ln *lane) *batch {
	now := time.Now().Truncate(time.Millisecond)
	n, size := 0, 0
	for n < len(ln.queue) && n < maxBatchRecords && (n == 0 || size+ln.queue[n].size <= maxBatchBytes) {
		size += ln.queue[n].size
		n++
	}
	b := &batch{entries: ln.queue[:n:n], records: &sarama.RecordBatch{
		Version: 2, Codec: sarama.CompressionLZ4, CompressionLevel: sarama.CompressionLevelDefault,
		FirstTimestamp: now, MaxTimestamp: now, LastOffsetDelta: int32(n - 1),
		ProducerID: w.id.id, ProducerEpoch: w.id.epoch, FirstSequence: ln.sequence,
		Records: make([]*sarama.Record, n),
	}}
	for i := range b.entries {
		r := &b.entries[i].record.Record
		r.OffsetDelta = int64(i)
		b.records.Records[i] = r
	}
	ln.queue = ln.queue[n:]
	// Sequence numbers wrap to 0 after the largest.
	ln.sequence = int32((int64(ln.sequence) + int64(n)) % (1 << 31))
	return b
}

// receive takes the answer to a request.
func (w *writer) receive(r response) {
	if r.err != nil { // written or not: unknown
		_ = r.broker.Close() // the next use opens it anew
		w.mu.Lock()
		w.disturb(fmt.Errorf("broker %s: %w", r.broker.Addr(), r.err))
		w.mu.Unlock()
		for _, ln := range r.lanes {
			if !w.retry(ln, r.err, w.patience(r.err)) {
				return
			}
		}
		_ = w.client.RefreshMetadata(topicsOf(r.lanes)...) // fails while the broker is away; the lanes retry
		return
	}
	refresh := false
	for _, ln := range r.lanes {
		block := r.answer.GetBlock(ln.partition.Topic, ln.partition.ID)
		code := sarama.ErrUnknown
		if block != nil {
			code = block.Err
		}
		switch {
		case code == sarama.ErrNoError, code == sarama.ErrDuplicateSequenceNumber:
			if !w.acknowledge(ln, block, code) {
				return
			}
		case slices.Contains(retriable, code):
			if !w.retry(ln, code, w.patience(code)) {
				return
			}
		case slices.Contains(moved, code):
			refresh = true
			w.mu.Lock()
			w.disturb(fmt.Errorf("%s: %w: %w", ln.partition, errMoved, code))
			w.mu.Unlock()
			if !w.retry(ln, code, w.patience(code)) {
				return
			}
		default:
			w.end(fmt.Errorf("%s: %w", ln.partition, code))
			return
		}
	}
	if refresh {
		_ = w.client.RefreshMetadata(topicsOf(r.lanes)...) // the lanes retry in any case
	}
}

// acknowledge settles a lane's head; false: the writer ended.
func (w *writer) acknowledge(ln *lane, block *sarama.ProduceResponseBlock, code sarama.KError) bool {
	head := ln.head
	if code == sarama.ErrNoError && block.Offset >= 0 && block.Offset >= ln.next {
		w.log.written(ln.partition, block.Offset, head.entries)
	}
	w.mu.Lock()
	n := int64(len(head.entries))
	if code == sarama.ErrNoError && block.Offset >= 0 {
		if block.Offset < ln.next {
			w.mu.Unlock()
			w.end(fmt.Errorf("%s: written at %d, expected %d: %w", ln.partition, block.Offset, ln.next, log.ErrLostTail))
			return false
		}
		ln.next = block.Offset + n
	} else {
		ln.next += n
	}
	for _, e := range head.entries {
		w.size -= e.size
		if e.left.left--; e.left.left == 0 {
			e.left.ack.Settle(nil)
		}
		e.record.Value = nil // it is the event's
		records.Put(e.record)
	}
	ln.head, ln.failing, ln.retryAt = nil, time.Time{}, time.Time{}
	signal(w.room)
	w.mu.Unlock()
	return true
}

// retry plans to send a lane's head again; false: patience is over, or there is
// no sense in it, and the writer ended.
func (w *writer) retry(ln *lane, err error, patience time.Duration) bool {
	now := time.Now()
	if ln.failing.IsZero() {
		ln.failing = now
	}
	if errors.Is(err, log.ErrLostTail) || now.Sub(ln.failing) >= patience {
		w.end(fmt.Errorf("%s: %w", ln.partition, err))
		return false
	}
	ln.check = true
	ln.retryAt = now.Add(retryDelay)
	return true
}

func topicsOf(lanes []*lane) []string {
	var out []string
	for _, ln := range lanes {
		if !slices.Contains(out, ln.partition.Topic) {
			out = append(out, ln.partition.Topic)
		}
	}
	return out
}

var _ log.Writer = (*writer)(nil)
