// Command hishamos is the server and the operator's tool: `up` runs everything
// on one machine, `serve` runs chosen roles, the rest looks after the log.
//
// It is the composition root, and so the only place that names adapters. Start
// reading at wire.go, which lists every decider, projection and reaction.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// version is set by the linker.
var version = "dev"

// The exit codes; docs/reference/exit-codes.md explains them.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	collectByRoom()
	// A second Ctrl-C ends the program at once: stop gives the signal back.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "hishamos:", err)
	var known *domain.Error
	if errors.As(err, &known) && known.Kind == domain.Invalid || errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}

// errUsage marks errors of the command line itself.
var errUsage = errors.New("see --help")

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "hishamos",
		Short:         "HishamOS: agents and workflows on an event log",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w (%w)", err, errUsage) })
	root.AddCommand(newUp(), newServe(), newMigrate(), newRoutes(), newVerify(), newCheckpoint(), newReplay(), newLog(), newErase(), newBlobs(), newToken(), newBench())
	return root
}

// settings loads the configuration and makes the program's logger.
func settings() (config.Config, *slog.Logger, error) {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return cfg, nil, err
	}
	return cfg, newLogger(cfg), nil
}

func newLogger(cfg config.Config) *slog.Logger {
	if cfg.LogFormat == config.JSON {
		return telemetry.NewLogger(os.Stderr, "hishamos", cfg.LogLevel)
	}
	return telemetry.NewTextLogger(os.Stderr, cfg.LogLevel)
}
