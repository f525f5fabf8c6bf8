package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/kafka"
	"github.com/hishamos/hishamos/internal/pg"
)

// ground is what a process stands on: Postgres and Kafka, its own or others'.
type ground struct {
	cfg        config.Config
	logger     *slog.Logger
	folder     *embedded.Folder
	postgres   *embedded.Postgres
	broker     *embedded.Broker
	url        string // of the database, by the writer's login
	brokers    []string
	writer     pg.Writer
	rows       pg.Reader
	partitions int
	patient    bool
	stops      []func(context.Context) error // in the order of starting
}

// progress is told what a start is waiting for.
type progress func(what string, done, total int64)

// What a process does that finds somebody else's Postgres away at its start: a
// server waits for it, a command for a person fails and says so.
const (
	fails = false
	waits = true
)

// openGround starts or reaches Postgres and Kafka, and brings the schema up to
// date. On an error everything it started is stopped again.
func openGround(ctx context.Context, cfg config.Config, logger *slog.Logger, show progress, patient bool) (_ *ground, err error) {
	g := &ground{cfg: cfg, logger: logger, partitions: cfg.KafkaPartitions, patient: patient}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := g.openFolder(); err != nil {
		return nil, err
	}
	if err := g.openPostgres(ctx, show); err != nil {
		return nil, err
	}
	if err := g.openBroker(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

// openSchema starts or reaches Postgres alone, as the owner of the schema.
func openSchema(ctx context.Context, cfg config.Config, logger *slog.Logger, show progress) (_ *ground, owner pg.Owner, err error) {
	g := &ground{cfg: cfg, logger: logger}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := g.openFolder(); err != nil {
		return nil, owner, err
	}
	address, err := g.startPostgres(ctx, show)
	if err != nil {
		return nil, owner, err
	}
	if owner, err = pg.EnterAsOwner(ctx, address, pg.Options{}); err != nil {
		return nil, owner, err
	}
	g.onClose(func(context.Context) error { owner.Close(); return nil })
	return g, owner, nil
}

func (g *ground) openFolder() (err error) {
	if !g.cfg.EmbeddedPostgres() && !g.cfg.EmbeddedLog() {
		return nil
	}
	if g.folder, err = embedded.OpenFolder(g.cfg.Data); err != nil {
		return err
	}
	g.onClose(func(context.Context) error { return g.folder.Close() })
	return nil
}

// openPostgres starts or reaches the database, and enters it by logins that can
// do no more than they should.
func (g *ground) openPostgres(ctx context.Context, show progress) error {
	address, err := g.startPostgres(ctx, show)
	if err != nil {
		return err
	}
	var pools pg.Pools
	err = g.patiently(ctx, "Postgres", address, func() (err error) {
		pools, err = pg.Enter(ctx, pg.Addresses{Database: address, Reader: g.cfg.ReaderURL.Reveal()}, pg.Options{Within: reachTimeout})
		return err
	})
	if err != nil {
		return err
	}
	g.url, g.writer, g.rows = pools.Address, pools.Writer, pools.Reader
	g.onClose(func(context.Context) error { pools.Close(); return nil })
	return nil
}

// patiently tries to enter a server of others. If the process is one that waits,
// it tries again for as long as the server is away, and says once for what.
func (g *ground) patiently(ctx context.Context, what, address string, enter func() error) error {
	for warned := false; ; warned = true {
		err := enter()
		if err == nil || !g.patient || !pg.Away(err) || ctx.Err() != nil {
			return err
		}
		if !warned {
			g.logger.Warn(what+" does not answer; waiting for it", "address", pg.Address(address), "error", err)
		}
		if !wait(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

// reachTimeout bounds how long Postgres may take to let us in. What is done then,
// as a migration, may take longer.
const reachTimeout = 10 * time.Second

// startPostgres returns the address of the database as the settings have it, and
// starts the server if it is ours.
func (g *ground) startPostgres(ctx context.Context, show progress) (address string, err error) {
	if g.cfg.EmbeddedPostgres() {
		dir, err := g.folder.Sub("postgres")
		if err != nil {
			return "", err
		}
		cache, err := g.folder.Sub("cache")
		if err != nil {
			return "", err
		}
		show("starting Postgres", 0, 0)
		g.postgres, err = embedded.StartPostgres(ctx, embedded.PostgresOptions{
			Dir: dir, Cache: cache,
			Binaries: g.cfg.PostgresBin, Maven: g.cfg.MavenURL,
			Progress: func(done, total int64) { show("fetching Postgres", done, total) },
		})
		if err != nil {
			return "", err
		}
		g.onClose(g.postgres.Stop)
		return g.postgres.URL(), nil
	}
	return g.cfg.DatabaseURL.Reveal(), nil
}

func (g *ground) openBroker(ctx context.Context) error {
	g.brokers = g.cfg.KafkaBrokers
	if !g.cfg.EmbeddedLog() {
		return nil
	}
	dir, err := g.folder.Sub("kafka")
	if err != nil {
		return err
	}
	if g.broker, err = embedded.StartBroker(ctx, embedded.BrokerOptions{Dir: dir, Segment: g.segment(), Logger: g.logger}); err != nil {
		return err
	}
	g.onClose(func(context.Context) error { g.broker.Stop(); return nil })
	g.brokers = []string{g.broker.Addr()}
	return nil
}

// openLog connects to Kafka. A broker that is down is waited for: commands are
// accepted meanwhile.
func (g *ground) openLog(ctx context.Context) (log.Log, error) {
	for warned := false; ; warned = true {
		l, err := g.dialLog(ctx)
		if err == nil {
			return l, nil
		}
		if domain.KindOf(err) != domain.Unavailable || ctx.Err() != nil {
			return nil, err
		}
		if !warned {
			g.logger.Warn("Kafka does not answer; waiting for it", "error", err)
		}
		if !wait(ctx, time.Second) {
			return nil, context.Cause(ctx)
		}
	}
}

// dialLog connects to Kafka once, or says why not.
func (g *ground) dialLog(ctx context.Context) (log.Log, error) {
	l, err := kafka.Open(ctx, kafka.Options{Brokers: g.brokers, ReplicationFactor: g.cfg.KafkaReplication, Logger: g.logger})
	if err != nil {
		return nil, err
	}
	return log.Prefixed(l, string(g.cfg.KafkaPrefix)), nil
}

func (g *ground) onClose(f func(context.Context) error) { g.stops = append(g.stops, f) }

// close stops what was started, the last first.
func (g *ground) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.ShutdownGrace)
	defer cancel()
	var errs []error
	for i := len(g.stops) - 1; i >= 0; i-- {
		errs = append(errs, g.stops[i](ctx))
	}
	g.stops = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// wait pauses, and reports whether the context still stands.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
