package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/projection"
	projectionpg "github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/projections"
)

func newReplay() *cobra.Command {
	cmd := operators("replay", "Rebuild read models, Kafka or the store from each other, and handle again what failed")
	var force bool
	refill := &cobra.Command{
		Use: "kafka-from-store", Short: "Make the topics anew from the events, under a new epoch", Args: noArgs,
		Long: `Delete the event topics and fill them again from the store, under a new epoch.
Commands are accepted meanwhile; consumers go on by position. No relay may run.
Refused where Kafka holds events that the store lacks, unless --force gives them up.`,
		RunE: operate(func(ctx context.Context, o *operation) error { return o.kafkaFromStore(ctx, force) }),
	}
	refill.Flags().BoolVar(&force, "force", false, "give up events that only Kafka holds")
	cmd.AddCommand(
		&cobra.Command{
			Use: "rebuild [PROJECTION]", Short: "Build read models anew from the events, beside the live ones, and switch", Args: cobra.MaximumNArgs(1),
			RunE: operate(func(ctx context.Context, o *operation) error { return o.rebuild(ctx) }),
		},
		&cobra.Command{
			Use: "digest", Short: "Print the digest of every read model and the head of the log", Args: noArgs,
			RunE: operate(func(ctx context.Context, o *operation) error { return o.digest(ctx) }),
		},
		&cobra.Command{
			Use: "status", Short: "Show how far every read model is, and what is parked or paused", Args: noArgs,
			RunE: operate(func(ctx context.Context, o *operation) error { return o.status(ctx) }),
		},
		&cobra.Command{
			Use: "requeue PROJECTION STREAM", Short: "Replay a parked stream into a read model, in order", Args: cobra.ExactArgs(2),
			RunE: operate(func(ctx context.Context, o *operation) error {
				return o.requeue(ctx, o.args[0], domain.StreamID(o.args[1]))
			}),
		},
		newDeadLetters(),
		refill,
		&cobra.Command{
			Use: "store-from-kafka", Short: "Rebuild an empty store from the topics, verified event by event", Args: noArgs,
			Long: `Rebuild an empty store from the topics, verified event by event, up to the first
position that Kafka lacks; what lies behind it is listed and left out. Later
appends carry a new generation. The embedded log must have kept everything:
HISHAMOS_LOG_RETAIN=all.`,
			RunE: operate(func(ctx context.Context, o *operation) error { return o.storeFromKafka(ctx) }),
		},
	)
	return cmd
}

// reader is a projection runner that follows nothing: it answers, and with locks
// it rebuilds.
func (n *node) reader() (*projection.Runner, error) { return n.runner(nil) }

func (n *node) runner(locks projection.Locks) (*projection.Runner, error) {
	return projection.New(projection.Config{
		Definitions: projections.All(), Store: projectionpg.New(n.writer), Events: n.store,
		Log: n.log, Mark: n.mark, Locks: locks, Process: n.id, Logger: n.logger,
	})
}

// known makes sure that a read model has a definition.
func known(name string) error {
	var names []string
	for _, d := range projections.All() {
		if names = append(names, d.Name); d.Name == name {
			return nil
		}
	}
	return domain.InvalidField("PROJECTION", fmt.Sprintf("there is no read model %q", name), fmt.Sprintf("choose from %v", names))
}

// rebuilt is what a rebuild answers, for each read model.
type rebuilt struct {
	Projection string          `json:"projection"`
	Events     domain.Position `json:"events"`
	pace
}

func (o *operation) rebuild(ctx context.Context) error {
	names := o.args
	if len(names) == 0 {
		for _, d := range projections.All() {
			names = append(names, d.Name)
		}
	} else if err := known(names[0]); err != nil {
		return err
	}
	// The partitions of the topics are what the new build goes on in.
	if err := o.connect(ctx); err != nil {
		return err
	}
	session, err := o.session(ctx)
	if err != nil {
		return err
	}
	defer o.closing("rebuild lock", func() error { return session.Close(context.WithoutCancel(ctx)) })
	r, err := o.runner(session)
	if err != nil {
		return err
	}
	var all []rebuilt
	for _, name := range names {
		head, err := o.store.Head(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		stop := o.watchBuild(ctx, name, head.Position)
		err = r.Rebuild(ctx, name)
		stop()
		if err != nil {
			return err
		}
		done := rebuilt{name, head.Position, paceOf(uint64(head.Position), began)}
		if all = append(all, done); !o.json {
			if err := o.answer(done, "%s: rebuilt from %d events and switched (%s)", name, done.Events, done.pace); err != nil {
				return err
			}
		}
	}
	if o.json {
		return printJSON(o.out, all)
	}
	return nil
}

// watchBuild shows how far a build is.
func (o *operation) watchBuild(ctx context.Context, name string, total domain.Position) (stop func()) {
	const sql = `select coalesce(max(c.position), 0) from projection_checkpoints c join projection_builds b using (projection, build)
		where projection = $1 and state = 'building'`
	return o.beside(ctx, "progress", func(ctx context.Context) error {
		for wait(ctx, 200*time.Millisecond) {
			var at uint64
			if err := o.writer.QueryRow(ctx, sql, name).Scan(&at); err == nil {
				o.progress("rebuilding "+name, at, uint64(total))
			}
		}
		return nil
	})
}

func (o *operation) digest(ctx context.Context) error {
	head, err := o.store.Head(ctx)
	if err != nil {
		return err
	}
	digests, err := o.digests(ctx)
	if err != nil {
		return err
	}
	if !o.json {
		for _, d := range projections.All() {
			if err := o.answer(nil, "%s %s", d.Name, digests[d.Name]); err != nil {
				return err
			}
		}
	}
	return o.answer(map[string]any{"position": head.Position, "hash": head.Hash.String(), "read_models": digests},
		"log: position %d, hash %s", head.Position, head.Hash)
}

// digests are those of all read models.
func (n *node) digests(ctx context.Context) (map[string]string, error) {
	all := make(map[string]string)
	for _, d := range projections.All() {
		var err error
		if all[d.Name], err = n.asking.Digest(ctx, d.Name); err != nil {
			return nil, fmt.Errorf("digest %s: %w", d.Name, err)
		}
	}
	return all, nil
}

func (o *operation) status(ctx context.Context) error {
	var all []projection.Status
	for _, d := range projections.All() {
		s, err := o.asking.Status(ctx, d.Name)
		if err != nil {
			return err
		}
		if all = append(all, s); o.json {
			continue
		}
		if err := o.answer(nil, "%s: position %d, %d streams parked", s.Projection, s.Position, len(s.Parked)); err != nil {
			return err
		}
		for _, p := range s.Parked {
			if err := o.answer(nil, "  %s at position %d (%s): %s", p.Stream, p.Position, p.Type, firstLine(p.Cause)); err != nil {
				return err
			}
		}
	}
	if o.json {
		return printJSON(o.out, all)
	}
	return nil
}
