package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/log"
)

// marks shows the relay's published mark to other processes.
type marks struct {
	n    *node
	kick chan struct{}
}

func newMarks(n *node) *marks { return &marks{n: n, kick: make(chan struct{}, 1)} }

// published is called by the relay and does not wait.
func (m *marks) published(domain.Position) {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// markEvery bounds how often the mark is written.
const markEvery = 50 * time.Millisecond

const saveMark = `insert into relay_mark (position, tails) values ($1, $2)
on conflict (only_row) do update set position = excluded.position, tails = excluded.tails`

const readMark = `select position, tails from relay_mark`

func (m *marks) run(ctx context.Context) {
	for {
		select {
		case <-m.kick:
		case <-ctx.Done():
			return
		}
		if r := m.n.relay.Load(); r != nil {
			failpoint.Hit("relay.before_mark")
			if err := m.save(ctx, r.Mark()); err == nil {
				failpoint.Hit("relay.after_mark")
			} else if ctx.Err() == nil {
				m.n.logger.Warn("save relay mark", "error", err)
			}
		}
		if !wait(ctx, markEvery) {
			return
		}
	}
}

func (m *marks) save(ctx context.Context, mark log.Mark) error {
	tails, err := mark.Tails.MarshalText()
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, m.n.writer, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(`set local synchronous_commit = off`)
		b.Queue(saveMark, mark.Position, string(tails))
		return tx.SendBatch(ctx, b).Close()
	})
}

// mark says up to where everything is on Kafka: the relay's own mark, if it runs
// here.
func (n *node) mark(ctx context.Context) (log.Mark, error) {
	if r := n.relay.Load(); r != nil {
		return r.Mark(), nil
	}
	var mark log.Mark
	var tails string
	err := n.writer.QueryRow(ctx, readMark).Scan(&mark.Position, &tails)
	if errors.Is(err, pgx.ErrNoRows) {
		return log.Mark{}, nil
	}
	if err == nil {
		err = mark.Tails.UnmarshalText([]byte(tails))
	}
	if err != nil {
		return log.Mark{}, fmt.Errorf("read relay mark: %w", err)
	}
	return mark, nil
}

// lagEvery is how old the figure may be by which new work is admitted.
const lagEvery = 250 * time.Millisecond

// admit refuses new work while too much waits to be published or the disk is
// nearly full. It answers from figures that watchLimits keeps.
func (n *node) admit() error {
	if reason := n.refusal.Load(); reason != nil {
		return *reason
	}
	return nil
}

// watchLimits keeps the answer of admit up to date.
func (n *node) watchLimits(ctx context.Context) {
	for {
		n.judge(ctx)
		if !wait(ctx, lagEvery) {
			return
		}
	}
}

// judge takes the figures and decides whether new work is admitted.
func (n *node) judge(ctx context.Context) {
	reason := n.limits(ctx)
	if reason == nil {
		n.refusal.Store(nil)
		return
	}
	n.refusal.Store(&reason)
}

func (n *node) limits(ctx context.Context) error {
	if free, err := freeDisk(n.diskPath()); err == nil && free < int64(n.cfg.MinFreeDisk) {
		return eventstore.ErrBusy.With("only %d MB of disk are free at %s; new work is refused below %s",
			free>>20, n.diskPath(), n.cfg.MinFreeDisk)
	}
	head, err := n.store.Head(ctx)
	if err != nil {
		return nil // the append itself will say it better
	}
	published, err := n.mark(ctx)
	if err != nil {
		return nil
	}
	if lag := int64(head.Position) - int64(published.Position); lag > n.cfg.RelayLagLimit {
		return eventstore.ErrBusy.With("%d events wait to be published; new work is refused above %d", lag, n.cfg.RelayLagLimit)
	}
	return nil
}
