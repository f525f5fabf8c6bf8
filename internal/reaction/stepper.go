package reaction

import (
	"context"
	"errors"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/log"
)

// Stepper drives a reaction over one partition by hand, without goroutines: the
// same feed as Runner's, under the scheduler of the simulation.
type Stepper struct {
	reaction Reaction
	feed     *feed
	reader   log.Reader
}

// NewStepper begins at a resume point, in an epoch of the log; from is where the
// reaction was deployed.
func NewStepper(ctx context.Context, r Reaction, p log.Partition, partitions int, from domain.Position, at Resume, epoch int, store eventstore.Reader, l log.Log) (*Stepper, error) {
	reader, err := open(ctx, l, p, at, epoch)
	if err != nil {
		return nil, err
	}
	return &Stepper{reaction: r, reader: reader, feed: newFeed(p, partitions, r, from, at, store)}, nil
}

// Step takes what has arrived, up to max records, and handles one event. It
// reports whether anything was done. An event whose handling fails is handed
// out again.
func (s *Stepper) Step(ctx context.Context, max int) (bool, error) {
	messages, err := s.reader.Poll(max)
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		err := s.feed.take(ctx, m)
		if poison := (*PoisonError)(nil); err != nil && !errors.As(err, &poison) {
			return false, err
		}
	}
	e, ok := s.feed.next()
	if !ok {
		return len(messages) > 0, nil
	}
	if err := s.reaction.Handle(ctx, e); err != nil {
		s.feed.again(e)
		return true, err
	}
	s.feed.ack(e)
	return true, nil
}

// Express hands over a fresh commit before its Kafka copy.
func (s *Stepper) Express(r events.Record) { s.feed.express(&r) }

// Close stops reading.
func (s *Stepper) Close() error { return s.reader.Close() }

// Resume is the point up to which everything has been handled.
func (s *Stepper) Resume() Resume { return s.feed.resume }
