package anchor

import (
	"context"
	"fmt"
	"iter"

	"github.com/hishamos/hishamos/internal/checkpoint"
	"github.com/hishamos/hishamos/internal/log"
)

// Kafka keeps checkpoints in a topic of one partition that is kept for ever.
type Kafka struct {
	topic   string
	outside bool
	open    func(context.Context) (log.Log, error)
}

// NewKafka is an anchor in a topic. Open connects, or returns the connection
// there is; it must not wait longer than its context.
func NewKafka(topic string, outside bool, open func(context.Context) (log.Log, error)) *Kafka {
	return &Kafka{topic, outside, open}
}

// Name implements checkpoint.Source.
func (k *Kafka) Name() string { return "kafka:" + k.topic }

// Outside implements checkpoint.Source: the operator says so.
func (k *Kafka) Outside() bool { return k.outside }

func (k *Kafka) partition() log.Partition { return log.Partition{Topic: k.topic} }

// connect returns the connection, and whether the topic exists.
func (k *Kafka) connect(ctx context.Context) (log.Log, bool, error) {
	l, err := k.open(ctx)
	if err != nil {
		return nil, false, unread(k.Name(), err)
	}
	topics, err := l.Topics(ctx, k.topic)
	if err != nil {
		return nil, false, unread(k.Name(), err)
	}
	_, ok := topics[k.topic]
	return l, ok, nil
}

// Read implements checkpoint.Source.
func (k *Kafka) Read(ctx context.Context) iter.Seq2[checkpoint.Signed, error] {
	return func(yield func(checkpoint.Signed, error) bool) {
		wanted := true
		err := k.read(ctx, func(n checkpoint.Signed, err error) bool {
			wanted = yield(n, err) && err == nil
			return wanted
		})
		if err != nil && wanted {
			yield(checkpoint.Signed{}, unread(k.Name(), err))
		}
	}
}

func (k *Kafka) read(ctx context.Context, yield func(checkpoint.Signed, error) bool) (err error) {
	l, ok, err := k.connect(ctx)
	if err != nil || !ok {
		return err
	}
	bounds, err := l.Bounds(ctx, k.partition())
	if err != nil {
		return err
	}
	b := bounds[k.partition()]
	if b.First >= b.End {
		return nil
	}
	r, err := l.Open(ctx, k.partition(), b.First)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := r.Close(); err == nil {
			err = closeErr
		}
	}()
	const page = 500
	for {
		messages, err := r.Poll(page)
		if err != nil {
			return err
		}
		for _, m := range messages {
			n, err := checkpoint.Parse(string(m.Value))
			if !yield(n, err) || m.Offset >= b.End-1 {
				return nil
			}
		}
		if len(messages) > 0 {
			continue
		}
		select {
		case <-r.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Newest implements checkpoint.Anchor.
func (k *Kafka) Newest(ctx context.Context) (n checkpoint.Signed, ok bool, err error) {
	l, ok, err := k.connect(ctx)
	if err != nil || !ok {
		return n, false, err
	}
	m, ok, err := l.Last(ctx, k.partition())
	if err != nil {
		return n, false, unread(k.Name(), err)
	}
	if !ok {
		return n, false, nil
	}
	if n, err = checkpoint.Parse(string(m.Value)); err != nil {
		return n, false, fmt.Errorf("%s: offset %d: %w", k.Name(), m.Offset, err)
	}
	return n, true, nil
}

// Append implements checkpoint.Anchor.
func (k *Kafka) Append(ctx context.Context, notes []checkpoint.Signed) error {
	l, ok, err := k.connect(ctx)
	if err != nil {
		return err
	}
	if !ok {
		if err := l.Create(ctx, []log.Topic{{Name: k.topic, Partitions: 1}}); err != nil {
			return unread(k.Name(), err)
		}
	}
	messages := make([]log.Message, len(notes))
	for i, n := range notes {
		messages[i] = log.Message{Partition: k.partition(), Key: n.Origin, Value: []byte(n.Text)}
	}
	if err := l.Publish(ctx, messages); err != nil {
		return unread(k.Name(), err)
	}
	return nil
}
