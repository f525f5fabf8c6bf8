package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/live"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/relay"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/internal/telemetry/tracing"
	"github.com/hishamos/hishamos/internal/timer"
	"github.com/hishamos/hishamos/internal/upload"
	"github.com/hishamos/hishamos/library"
)

// node is one process of the system, with the parts its roles need.
type node struct {
	*ground
	id         string
	secret     string // what workers elsewhere present
	library    *library.Library
	metrics    *telemetry.Metrics
	store      *postgres.Store
	queries    postgres.Queries // the store as requests see it
	ring       *keys.Ring
	blobs      blob.Store
	uploads    *upload.Keeper
	dispatcher *dispatch.Dispatcher
	commands   commands.Dispatcher // the dispatcher, watched
	tracer     *telemetry.Tracer   // nil: no traces are kept
	hub        *live.Hub
	wakes      *splitter
	log        log.Log
	reaching   sync.Mutex // guards log while an anchor opens it
	deliveries deliveries // to the anchors of the settings
	epoch      atomic.Int64
	level      atomic.Int64
	refusal    atomic.Pointer[error] // why new work is refused now, if it is

	relay     atomic.Pointer[relay.Relay]
	reactions atomic.Pointer[reaction.Runner]
	bench     benchOptions
	listener  net.Listener // of the API, from begin on
	scraped   net.Listener // of the metrics alone; nil: there is none
	pair      *certificate // of the API; nil: no TLS
	board     *lease.Board
	timers    *timer.Wheel
	asking    *projection.Runner                // answers how far read models are
	filling   atomic.Pointer[projection.Runner] // the one that fills read models here
	built     atomic.Bool                       // every read model has a build that answers
}

// openNode opens the store on the ground and makes the parts every role shares.
func openNode(ctx context.Context, cfg config.Config, logger *slog.Logger, show progress, patient bool) (_ *node, err error) {
	g, err := openGround(ctx, cfg, logger, show, patient)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close(context.WithoutCancel(ctx)))
		}
	}()
	n := &node{
		ground: g, id: uuid.Must(uuid.NewV7()).String(), secret: newSecret(), library: library.Deferred(), metrics: telemetry.NewMetrics(version),
		board: lease.NewBoard(clock{}), timers: timer.NewWheel(),
	}
	commits := newFresh(n.committed)
	g.onClose(func(context.Context) error { commits.close(); return nil })
	n.store, err = postgres.New(ctx, g.writer, postgres.Options{
		QueueLimit: cfg.QueueLimit, TenantQueueLimit: n.tenantShare(), Limits: batch.Limits{EventData: cfg.EventLimit, Append: cfg.AppendLimit},
		Admit: n.admit, Connected: n.reconnected, Committed: commits.committed, Logger: logger,
		Batched: n.metrics.Batch, Refused: n.metrics.Refused,
	})
	if err != nil {
		return nil, err
	}
	n.queries = postgres.NewQueries(g.rows)
	g.onClose(n.store.Close)
	settings, err := n.store.Settings(ctx)
	if err != nil {
		return nil, err
	}
	n.follow(settings)
	if err := n.openTracer(ctx); err != nil {
		return nil, err
	}
	if err := n.openBlobs(ctx, settings.LogID); err != nil {
		return nil, err
	}
	if err := n.openKeys(ctx); err != nil {
		return nil, err
	}
	n.dispatcher = dispatch.New(tracing.Store(n.tracer, n.store), dispatch.Options{
		Level: func() int { return int(n.level.Load()) }, Sealer: n.ring, Watch: n.count,
		Limits: dispatch.Limits{
			Working: min(cfg.QueueLimit, workingLimit), Waiting: cfg.QueueLimit, TenantWaiting: n.tenantShare(),
			TenantRate: cfg.TenantRate, StreamRate: cfg.StreamRate,
		},
	}, aggregates()...)
	n.commands = watched{n.metrics, tracing.Dispatcher(n.tracer, n.dispatcher)}
	if n.asking, err = n.reader(); err != nil {
		return nil, err
	}
	n.hub = live.New(n.queries, live.Options{Log: logger})
	n.wakes = newSplitter(n.store.Wake())
	n.metrics.Scraped(scrapeTime, n.state) // from now on they ask for the state
	return n, nil
}

// workingLimit is how many new commands are carried out at once, half of them one
// tenant's: enough for full batches, and no more than they are quick with.
const workingLimit = 128

// tenantShare is how many commands of one tenant may wait.
func (n *node) tenantShare() int { return max(1, n.cfg.QueueLimit*n.cfg.TenantShare/100) }

// committed takes fresh commits to where they save a detour. All of it is an
// optimisation: what is missed here comes from the store or from Kafka.
func (n *node) committed(records []events.Record) {
	n.metrics.Committed(records)
	n.hub.Committed(records)
	if r := n.relay.Load(); r != nil {
		r.Feed(records)
	}
	if r := n.reactions.Load(); r != nil && bool(n.cfg.Express) {
		failpoint.Hit("express.before_hand")
		n.metrics.Expressed(len(records))
		r.Express(records)
	}
}

// keep runs a part until the context ends. A part that fails is started again:
// databases and brokers come back.
func (n *node) keep(ctx context.Context, part string, run func(context.Context) error) {
	for ctx.Err() == nil {
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		n.logger.Warn("part ended; starting it again", "part", part, "error", err)
		wait(ctx, restartPause)
	}
}

// restartPause is how long a failed part waits before it starts again.
const restartPause = 250 * time.Millisecond

type clock struct{}

func (clock) Now() time.Time { return time.Now().UTC() }

func newSecret() string {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil { // documented never to fail
		panic(err)
	}
	return hex.EncodeToString(b[:])
}

// splitter gives every listener its own copy of a hint.
type splitter struct {
	mu   sync.Mutex
	outs []chan struct{}
}

func newSplitter(in <-chan struct{}) *splitter {
	s := &splitter{}
	go func() {
		for range in {
			s.mu.Lock()
			for _, out := range s.outs {
				select {
				case out <- struct{}{}:
				default:
				}
			}
			s.mu.Unlock()
		}
	}()
	return s
}

// listen returns a channel of hints and a function that ends it.
func (s *splitter) listen() (<-chan struct{}, func()) {
	out := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outs = append(s.outs, out)
	return out, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, o := range s.outs {
			if o == out {
				s.outs = append(s.outs[:i], s.outs[i+1:]...)
				return
			}
		}
	}
}

// woken is the store with a hint channel of its own.
type woken struct {
	*postgres.Store
	wake <-chan struct{}
}

func (w woken) Wake() <-chan struct{} { return w.wake }

// system is the principal of the program itself.
func system(id string) domain.Principal { return domain.SystemPrincipal(domain.SystemTenant, id) }
