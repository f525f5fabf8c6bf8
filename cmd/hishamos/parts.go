package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/lock"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	projectionpg "github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/relay"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/internal/telemetry/tracing"
	"github.com/hishamos/hishamos/internal/worker"
	"github.com/hishamos/hishamos/projections"
)

// lockPatience is how often a part asks again for a lock that another holds.
const lockPatience = 250 * time.Millisecond

// session opens a lock session that watches itself.
func (n *node) session(ctx context.Context) (*lock.Session, error) {
	s, err := lock.Open(ctx, n.url)
	if err != nil {
		return nil, err
	}
	go s.Watch(ctx, time.Second)
	return s, nil
}

// lead runs a part once this process alone holds a lock. A lost session holds none
// ever again: the part's context ends, and it begins anew with another.
func (n *node) lead(ctx context.Context, name string, run func(context.Context, *lock.Session) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	session, err := n.session(ctx)
	if err != nil {
		return err
	}
	defer n.closing(name+" lock", func() error { return session.Close(context.WithoutCancel(ctx)) })
	go func() {
		select {
		case <-session.Lost():
			cancel(lock.ErrLost)
		case <-ctx.Done():
		}
	}()
	for {
		ok, err := session.Try(ctx, name)
		switch {
		case err != nil:
			return err
		case ok:
			return run(ctx, session)
		case !wait(ctx, lockPatience):
			return context.Cause(ctx)
		}
	}
}

// runRelay publishes as soon as no other process does.
func (n *node) runRelay(ctx context.Context) error { return n.lead(ctx, "relay", n.publish) }

func (n *node) publish(ctx context.Context, session *lock.Session) error {
	// Whoever had the lock before may have refilled the topics.
	settings, err := n.store.Settings(ctx)
	if err != nil {
		return err
	}
	n.follow(settings)
	wake, done := n.wakes.listen()
	defer done()
	marks := newMarks(n)
	go marks.run(ctx)
	options := n.relayOptions()
	options.Lock, options.OnPublished, options.OnArrived = session, marks.published, n.metrics.Arrived
	r := relay.New(woken{n.store, wake}, tracing.Log(n.tracer, n.log), options)
	n.relay.Store(r)
	defer n.relay.Store(nil)
	n.logger.Info("relay publishes", "epoch", n.epoch.Load(), "partitions", n.partitions)
	return r.Run(ctx)
}

// runProjections keeps the read models up to date.
func (n *node) runProjections(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	session, err := n.session(ctx)
	if err != nil {
		return err
	}
	defer n.closing("projection locks", func() error { return session.Close(context.WithoutCancel(ctx)) })
	r, err := projection.New(projection.Config{
		Definitions: projections.All(), Store: projectionpg.New(n.writer), Log: n.log, Events: n.store, Mark: n.mark,
		Locks: session, Process: n.id, Logger: n.logger,
	})
	if err != nil {
		return err
	}
	if err := n.awaitTopics(ctx); err != nil {
		return err
	}
	n.filling.Store(r)
	defer n.filling.Store(nil)
	return r.Run(ctx)
}

// awaitTopics waits until the relay, here or elsewhere, has made the topics that
// read models are filled from: at the first start it may come second.
func (n *node) awaitTopics(ctx context.Context) error {
	for told := false; ; told = true {
		there, err := n.log.Topics(ctx, log.Prefix)
		if err != nil {
			return err
		}
		missing := ""
		for _, d := range projections.All() {
			for _, t := range d.Topics() {
				if there[t] == 0 {
					missing = t
				}
			}
		}
		if missing == "" {
			return nil
		}
		if !told {
			n.logger.Info("waiting for topics that the relay makes", "topic", missing)
		}
		if !wait(ctx, lockPatience) {
			return context.Cause(ctx)
		}
	}
}

// runReactions reacts to events: sagas, timers, leases, and workers elsewhere.
func (n *node) runReactions(ctx context.Context) error {
	return n.react(ctx, handlers.All(n.ports())...)
}

