package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/pg"
)

// The roles a process can take.
const (
	roleAPI         = "api"
	roleRelay       = "relay"
	roleHandlers    = "handlers"
	roleWorkers     = "workers"
	roleProjections = "projections"
)

var allRoles = []string{roleAPI, roleRelay, roleHandlers, roleWorkers, roleProjections}

func newServe() *cobra.Command {
	var roles []string
	var bench benchOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run chosen roles of the system until stopped",
		Example: `  hishamos serve
  DATABASE_URL=postgres://... KAFKA_BROKERS=kafka:9092 hishamos serve --roles api,relay`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkRoles(roles); err != nil {
				return err
			}
			cfg, logger, err := settings()
			if err != nil {
				return err
			}
			if len(roles) < len(allRoles) && (cfg.EmbeddedPostgres() || cfg.EmbeddedLog()) {
				return domain.InvalidField("--roles", "several processes need a Postgres and a Kafka they share",
					"set DATABASE_URL and KAFKA_BROKERS, or leave --roles out")
			}
			n, err := beginServing(cmd.Context(), cfg, logger, roles, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			n.bench = bench
			return bench.profiled(func() error {
				return n.serve(cmd.Context(), roles, func(address string) { logger.Info("serving", "roles", strings.Join(roles, ","), "address", address) })
			})
		},
	}
	cmd.Flags().StringSliceVar(&roles, "roles", allRoles, "roles of this process")
	bench.flags(cmd)
	return cmd
}

// beginServing opens a node and makes it ready. A Postgres of others, be it of
// the events or of the keys, that goes away meanwhile is waited for, like one
// that is not there at the start.
func beginServing(ctx context.Context, cfg config.Config, logger *slog.Logger, roles []string, out io.Writer) (*node, error) {
	for {
		n, err := openNode(ctx, cfg, logger, func(string, int64, int64) {}, waits)
		if err == nil {
			if err = n.begin(ctx, roles, out); err == nil {
				return n, nil
			}
			err = errors.Join(err, n.close(context.WithoutCancel(ctx)))
		}
		what := "Postgres"
		if errors.Is(err, keys.ErrUnreachable) {
			what = keyPostgres
		} else if cfg.EmbeddedPostgres() {
			return nil, err
		}
		if !pg.Away(err) || ctx.Err() != nil {
			return nil, err
		}
		logger.Warn(what+" went away; beginning again", "error", err)
		if !wait(ctx, time.Second) {
			return nil, context.Cause(ctx)
		}
	}
}

func checkRoles(roles []string) error {
	for _, r := range roles {
		if !slices.Contains(allRoles, r) {
			return domain.InvalidField("--roles", fmt.Sprintf("%q is not a role", r), "choose from "+strings.Join(allRoles, ", "))
		}
	}
	return nil
}

// serve runs the parts of the roles until the context ends, then stops them and
// the ground they stand on. Ready is called once the roles' parts were started.
func (n *node) serve(parent context.Context, roles []string, ready func(address string)) (err error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	defer func() { err = errors.Join(err, n.close(context.WithoutCancel(parent))) }()
	has := func(r string) bool { return slices.Contains(roles, r) }

	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	start := func(name string, run func(context.Context) error) { parts.Go(func() { n.keep(ctx, name, run) }) }
	if n.postgres != nil {
		parts.Go(func() {
			if err := n.postgres.Supervise(ctx, n.logger); err != nil {
				n.logger.Error("embedded Postgres cannot go on", "error", err)
				cancel()
			}
		})
	}
	if n.broker != nil {
		start("log files", n.broker.Watch)
	}
	parts.Go(func() { n.watchLimits(ctx) })
	if n.scraped != nil {
		parts.Go(func() {
			if err := n.serveMetrics(ctx, n.scraped); err != nil {
				n.logger.Error("metrics ended", "error", err)
			}
		})
	}
	parts.Go(func() { n.watchSettings(ctx) })
	start("erasures", n.watchErasures)
	if has(roleHandlers) {
		start("files", n.settleFiles)
	}
	if has(roleRelay) {
		start(roleRelay, n.runRelay)
		if n.broker != nil {
			start("trim", n.runTrim)
		}
		if len(n.deliveries) > 0 {
			start("checkpoint", n.runCheckpoints)
		}
	}
	if has(roleProjections) {
		start(roleProjections, n.runProjections)
	}
	if has(roleHandlers) {
		start(roleHandlers, n.runReactions)
		if !has(roleWorkers) || len(roles) < len(allRoles) {
			start("office", n.runOffice)
		}
	}
	if has(roleWorkers) {
		start(roleWorkers, func(ctx context.Context) error { return n.runWorkers(ctx, has(roleHandlers)) })
	}
	address := ""
	if has(roleAPI) {
		address = n.address()
		parts.Go(func() {
			if err := n.serveAPI(ctx, n.listener); err != nil {
				n.logger.Error("API ended", "error", err)
				cancel()
			}
		})
	}
	ready(address)
	<-ctx.Done()
	return nil
}

// begin makes the node ready to append: connected to Kafka, with nothing on
// Kafka that the store lacks, and with a token to enter by. The port of the API
// comes first: a process that cannot serve must not have issued a token.
func (n *node) begin(ctx context.Context, roles []string, out io.Writer) error {
	if slices.Contains(roles, roleAPI) {
		if err := n.open(); err != nil {
			return err
		}
		go n.library.Read() // before the first request asks
	}
	if n.cfg.MetricsListen != "" {
		l, err := n.listen("HISHAMOS_METRICS_LISTEN", n.cfg.MetricsListen)
		if err != nil {
			return err
		}
		n.scraped = l
	}
	if err := n.connect(ctx); err != nil {
		return err
	}
	if slices.Contains(roles, roleAPI) || slices.Contains(roles, roleHandlers) {
		n.store.Connect()
	}
	if err := n.raiseLevel(ctx); err != nil {
		return err
	}
	if _, err := n.eraseAgain(ctx, 0); err != nil {
		return err
	}
	if slices.Contains(roles, roleRelay) {
		if err := n.openDeliveries(ctx); err != nil {
			return err
		}
	}
	return n.bootstrap(ctx, out)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, not %q (%w)", cmd.CommandPath(), args[0], errUsage)
	}
	return nil
}
