package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// Arrivals collects how long events took from the moment they were given to the
// store until a plain Kafka consumer had them.
type Arrivals struct {
	consumer sarama.Consumer
	parts    []sarama.PartitionConsumer
	readers  sync.WaitGroup

	mu   sync.Mutex
	took []time.Duration
	err  error
}

// Consume reads a topic from its end on.
func Consume(brokers []string, topic string) (*Arrivals, error) {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	consumer, err := sarama.NewConsumer(brokers, config)
	if err != nil {
		return nil, fmt.Errorf("open consumer: %w", err)
	}
	a := &Arrivals{consumer: consumer}
	ids, err := consumer.Partitions(topic)
	for _, id := range ids {
		var p sarama.PartitionConsumer
		if p, err = consumer.ConsumePartition(topic, id, sarama.OffsetNewest); err != nil {
			break
		}
		a.parts = append(a.parts, p)
		a.readers.Go(func() { a.read(p) })
	}
	if err != nil {
		_, closing := a.Close()
		return nil, errors.Join(fmt.Errorf("consume %s: %w", topic, err), closing)
	}
	return a, nil
}

func (a *Arrivals) read(p sarama.PartitionConsumer) {
	for m := range p.Messages() {
		now := time.Now()
		for _, h := range m.Headers {
			if string(h.Key) != "ce_recorded" {
				continue
			}
			recorded, err := time.Parse(time.RFC3339Nano, string(h.Value))
			a.mu.Lock()
			if err != nil {
				a.err = fmt.Errorf("read the time of a record: %w", err)
			} else {
				a.took = append(a.took, now.Sub(recorded))
			}
			a.mu.Unlock()
		}
	}
}

// Reset forgets what has arrived so far.
func (a *Arrivals) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took = nil
}

// Close ends the consumer and returns what was collected.
func (a *Arrivals) Close() ([]time.Duration, error) {
	var errs []error
	for _, p := range a.parts {
		errs = append(errs, p.Close())
	}
	a.readers.Wait()
	errs = append(errs, a.consumer.Close(), a.err)
	return a.took, errors.Join(errs...)
}

// Pace begins something at a steady rate for a while, without waiting for its
// end, and returns when the last has ended.
func Pace(ctx context.Context, perSecond float64, during time.Duration, one func(ctx context.Context, i int) error) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var mu sync.Mutex
	var first error
	var begun sync.WaitGroup
	defer begun.Wait()
	start := time.Now()
	for i := 0; ; {
		gone := time.Since(start)
		if gone > during {
			break
		}
		for ; float64(i) < gone.Seconds()*perSecond; i++ {
			begun.Go(func() {
				if err := one(ctx, i); err != nil {
					mu.Lock()
					defer mu.Unlock()
					first = errors.Join(first, err)
				}
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	begun.Wait()
	return first
}
