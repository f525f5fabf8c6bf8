package log

import (
	"context"
	"slices"
	"strings"
)

// Prefixed is a log whose topics and groups have longer names on the broker than
// for their users: several logs can share a broker then. Readers of Kafka from
// elsewhere see the long names. A log that can keep offsets and pipeline still
// can.
func Prefixed(l Log, prefix string) Log {
	if prefix == "" {
		return l
	}
	p := prefixed{l, prefix}
	pipelined, ok := l.(Pipelined)
	offsets, also := l.(Offsets)
	if ok && also {
		return prefixedBroker{p, pipelined, offsets}
	}
	return p
}

type prefixed struct {
	log    Log
	prefix string
}

func (l prefixed) out(p Partition) Partition { return Partition{l.prefix + p.Topic, p.ID} }

func (l prefixed) in(p Partition) Partition {
	return Partition{strings.TrimPrefix(p.Topic, l.prefix), p.ID}
}

func (l prefixed) messages(ms []Message) []Message {
	out := make([]Message, len(ms))
	for i, m := range ms {
		m.Partition = l.out(m.Partition)
		out[i] = m
	}
	return out
}

func (l prefixed) Create(ctx context.Context, topics []Topic) error {
	long := make([]Topic, len(topics))
	for i, t := range topics {
		t.Name = l.prefix + t.Name
		long[i] = t
	}
	return l.log.Create(ctx, long)
}

func (l prefixed) Topics(ctx context.Context, prefix string) (map[string]int, error) {
	long, err := l.log.Topics(ctx, l.prefix+prefix)
	topics := make(map[string]int, len(long))
	for name, n := range long {
		topics[strings.TrimPrefix(name, l.prefix)] = n
	}
	return topics, err
}

func (l prefixed) Delete(ctx context.Context, topics ...string) error {
	long := make([]string, len(topics))
	for i, t := range topics {
		long[i] = l.prefix + t
	}
	return l.log.Delete(ctx, long...)
}

func (l prefixed) Publish(ctx context.Context, messages []Message) error {
	return l.log.Publish(ctx, l.messages(messages))
}

func (l prefixed) Bounds(ctx context.Context, partitions ...Partition) (map[Partition]Bounds, error) {
	return renamed(l.in, l.long(partitions), func(long []Partition) (map[Partition]Bounds, error) { return l.log.Bounds(ctx, long...) })
}

func (l prefixed) Last(ctx context.Context, p Partition) (Message, bool, error) {
	m, ok, err := l.log.Last(ctx, l.out(p))
	m.Partition = p
	return m, ok, err
}

func (l prefixed) Open(ctx context.Context, p Partition, offset int64) (Reader, error) {
	r, err := l.log.Open(ctx, l.out(p), offset)
	if err != nil {
		return nil, err
	}
	return prefixedReader{r, p}, nil
}

func (l prefixed) Trim(ctx context.Context, p Partition, before int64) error {
	return l.log.Trim(ctx, l.out(p), before)
}

func (l prefixed) Close() error { return l.log.Close() }

func (l prefixed) long(partitions []Partition) []Partition {
	long := make([]Partition, len(partitions))
	for i, p := range partitions {
		long[i] = l.out(p)
	}
	return long
}

// renamed asks about partitions by their long names and answers by the short.
func renamed[T any](short func(Partition) Partition, long []Partition, ask func([]Partition) (map[Partition]T, error)) (map[Partition]T, error) {
	found, err := ask(long)
	answer := make(map[Partition]T, len(found))
	for p, v := range found {
		answer[short(p)] = v
	}
	return answer, err
}

// prefixedReader gives records their short place again.
type prefixedReader struct {
	Reader
	place Partition
}

func (r prefixedReader) Poll(max int) ([]Message, error) {
	shared, err := r.Reader.Poll(max)
	ms := slices.Clone(shared)
	for i := range ms {
		ms[i].Partition = r.place
	}
	return ms, err
}

// prefixedBroker is a prefixed log on a broker, which can do more than the
// contract.
type prefixedBroker struct {
	prefixed
	pipelined Pipelined
	offsets   Offsets
}

func (l prefixedBroker) Writer(ctx context.Context) (Writer, error) {
	w, err := l.pipelined.Writer(ctx)
	if err != nil {
		return nil, err
	}
	return prefixedWriter{w, l.prefixed}, nil
}

func (l prefixedBroker) CommitOffsets(ctx context.Context, group string, at map[Partition]Resume) error {
	long := make(map[Partition]Resume, len(at))
	for p, r := range at {
		long[l.out(p)] = r
	}
	return l.offsets.CommitOffsets(ctx, l.prefix+group, long)
}

func (l prefixedBroker) CommittedOffsets(ctx context.Context, group string, partitions ...Partition) (map[Partition]Resume, error) {
	return renamed(l.in, l.long(partitions), func(long []Partition) (map[Partition]Resume, error) {
		return l.offsets.CommittedOffsets(ctx, l.prefix+group, long...)
	})
}

type prefixedWriter struct {
	Writer
	log prefixed
}

func (w prefixedWriter) Send(ctx context.Context, messages []Message) (*Ack, error) {
	return w.Writer.Send(ctx, w.log.messages(messages))
}

func (w prefixedWriter) Expect(ends map[Partition]int64) {
	long := make(map[Partition]int64, len(ends))
	for p, end := range ends {
		long[w.log.out(p)] = end
	}
	w.Writer.Expect(long)
}
