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

	v1 "github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/output/markdown"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// The main job: what `up` shows a new user.
const (
	mainWorkflow = "requirements-to-user-stories"
	mainInput    = "requirements"
	mainSample   = "samples/requirements.md"
)

func newUp() *cobra.Command {
	var demo, idle bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start everything on this machine, run a sample workflow, keep serving",
		Example: `  hishamos up                 # embedded Postgres and log, sample run, then serve
  hishamos up --demo          # the same, then stop
  hishamos up --idle          # serve without the sample run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, logger, err := settings()
			if err != nil {
				return err
			}
			if os.Getenv("HISHAMOS_LOG_LEVEL") == "" { // what happens is on the screen
				cfg.LogLevel, cfg.LogFormat = slog.LevelWarn, config.Text
				logger = newLogger(cfg)
			}
			return up(cmd.Context(), cfg, logger, upOptions{out: cmd.OutOrStdout(), demo: demo, idle: idle})
		},
	}
	cmd.Flags().BoolVar(&demo, "demo", false, "stop after the sample run")
	cmd.Flags().BoolVar(&idle, "idle", false, "do not run the sample")
	cmd.MarkFlagsMutuallyExclusive("demo", "idle")
	return cmd
}

type upOptions struct {
	out        io.Writer
	demo, idle bool
}

// up runs every role and, beside them, the main job through the public API.
func up(parent context.Context, cfg config.Config, logger *slog.Logger, o upOptions) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	bar := &starting{screen: newScreen(o.out)}
	n, err := openNode(ctx, cfg, logger, bar.show, fails)
	if err == nil {
		if beginErr := n.begin(ctx, allRoles, o.out); beginErr != nil {
			err = errors.Join(beginErr, n.close(context.WithoutCancel(ctx)))
		}
	}
	bar.done()
	if err != nil {
		return err
	}
	job, began := make(chan error, 1), false
	served := n.serve(ctx, allRoles, func(address string) {
		began = true
		go func() {
			err := n.greet(ctx, address, o)
			job <- err
			if o.demo || err != nil {
				cancel()
			}
		}()
	})
	if parent.Err() != nil { // Ctrl-C: the job's end is no failure
		_, err := fmt.Fprintln(o.out, "Stopped. All data is kept; start again to go on.")
		return errors.Join(served, err)
	}
	if !began {
		return served
	}
	return errors.Join(<-job, served)
}

// greet runs the main job and says what to do next.
func (n *node) greet(ctx context.Context, address string, o upOptions) error {
	c, err := n.client(ctx, address, o.out)
	if err != nil {
		return err
	}
	if !o.idle {
		n.awaitHandlers(ctx)
		if err := n.mainJob(ctx, c, o.out); err != nil {
			return err
		}
	}
	if o.demo {
		return nil
	}
	_, err = fmt.Fprintf(o.out, `
The API is at %s/api/v1 and goes on until Ctrl-C. Three things to try in another terminal:
  bin/hish run list
  bin/hish run start %s --input %s=@FILE --watch
  bin/hish log tail
`, address, mainWorkflow, mainInput)
	return err
}

// handlersPatience is how long the sample run waits for somebody to drive it. It
// would be driven later too; but who takes over a run that has begun must take
// its first attempt for lost.
const handlersPatience = 5 * time.Second

func (n *node) awaitHandlers(ctx context.Context) {
	give := time.Now().Add(handlersPatience)
	for time.Now().Before(give) {
		if r := n.reactions.Load(); r != nil && r.Partitions() > 0 {
			return
		}
		if !wait(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// client signs in with the token of the client's file; if that is missing or
// belongs to another log, whoever owns the data folder gets a fresh one.
func (n *node) client(ctx context.Context, address string, out io.Writer) (*hishamos.Client, error) {
	path, err := config.ClientPath(os.Environ())
	if err != nil {
		return nil, err
	}
	file, err := config.LoadClient(path)
	if err != nil {
		return nil, err
	}
	for rotated := false; ; rotated = true {
		c, err := hishamos.New(address, n.cfg.Client(file).Token.Reveal(), hishamos.Options{HTTP: n.ownClient()})
		if err != nil {
			return nil, err
		}
		err = n.signIn(ctx, c)
		if err == nil {
			return c, nil
		}
		refused := (*hishamos.Error)(nil)
		if rotated || !errors.As(err, &refused) || refused.Status != 401 {
			return nil, err
		}
		if err := n.rotate(ctx, out); err != nil {
			return nil, err
		}
		if file, err = config.LoadClient(path); err != nil {
			return nil, err
		}
	}
}

// signInPatience is how long the read model of tokens may take to show one that
// was just issued. At the first start all read models are made before.
const signInPatience = 30 * time.Second

func (n *node) signIn(ctx context.Context, c *hishamos.Client) error {
	head, err := n.store.Head(ctx)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, signInPatience)
	defer cancel()
	for {
		err := waiter{n}.Projected(bounded, head.Position)
		if err == nil {
			_, err = c.Me(ctx)
			return err
		}
		if !wait(bounded, 50*time.Millisecond) {
			return err
		}
	}
}

// mainJob runs the stock workflow on the sample that ships with the library.
func (n *node) mainJob(ctx context.Context, c *hishamos.Client, out io.Writer) error {
	sample, err := n.library.Sample(mainSample)
	if err != nil {
		return err
	}
	if !n.cfg.OpenAIKey.Set() {
		if _, err := fmt.Fprintln(out, "No OPENAI_API_KEY is set: the SIMULATED provider answers. What it writes is made up from the input."); err != nil {
			return err
		}
	}
	started, err := c.StartRun(ctx, mainWorkflow, v1.StartRun{Inputs: map[string]json.RawMessage{mainInput: text(string(sample))}}, hishamos.Command{})
	if err != nil {
		return err
	}
	run, err := newScreen(out).follow(ctx, c, started.ID)
	if err != nil {
		return err
	}
	if err := printStories(out, run); err != nil {
		return err
	}
	if run.State != v1.RunCompleted {
		return fmt.Errorf("run %s ended as %s", run.ID, run.State)
	}
	return nil
}

// printStories prints what the sample run was for, and where the rest is.
func printStories(out io.Writer, run v1.Run) error {
	for name := range run.Outputs {
		if name != "summary" && name != "stories" {
			delete(run.Outputs, name)
		}
	}
	_, err := fmt.Fprintf(out, "\n%s\nRequirements, findings, priorities and open questions are in: bin/hish run show %s\n", markdown.Run(run), run.ID)
	return err
}
