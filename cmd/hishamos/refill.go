package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/lock"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/relay"
)

// relayLock takes the lock of whoever publishes.
func (n *node) relayLock(ctx context.Context) (*lock.Session, error) {
	session, err := n.session(ctx)
	if err != nil {
		return nil, err
	}
	ok := false
	// A process that has just ended holds its lock a moment longer.
	for range 5 {
		if ok, err = session.Try(ctx, "relay"); ok || err != nil || !wait(ctx, lockPatience) {
			break
		}
	}
	if err == nil && !ok {
		err = &domain.Error{
			Kind: domain.Conflict, Code: "relay.running", Message: "a relay publishes in another process",
			Fix: "stop the processes with the role relay first; the others may run",
		}
	}
	if err != nil {
		return nil, errors.Join(err, session.Close(context.WithoutCancel(ctx)))
	}
	return session, nil
}

// refilled is what kafka-from-store answers.
type refilled struct {
	Epoch  int    `json:"epoch"`
	Events uint64 `json:"events"`
	pace
}

// kafkaFromStore deletes the topics and fills them again under a new epoch.
func (o *operation) kafkaFromStore(ctx context.Context, force bool) error {
	session, err := o.relayLock(ctx)
	if err != nil {
		return err
	}
	defer o.closing("relay lock", func() error { return session.Close(context.WithoutCancel(ctx)) })
	if err := o.reach(ctx); err != nil {
		return err
	}
	if err := o.onlyOnKafka(ctx); err != nil && !force {
		return err
	}
	topics, err := o.eventTopics(ctx)
	if err != nil {
		return err
	}
	// Nobody may take what is about to be deleted for published.
	if _, err := o.writer.Exec(ctx, saveMark, 0, ""); err != nil {
		return fmt.Errorf("reset relay mark: %w", err)
	}
	epoch, err := o.store.NewEpoch(ctx)
	if err != nil {
		return err
	}
	o.epoch.Store(int64(epoch))
	if len(topics) > 0 {
		if err := o.log.Delete(ctx, topics...); err != nil {
			return err
		}
	}
	head, err := o.store.Head(ctx)
	if err != nil {
		return err
	}
	options := o.relayOptions()
	options.Lock = session
	began, r, published := time.Now(), relay.New(relay.Ahead(o.store), o.log, options), uint64(0)
	for {
		k, err := r.Step(ctx)
		if err != nil {
			return errors.Join(err, r.Close(context.WithoutCancel(ctx)))
		}
		if k == 0 {
			break
		}
		published += uint64(k)
		o.progress("refilling Kafka", published, max(published, uint64(head.Position)))
	}
	done := refilled{epoch, published, paceOf(published, began)}
	mark := r.Mark()
	tails, err := mark.Tails.MarshalText()
	if err == nil {
		_, err = o.writer.Exec(ctx, saveMark, mark.Position, string(tails))
	}
	if err := errors.Join(err, r.Close(ctx)); err != nil {
		return err
	}
	return o.answer(done, "Kafka holds all %d events again, under epoch %d (%s)", done.Events, epoch, done.pace)
}

// onlyOnKafka is an error when deleting the topics would lose events, or might.
func (n *node) onlyOnKafka(ctx context.Context) error {
	_, err := n.compare(ctx)
	var ahead *relay.AheadError
	switch {
	case errors.As(err, &ahead):
		return &domain.Error{
			Kind: domain.Conflict, Code: "kafka.ahead",
			Message: fmt.Sprintf("Kafka holds events up to position %d, the store only to %d", ahead.Log, ahead.Store),
			Fix:     "start the server once: it catches up; or give those events up with --force",
		}
	case errors.Is(err, relay.ErrDiverged), errors.Is(err, relay.ErrForeign):
		return fmt.Errorf("%w; if the store is right: --force", err)
	}
	return err
}

// eventTopics are the event topics that exist, also of types newer than this
// build.
func (n *node) eventTopics(ctx context.Context) ([]string, error) {
	all, err := n.log.Topics(ctx, log.Prefix)
	var names []string
	for name := range all {
		if part, ok := strings.CutSuffix(strings.TrimPrefix(name, log.Prefix), ".events"); ok && !strings.Contains(part, ".") {
			names = append(names, name)
		}
	}
	return names, err
}
