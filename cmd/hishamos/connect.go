package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log/kafka"
	"github.com/hishamos/hishamos/internal/relay"
)

// reach opens the log on Kafka, once.
func (n *node) reach(ctx context.Context) error {
	if n.log != nil {
		return nil
	}
	l, err := n.openLog(ctx)
	if err != nil {
		return err
	}
	n.log = l
	n.onClose(func(context.Context) error { return l.Close() })
	return nil
}

// connect reaches Kafka and, before anything may be appended, takes from it
// what the store lacks: a restored backup or a failover can leave the store
// behind. Different histories are refused.
func (n *node) connect(ctx context.Context) error {
	if err := n.reach(ctx); err != nil {
		return err
	}
	epochs, err := n.catchUp(ctx)
	// A broker that goes away, or has just come and leads nothing yet, is waited
	// for, like one that is not there at the start.
	for errors.Is(err, kafka.ErrUnreachable) && wait(ctx, restartPause) {
		n.logger.Warn("Kafka does not answer; waiting for it", "error", err)
		epochs, err = n.catchUp(ctx)
	}
	if err != nil {
		return err
	}
	if epochs.Low != 0 && epochs.Low < n.epochNow() {
		return &domain.Error{
			Kind: domain.Unavailable, Code: "kafka.half_refilled",
			Message: fmt.Sprintf("topics on Kafka are still of epoch %d, the store says %d: refilling them was interrupted", epochs.Low, n.epochNow()),
			Fix:     "run: hishamos replay kafka-from-store",
		}
	}
	return nil
}

// reconnectPatience bounds how long appends wait for the comparison with Kafka
// after the connection to Postgres broke.
const reconnectPatience = 10 * time.Second

// reconnected is asked before anything is appended on a fresh connection to
// Postgres: it may lead to an old copy. Where Kafka is away too, it is the store
// alone that tells whether it lacks something this process has seen.
func (n *node) reconnected(ctx context.Context) error {
	if n.log == nil { // nothing is appended before connect
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, reconnectPatience)
	defer cancel()
	_, err := n.catchUp(bounded)
	if errors.Is(err, kafka.ErrUnreachable) || err != nil && bounded.Err() != nil && ctx.Err() == nil {
		n.logger.Warn("Kafka does not answer; the store is not compared with it", "error", err)
		return nil
	}
	return err
}

// catchUp compares the store with the ends of the topics and imports what it
// lacks. It returns the epochs of the topics; ours follows theirs.
func (n *node) catchUp(ctx context.Context) (relay.Epochs, error) {
	epochs, err := n.compare(ctx)
	if errors.Is(err, relay.ErrForeign) {
		return epochs, n.foreign(ctx, err)
	}
	if errors.Is(err, relay.ErrAhead) {
		if err = n.takeFromKafka(ctx, err); err == nil {
			epochs, err = n.compare(ctx)
		}
	}
	if broken := (*events.ChainError)(nil); errors.As(err, &broken) {
		err = relay.ErrDiverged.With("the store and Kafka hold different histories: %v", broken)
	}
	if err == nil && epochs.High > n.epochNow() {
		n.logger.Warn("the topics are of a later epoch, which the store takes over", "epoch", epochs.High)
		if err = n.store.SetEpoch(ctx, epochs.High); err == nil {
			n.epoch.Store(int64(epochs.High))
		}
	}
	return epochs, err
}

func (n *node) takeFromKafka(ctx context.Context, ahead error) error {
	n.logger.Warn("the store is behind Kafka; catching up", "error", ahead)
	head, err := n.store.Head(ctx)
	if err != nil {
		return err
	}
	merged, err := n.importAfter(ctx, head.Position, func(domain.Position) {})
	if err != nil {
		return fmt.Errorf("catch up from Kafka: %w", err)
	}
	if merged.Missing > 0 {
		return &domain.Error{
			Kind: domain.Unavailable, Code: "store.cannot_catch_up",
			Message: fmt.Sprintf("Kafka lacks position %d, which the store needs before it can take the %d events behind it", merged.Missing, merged.Lost),
			Fix:     "restore a newer backup of Postgres; or give those events up with: hishamos replay kafka-from-store --force",
		}
	}
	n.logger.Warn("caught up from Kafka", "from", head.Position, "position", merged.Last)
	return nil
}

// foreign says what to do about topics of another log. If the store is empty, it
// is most likely the store that was lost.
func (n *node) foreign(ctx context.Context, err error) error {
	head, headErr := n.store.Head(ctx)
	if headErr != nil || head.Position > 0 {
		return errors.Join(err, headErr)
	}
	return &domain.Error{
		Kind: domain.Conflict, Code: "store.lost",
		Message: "the store is empty and Kafka holds the events of a log", Fix: "rebuild it with: hishamos replay store-from-kafka; or use another Kafka",
	}
}

// compare holds the store's head against the ends of the topics.
func (n *node) compare(ctx context.Context) (relay.Epochs, error) {
	r := relay.New(n.store, n.log, n.relayOptions())
	return r.Compare(ctx)
}

func (n *node) relayOptions() relay.Options {
	return relay.Options{Partitions: n.partitions, Epoch: n.epochNow(), Linger: n.relayLinger, Logger: n.logger}
}

// relayLinger is none where every step of a run waits for Kafka. With the express
// lane, only what a process does to a run that another owns does, as its start.
func (n *node) relayLinger() time.Duration {
	if !n.cfg.Express {
		return 0
	}
	return n.cfg.RelayLinger
}