// react runs reactions, and the clock of the timers they set.
func (n *node) react(ctx context.Context, all ...reaction.Reaction) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dead, err := wmkafka.NewPublisher(wmkafka.PublisherConfig{
		Brokers: n.brokers, Marshaler: wmkafka.DefaultMarshaler{}, OverwriteSaramaConfig: durableProducer(),
	}, watermill.NewSlogLogger(n.logger))
	if err != nil {
		return fmt.Errorf("open dead-letter publisher: %w", err)
	}
	defer n.closing("dead-letter publisher", dead.Close)
	ports := n.ports()
	resumes, done, err := n.resumes(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := n.makeDeadLetterTopics(ctx, all); err != nil {
		return err
	}
	r, err := reaction.NewRunner(ctx, reaction.Options{
		Log: n.log, Store: n.store, Partitions: n.partitions, Epoch: n.epochNow, Logger: n.logger,
		Lock:        func(ctx context.Context) (reaction.Session, error) { return n.session(ctx) },
		Resumes:     resumes,
		Requeues:    reaction.PostgresRequeues{Pool: n.writer},
		Deployed:    n.deployedFrom,
		DeadLetters: prefixedPublisher{dead, string(n.cfg.KafkaPrefix)},
	}, tracing.Reactions(n.tracer, all)...)
	if err != nil {
		return err
	}
	n.reactions.Store(r)
	defer n.reactions.Store(nil)
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(func() {
		n.timers.Run(ctx, clock{}, func(ctx context.Context, t domain.Timer) error {
			failpoint.Hit("timer.before_fire")
			err := ports.FireTimer(telemetry.WithTraceParent(ctx, t.TraceParent), t)
			failpoint.Hit("timer.after_fire")
			if err != nil && ctx.Err() == nil {
				n.logger.Warn("fire timer", "stream", t.Stream, "timer", t.ID, "error", err)
			}
			return err
		})
	})
	return r.Run(ctx)
}

// prefixedPublisher publishes to the topics' names on the broker.
type prefixedPublisher struct {
	message.Publisher
	prefix string
}

func (p prefixedPublisher) Publish(topic string, messages ...*message.Message) error {
	return p.Publisher.Publish(p.prefix+topic, messages...)
}

// durableProducer is sarama set so that an acknowledged message is kept once.
func durableProducer() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V2_8_0_0
	c.Producer.Idempotent = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Net.MaxOpenRequests = 1
	return c
}

// runOffice serves workers in other processes.
func (n *node) runOffice(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := net.Listen("tcp", net.JoinHostPort(n.officeHost(), "0"))
	if err != nil {
		return fmt.Errorf("listen for workers: %w", err)
	}
	office := &worker.Server{Office: n.local(), Secret: n.secret, Logger: n.logger, Done: ctx.Done()}
	server := &http.Server{Handler: office.Handler(), ReadHeaderTimeout: 5 * time.Second}
	registry := worker.Registry{Pool: n.writer}
	here := worker.Node{ID: n.id, Address: "http://" + listener.Addr().String(), Secret: n.secret}
	go func() {
		for {
			if err := registry.Touch(ctx, here); err != nil && ctx.Err() == nil {
				n.logger.Warn("register node", "error", err)
			}
			if !wait(ctx, 2*time.Second) {
				break
			}
		}
		n.closing("node registration", func() error { return registry.Remove(context.WithoutCancel(ctx), n.id) })
		n.closing("worker server", server.Close)
	}()
	err = server.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// officeHost is the address workers elsewhere reach this node at: that of the
// API's listener, so that one setting opens both.
func (n *node) officeHost() string {
	host, _, err := net.SplitHostPort(n.cfg.Listen)
	if err != nil {
		return "127.0.0.1"
	}
	return host
}

func (n *node) local() worker.Local {
	return worker.Local{Board: n.board, Dispatcher: n.commands}
}

// runWorkers performs steps: for this process if it owns runs, else for all
// nodes that do.
func (n *node) runWorkers(ctx context.Context, here bool) error {
	perform, err := n.perform()
	if err != nil {
		return err
	}
	pool := &worker.Pool{Perform: perform, Holder: n.id, Slots: n.cfg.Workers, Logger: n.logger, Office: n.local(), Watch: tracing.Step(n.tracer)}
	if !here {
		remote := worker.NewRemote(worker.Registry{Pool: n.writer}.Live, n.id, n.cfg.Workers, n.logger)
		go remote.Run(ctx)
		pool.Office = remote
	}
	pool.Run(ctx)
	return context.Cause(ctx)
}

func (n *node) closing(what string, close func() error) {
	if err := close(); err != nil && !strings.Contains(err.Error(), "closed") {
		n.logger.Debug("close "+what, "error", err)
	}
}
