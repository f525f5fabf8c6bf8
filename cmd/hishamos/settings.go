package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/logbook"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
)

// settingsEvery is how old a process's view of the log's settings may be.
const settingsEvery = 2 * time.Second

// follow takes over the settings of the log. This build writes no event types
// that it does not know, whatever the level.
func (n *node) follow(s postgres.Settings) {
	n.epoch.Store(int64(s.Epoch))
	n.level.Store(int64(min(s.Level, events.Level)))
}

func (n *node) epochNow() int { return int(n.epoch.Load()) }

// watchSettings follows what operators set while the process runs.
func (n *node) watchSettings(ctx context.Context) {
	for wait(ctx, settingsEvery) {
		s, err := n.store.Settings(ctx)
		if err != nil {
			if ctx.Err() == nil {
				n.logger.Warn("read the log's settings", "error", err)
			}
			continue
		}
		n.follow(s)
	}
}

// raiseLevel sets the level to this build's where no other build can be reading:
// one process holds the data folder.
func (n *node) raiseLevel(ctx context.Context) error {
	if !n.cfg.EmbeddedPostgres() && !n.cfg.EmbeddedLog() {
		return nil
	}
	s, err := n.store.Settings(ctx)
	if err != nil || s.Level >= events.Level {
		return err
	}
	return n.setLevel(ctx, events.Level)
}

// setLevel records the level on the log and then lets it hold. Done again after
// a crash between the two, it does what is missing.
func (n *node) setLevel(ctx context.Context, level int) error {
	_, err := n.dispatcher.Do(ctx, commands.Request{
		ID: domain.CommandID(uuid.NewString()), Principal: system("operator"),
		Command: commands.SetLogLevel{Level: level},
	})
	if err != nil {
		return fmt.Errorf("set level %d: %w", level, err)
	}
	return n.keepLevel(ctx, level)
}

// keepLevel raises the setting to a level that the log has recorded.
func (n *node) keepLevel(ctx context.Context, level int) error {
	s, err := n.store.Settings(ctx)
	if err != nil {
		return err
	}
	if s.Level < level {
		if err := n.store.SetLevel(ctx, level); err != nil {
			return err
		}
		s.Level = level
	}
	n.follow(s)
	return nil
}

// recordedLevel is the level that the events say was set.
func (n *node) recordedLevel(ctx context.Context) (int, error) {
	level, _, err := dispatch.Observe(ctx, n.dispatcher, commands.SetLogLevel{}.Target(), 0, func(s logbook.State) int { return s.Level() })
	return level, err
}

func newLog() *cobra.Command {
	cmd := operators("log", "Look after the log")
	cmd.AddCommand(&cobra.Command{
		Use:   "level [N]",
		Short: "Show the level of event types that may be written, or raise it",
		Long: `Show the level of event types that may be written, or raise it to N once every
process runs a version that knows the new types. Processes follow within seconds.
It is raised without asking where one process runs everything.`,
		Args: cobra.MaximumNArgs(1),
		RunE: operate(func(ctx context.Context, o *operation) error {
			if len(o.args) > 0 {
				level, err := strconv.Atoi(o.args[0])
				if err != nil {
					return domain.InvalidField("level", fmt.Sprintf("%q is not a number", o.args[0]), "give a number such as 1")
				}
				if err := o.connect(ctx); err != nil {
					return err
				}
				if err := o.setLevel(ctx, level); err != nil {
					return err
				}
			}
			s, err := o.store.Settings(ctx)
			if err != nil {
				return err
			}
			return o.answer(struct {
				Level int `json:"level"`
				Build int `json:"build"`
			}{s.Level, events.Level}, "level %d; this build can write level %d", s.Level, events.Level)
		}),
	})
	return cmd
}
