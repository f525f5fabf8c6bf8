package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/relay"
)

// recovered is what store-from-kafka answers.
type recovered struct {
	Events     domain.Position `json:"events"`
	Generation int             `json:"generation"` // of later appends
	Epoch      int             `json:"epoch"`
	Level      int             `json:"level"`
	Repeats    int             `json:"repeats"`           // records that Kafka held twice
	Missing    domain.Position `json:"missing,omitempty"` // the first position that Kafka lacks
	Lost       int             `json:"lost"`              // events behind it
	Behind     []relay.Lying   `json:"behind,omitempty"`  // the first of them
	pace
}

// ErrStoreNotEmpty: there is nothing to rebuild.
var errStoreNotEmpty = &domain.Error{
	Kind: domain.Conflict, Code: "store.not_empty",
	Message: "only an empty store is rebuilt from Kafka",
	Fix:     "point DATABASE_URL at a fresh database, or move the data folder's postgres aside",
}

// storeFromKafka fills an empty store, or goes on where that was interrupted.
// What lies behind a missing position is listed and left out; later appends
// carry a new generation.
func (o *operation) storeFromKafka(ctx context.Context) error {
	session, err := o.relayLock(ctx)
	if err != nil {
		return err
	}
	defer o.closing("relay lock", func() error { return session.Close(context.WithoutCancel(ctx)) })
	head, err := o.store.Head(ctx)
	if err != nil {
		return err
	}
	if err := o.reach(ctx); err != nil {
		return err
	}
	epochs, err := o.compare(ctx)
	switch {
	case head.Position > 0 && !errors.Is(err, relay.ErrAhead):
		return errors.Join(errStoreNotEmpty.With("the store holds %d events; only an empty one is rebuilt from Kafka", head.Position), err)
	case err != nil && !errors.Is(err, relay.ErrAhead) && !errors.Is(err, relay.ErrForeign):
		return err
	}
	total, err := o.logEnd(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	merged, err := o.importAfter(ctx, head.Position, func(p domain.Position) { o.progress("rebuilding the store", uint64(p), uint64(total)) })
	if err != nil {
		return err
	}
	switch {
	case merged.Last == 0 && merged.Lost == 0:
		return &domain.Error{Kind: domain.NotFound, Code: "kafka.empty", Message: "the topics hold no events", Fix: "check KAFKA_BROKERS"}
	case merged.Last == 0:
		return &domain.Error{
			Kind: domain.Unavailable, Code: "kafka.trimmed",
			Message: fmt.Sprintf("Kafka lacks the first event; %d later ones cannot be verified without it", merged.Lost),
			Fix:     "restore a backup of Postgres; the embedded log keeps everything only with HISHAMOS_LOG_RETAIN=all",
		}
	}
	done := recovered{
		Events: merged.Last, Epoch: epochs.High, Repeats: merged.Repeats, Missing: merged.Missing, Lost: merged.Lost,
		Behind: merged.Behind, pace: paceOf(uint64(merged.Last-head.Position), began),
	}
	if err := o.takeSettings(ctx, &done); err != nil {
		return err
	}
	return o.tellRecovered(done)
}

// takeSettings makes the log's settings those of the log that was imported.
func (o *operation) takeSettings(ctx context.Context, done *recovered) error {
	s, err := o.store.Settings(ctx)
	if err != nil {
		return err
	}
	done.Generation = s.Generation + 1
	if err := o.store.SetGeneration(ctx, done.Generation); err != nil {
		return err
	}
	if done.Epoch > s.Epoch {
		if err := o.store.SetEpoch(ctx, done.Epoch); err != nil {
			return err
		}
	}
	level, err := o.recordedLevel(ctx)
	if err != nil {
		return err
	}
	if err := o.keepLevel(ctx, level); err != nil {
		return err
	}
	done.Level = max(level, s.Level)
	return nil
}

func (o *operation) tellRecovered(done recovered) error {
	if err := o.answer(done, "rebuilt and verified %d events (%s); later ones carry generation %d", done.Events, done.pace, done.Generation); err != nil || o.json || done.Missing == 0 {
		return err
	}
	err := o.answer(nil, "Kafka lacks position %d: %d events behind it were not imported. To give them up: hishamos replay kafka-from-store --force",
		done.Missing, done.Lost)
	for _, l := range done.Behind {
		err = errors.Join(err, o.answer(nil, "  %d %s %s", l.Position, l.Type, l.ID))
	}
	if more := done.Lost - len(done.Behind); more > 0 {
		err = errors.Join(err, o.answer(nil, "  and %d more", more))
	}
	return err
}

// logEnd is the largest position on Kafka.
func (n *node) logEnd(ctx context.Context) (end domain.Position, err error) {
	topics, err := n.eventTopics(ctx)
	if err != nil {
		return 0, err
	}
	counts, err := n.log.Topics(ctx, log.Prefix)
	if err != nil {
		return 0, err
	}
	for _, topic := range topics {
		for id := range counts[topic] {
			m, ok, err := n.log.Last(ctx, log.Partition{Topic: topic, ID: int32(id)})
			if err != nil {
				return 0, err
			}
			if p, err := log.Decode(m); ok && err == nil {
				end = max(end, p.Position)
			}
		}
	}
	return end, nil
}
