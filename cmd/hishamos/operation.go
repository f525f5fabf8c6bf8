package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// operation is an operator's command at work on a node of its own.
type operation struct {
	*node
	args []string
	out  io.Writer
	json bool
	bar  *starting
}

// errInterrupted ends a command that Ctrl-C stopped.
var errInterrupted = errors.New("interrupted; run it again to finish")

// operators is a group of operators' commands; all of them know --json.
func operators(use, short string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	withJSON(cmd)
	return cmd
}

func withJSON(cmd *cobra.Command) { cmd.PersistentFlags().Bool("json", false, "answer as JSON") }

func wantsJSON(cmd *cobra.Command) bool {
	f := cmd.Flag("json")
	return f != nil && f.Value.String() == "true"
}

// operate opens the store for one command and closes it after. On the embedded
// profile no server may run on the same folder.
func operate(do func(context.Context, *operation) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		cfg, logger, err := settings()
		if err != nil {
			return err
		}
		if os.Getenv("HISHAMOS_LOG_LEVEL") == "" { // the answer says what happened
			cfg.LogLevel = slog.LevelWarn
			logger = newLogger(cfg)
		}
		bar := &starting{screen: newScreen(cmd.ErrOrStderr())}
		defer bar.done()
		show := bar.show
		if !bar.Terminal {
			show = func(string, int64, int64) {}
		}
		n, err := openNode(ctx, cfg, logger, show, fails)
		if err != nil {
			return err
		}
		bar.unit = "events"
		defer func() {
			bar.done()
			closeErr := n.close(context.WithoutCancel(ctx))
			switch {
			case ctx.Err() != nil:
				err = errInterrupted
			case err == nil:
				err = closeErr
			}
		}()
		return do(ctx, &operation{node: n, args: args, out: cmd.OutOrStdout(), json: wantsJSON(cmd), bar: bar})
	}
}

// answer prints the result: as JSON if that was asked for, else as a line.
func (o *operation) answer(v any, format string, args ...any) error {
	return answer(o.out, o.json, v, format, args...)
}

func answer(out io.Writer, asJSON bool, v any, format string, args ...any) error {
	if asJSON {
		return printJSON(out, v)
	}
	_, err := fmt.Fprintf(out, format+"\n", args...)
	return err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// progress shows, in a terminal, how much of the events is done.
func (o *operation) progress(what string, done, total uint64) {
	if o.bar != nil && o.bar.Terminal {
		o.bar.show(what, int64(done), int64(total))
	}
}

// pace is how long something took, and how many events it did in a second.
type pace struct {
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"events_per_second"`
}

func paceOf(events uint64, began time.Time) pace {
	s := time.Since(began).Seconds()
	return pace{s, float64(events) / max(s, 1e-9)}
}

func (p pace) String() string { return fmt.Sprintf("%.1f s, %.0f events/s", p.Seconds, p.PerSecond) }

// beside runs a part of the system as long as a command needs it. The function
// it returns ends it and waits for that.
func (n *node) beside(ctx context.Context, part string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.keep(ctx, part, run)
	}()
	return func() { cancel(); <-ended }
}
