package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/anchor"
	"github.com/hishamos/hishamos/internal/checkpoint"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/lock"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// anchorPatience is how long reaching Kafka for an anchor may take.
const anchorPatience = 5 * time.Second

// makingPause is how long making checkpoints rests after an error, which is for
// an operator to see to.
const makingPause = 10 * time.Second

// anchors are the places named, for the log of an origin.
func (n *node) anchors(origin string, named []config.Anchor) []checkpoint.Anchor {
	out := make([]checkpoint.Anchor, len(named))
	for i, a := range named {
		switch a.Kind {
		case config.GitAnchor:
			out[i] = anchor.NewGit(a.Place, a.Push, origin, a.Outside)
		case config.KafkaAnchor:
			out[i] = anchor.NewKafka(a.Place, a.Outside, n.anchorLog)
		default:
			out[i] = anchor.NewFile(a.Place, a.Outside)
		}
	}
	return out
}

// anchorLog is the connection to Kafka. An operator's command may not have one
// yet, and must not wait for brokers that are down.
func (n *node) anchorLog(ctx context.Context) (log.Log, error) {
	n.reaching.Lock()
	defer n.reaching.Unlock()
	if n.log != nil {
		return n.log, nil
	}
	ctx, cancel := context.WithTimeout(ctx, anchorPatience)
	defer cancel()
	l, err := n.dialLog(ctx)
	if err != nil {
		return nil, err
	}
	n.log = l
	n.onClose(func(context.Context) error { return l.Close() })
	return l, nil
}

// keyPath is the file with the signing key.
func (n *node) keyPath() string {
	if n.cfg.CheckpointKey != "" {
		return n.cfg.CheckpointKey
	}
	return filepath.Join(n.cfg.Data, "keys", "checkpoint.key")
}

// keys loads the signing keys. The first is made where none was ever used; after
// that a missing file is a loss that an operator must know of.
func (n *node) keys(ctx context.Context, origin string) (checkpoint.Keys, error) {
	keys, err := checkpoint.LoadKeys(n.keyPath(), origin)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	newest, used, err := n.checkpoints().Newest(ctx)
	if err != nil {
		return nil, err
	}
	if used {
		return nil, checkpoint.ErrKey.With("checkpoints were signed by key %s, and %s is missing", newest.Key, n.keyPath())
	}
	key, err := checkpoint.NewKey(origin)
	if err != nil {
		return nil, err
	}
	keys = checkpoint.Keys{key}
	return keys, keys.Save(n.keyPath())
}

func (n *node) checkpoints() checkpoint.Store { return checkpoint.Store{Pool: n.writer} }

// origin names the log in its checkpoints.
func (n *node) origin(ctx context.Context) (string, error) {
	s, err := n.store.Settings(ctx)
	return checkpoint.Origin(s.LogID), err
}

// maker makes checkpoints of the log.
func (n *node) maker(ctx context.Context, made func()) (*checkpoint.Maker, error) {
	origin, err := n.origin(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := n.keys(ctx, origin); err != nil {
		return nil, err
	}
	return checkpoint.NewMaker(checkpoint.Options{
		Log: n.store, Store: n.checkpoints(), Origin: origin, Every: n.cfg.CheckpointEvery, Interval: n.cfg.CheckpointInterval,
		Keys: func() (checkpoint.Keys, error) { return checkpoint.LoadKeys(n.keyPath(), origin) },
		Now:  time.Now, Made: made,
	}), nil
}

// deliveries are the anchors of the settings, with how it stands with each.
type deliveries []*checkpoint.Delivery

func (d deliveries) kick() {
	for _, one := range d {
		one.Kick()
	}
}

// failing names the anchors that do not take checkpoints.
func (d deliveries) failing() []string {
	var out []string
	for _, one := range d {
		if s := one.State(); s.Error != "" {
			out = append(out, "anchor "+s.Anchor)
		}
	}
	return out
}

// openDeliveries makes a delivery for each anchor, once, and shows it in the
// metrics.
func (n *node) openDeliveries(ctx context.Context) error {
	if len(n.cfg.Anchors) == 0 || len(n.deliveries) > 0 {
		return nil
	}
	origin, err := n.origin(ctx)
	if err != nil {
		return err
	}
	for _, a := range n.anchors(origin, n.cfg.Anchors) {
		d := checkpoint.NewDelivery(a, n.checkpoints(), n.logger)
		n.deliveries = append(n.deliveries, d)
		err := n.metrics.Anchor(a.Name(), func() (domain.Position, bool) { s := d.State(); return s.Position, s.Error == "" })
		if err != nil {
			return err
		}
	}
	return nil
}

// runCheckpoints makes checkpoints and brings them to the anchors, as soon as no
// other process does.
func (n *node) runCheckpoints(ctx context.Context) error {
	return n.lead(ctx, "checkpoint", n.makeCheckpoints)
}

func (n *node) makeCheckpoints(ctx context.Context, _ *lock.Session) error {
	ctx, cancel := context.WithCancel(ctx)
	var bringing sync.WaitGroup
	defer bringing.Wait()
	defer cancel()
	for _, d := range n.deliveries {
		bringing.Go(func() { d.Run(ctx) })
	}
	for {
		m, err := n.maker(ctx, n.deliveries.kick)
		if err == nil {
			err = m.Run(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n.logger.Error("checkpoints cannot be made", telemetry.Error, err)
		if !wait(ctx, makingPause) {
			return context.Cause(ctx)
		}
	}
}
