package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/hishamos/hishamos/internal/log"
)

// Last implements log.Log. The offset before the end may hold a transaction
// marker or nothing, in topics that others write: then it looks further back.
func (l *Log) Last(ctx context.Context, p log.Partition) (m log.Message, ok bool, err error) {
	bounds, err := l.Bounds(ctx, p)
	if err != nil {
		return m, false, err
	}
	b := bounds[p]
	err = await(ctx, func() error {
		for back := int64(1); ; back *= 8 {
			from := max(b.First, b.End-back)
			if from >= b.End {
				return nil
			}
			found, newest, err := l.newest(p, from, b.End)
			if err != nil || found || from == b.First {
				m, ok = newest, found
				return err
			}
		}
	})
	if err != nil {
		return log.Message{}, false, l.fault("read last of "+p.String(), err)
	}
	return m, ok, nil
}

// newest returns the record with the greatest offset in [from, end).
func (l *Log) newest(p log.Partition, from, end int64) (found bool, m log.Message, err error) {
	for from < end {
		records, next, err := l.fetch(p, from)
		if err != nil {
			return false, m, err
		}
		for _, r := range records {
			if r.Offset >= from && r.Offset < end {
				found, m = true, r
			}
		}
		if next <= from { // nothing there: cut since the bounds were read
			break
		}
		from = next
	}
	return found, m, nil
}

// fetch reads what one request gives from an offset on, without waiting, and
// the offset that follows it.
func (l *Log) fetch(p log.Partition, from int64) (ms []log.Message, next int64, err error) {
	for range 3 {
		if ms, next, err = l.fetchOnce(p, from); err == nil || errors.Is(err, log.ErrOffsetOutOfRange) {
			break
		}
		// The connection was lost or the leader has moved.
		if e := l.client.RefreshMetadata(p.Topic); e != nil {
			return nil, 0, errors.Join(err, e)
		}
	}
	return ms, next, err
}

func (l *Log) fetchOnce(p log.Partition, from int64) ([]log.Message, int64, error) {
	leader, epoch, err := l.client.LeaderAndEpoch(p.Topic, p.ID)
	if err != nil {
		return nil, 0, err
	}
	request := &sarama.FetchRequest{Version: 12, MaxWaitTime: 0, MinBytes: 0, MaxBytes: 4 * maxMessage, SessionEpoch: -1}
	request.AddBlock(p.Topic, p.ID, from, 4*maxMessage, epoch)
	answer, err := leader.Fetch(request)
	if err != nil {
		_ = leader.Close() // a broken connection is opened anew by the next question
		return nil, 0, err
	}
	block := answer.GetBlock(p.Topic, p.ID)
	if block == nil {
		return nil, 0, sarama.ErrIncompleteResponse
	}
	switch {
	case errors.Is(block.Err, sarama.ErrOffsetOutOfRange):
		return nil, 0, fmt.Errorf("offset %d: %w", from, log.ErrOffsetOutOfRange)
	case block.Err != sarama.ErrNoError:
		return nil, 0, block.Err
	}
	var out []log.Message
	next := from
	for _, set := range block.RecordsSet {
		b := set.RecordBatch
		if b == nil || b.PartialTrailingRecord {
			continue
		}
		next = max(next, b.LastOffset()+1)
		if b.Control {
			continue
		}
		for _, r := range b.Records {
			m := log.Message{Partition: p, Offset: b.FirstOffset + r.OffsetDelta, Key: string(r.Key), Value: r.Value}
			m.Headers = headers(r.Headers)
			out = append(out, m)
		}
	}
	return out, next, nil
}

// headers turns those of a record into text: the values lie in one string, and
// the names that events have are never copied.
func headers(in []*sarama.RecordHeader) []log.Header {
	if len(in) == 0 {
		return nil
	}
	size := 0
	for _, h := range in {
		size += len(h.Value)
	}
	buf := make([]byte, 0, size)
	for _, h := range in {
		buf = append(buf, h.Value...)
	}
	values := string(buf)
	out := make([]log.Header, len(in))
	for i, h := range in {
		out[i] = log.Header{Key: log.HeaderName(h.Key), Value: values[:len(h.Value)]}
		values = values[len(h.Value):]
	}
	return out
}
