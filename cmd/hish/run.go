package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/output/markdown"
	"github.com/hishamos/hishamos/internal/watch"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func (a *app) runCommands() *cobra.Command {
	return group("run", "Start and look at runs of workflows",
		a.runStart(), a.runList(), a.runShow(), a.runEvents(), a.runCancel(), a.runErase(), a.runWatch(), a.runTail())
}

func (a *app) runStart() *cobra.Command {
	var inputs []string
	var follow bool
	var body v1.StartRun
	var o hishamos.Command
	c := a.call("start WORKFLOW", "Start a run", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		var err error
		if body.Inputs, err = a.inputs(inputs, a.parameters(cmd.Context(), c, args[0], body.Version)); err != nil {
			return err
		}
		r, err := c.StartRun(cmd.Context(), args[0], body, o)
		if err != nil {
			return err
		}
		if follow {
			return a.watch(cmd.Context(), c, r.ID)
		}
		return a.show(r, func() error {
			if !a.terminal {
				return a.printf("%s\n", clean(r.ID))
			}
			return a.printf("Started %s.\nWatch it with:  hish run watch %s\n", clean(r.ID), clean(r.ID))
		})
	})
	c.Long = "Start a run.\n\n--input name=value sends text, or whatever the parameter's type wants; name=@file reads a file,\n" +
		"name=- reads standard input, name:=json sends JSON as it is."
	f := c.Flags()
	f.StringArrayVarP(&inputs, "input", "i", nil, "an input: name=value, name=@file, name=-, name:=json")
	f.BoolVarP(&follow, "watch", "w", false, "watch the run until it ends")
	f.IntVar(&body.Priority, "priority", 0, "from -100 to 100, greater first")
	f.IntVar(&body.Version, "workflow-version", 0, "version of the workflow; 0 is the newest")
	keyFlag(c, &o)
	return c
}

// parameters finds the declared types of a workflow's inputs. They only help to
// read the command line, so that it does without when they cannot be had.
func (a *app) parameters(ctx context.Context, c *hishamos.Client, workflow string, version int) []domain.Parameter {
	w, err := c.Workflow(ctx, workflow, version)
	if err != nil || w.Definition == nil {
		return nil
	}
	return w.Definition.Parameters
}

// inputs reads --input flags.
func (a *app) inputs(flags []string, parameters []domain.Parameter) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(flags))
	stdin := false
	for _, flag := range flags {
		name, value, ok := strings.Cut(flag, "=")
		raw := strings.HasSuffix(name, ":")
		name = strings.TrimSuffix(name, ":")
		if !ok || name == "" {
			return nil, usage("--input %s: write it like name=value", flag)
		}
		if _, twice := out[name]; twice {
			return nil, usage("--input %s is given twice", name)
		}
		file, isFile := strings.CutPrefix(value, "@")
		switch {
		case raw:
		case value == "-":
			if stdin {
				return nil, usage("standard input can be read once only")
			}
			stdin, isFile, file = true, true, "-"
		}
		if isFile && !raw {
			text, err := a.readFrom(file)
			if err != nil {
				return nil, err
			}
			value = string(text)
		}
		encoded, err := encodeInput(name, value, raw, parameters)
		if err != nil {
			return nil, err
		}
		out[name] = encoded
	}
	return out, nil
}

// notText are the types whose values are written as JSON on the command line.
var notText = []string{"integer", "number", "boolean", "list", "object", "table", "result"}

func encodeInput(name, value string, raw bool, parameters []domain.Parameter) (json.RawMessage, error) {
	i := slices.IndexFunc(parameters, func(p domain.Parameter) bool { return p.Name == name })
	typed := i >= 0 && slices.Contains(notText, parameters[i].Type)
	if raw || typed {
		if json.Valid([]byte(value)) {
			return json.RawMessage(value), nil
		}
		if raw || parameters[i].Type != "result" {
			return nil, usage("--input %s: %q is not JSON", name, clean(value))
		}
	}
	return json.Marshal(value)
}

func (a *app) runList() *cobra.Command {
	var q hishamos.RunsQuery
	var since time.Duration
	c := a.call("list", "List runs", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		if since > 0 {
			q.Since = time.Now().Add(-since)
		}
		page, err := c.Runs(cmd.Context(), q)
		if err != nil {
			return err
		}
		return a.show(page, func() error {
			rows := make([][]string, len(page.Items))
			for i, r := range page.Items {
				rows[i] = []string{
					r.ID, r.Workflow.ID, r.State, fmt.Sprintf("%d/%d", r.Progress.Done, r.Progress.Total),
					watch.Number(r.Cost.Tokens.Total()), r.Cost.Amount.USD(), stamp(r.Started),
				}
			}
			a.more(page.Next)
			return a.rows([]string{"Run", "Workflow", "State", "Steps", "Tokens", "Cost", "Started"}, rows)
		})
	})
	c.Flags().StringSliceVar(&q.States, "state", nil, "only these states: running, completed, failed, cancelled")
	c.Flags().StringVar(&q.Workflow, "workflow", "", "only this workflow")
	c.Flags().StringVar(&q.StartedBy, "started-by", "", "only runs that this actor started")
	c.Flags().DurationVar(&since, "since", 0, "only runs started within this time, such as 24h")
	c.Flags().BoolVar(&q.Oldest, "oldest", false, "the oldest first")
	pageFlags(c, &q.Page)
	return c
}

func (a *app) runShow() *cobra.Command {
	var at string
	c := a.call("show RUN", "Show a run and its results", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		r, err := c.Run(cmd.Context(), args[0], at)
		if err != nil {
			return err
		}
		return a.show(r, func() error {
			rows := make([][]string, len(r.Steps))
			for i, s := range r.Steps {
				agent := ""
				if s.Agent != nil {
					agent = s.Agent.ID
				}
				rows[i] = []string{s.Path, agent, s.State, fmt.Sprint(s.Attempt), watch.Number(s.Cost.Tokens.Total()), s.Cost.Amount.USD()}
			}
			if err := a.printf("%s\n", markdown.Run(r)); err != nil {
				return err
			}
			return a.rows([]string{"Step", "Agent", "State", "Attempt", "Tokens", "Cost"}, rows)
		})
	})
	c.Flags().StringVar(&at, "at", "", "as of a position (1234) or an instant (2026-11-23T09:30:00Z)")
	return c
}

func (a *app) runEvents() *cobra.Command {
	var after uint64
	c := a.call("events RUN", "List what happened to a run", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		from := v1.Ordinal(after)
		for {
			page, err := c.RunEvents(cmd.Context(), args[0], from, 200)
			if err != nil {
				return err
			}
			for _, e := range page.Items {
				if err := a.event(e); err != nil {
					return err
				}
			}
			if !page.More {
				return nil
			}
			from = page.Next
		}
	})
	c.Flags().Uint64Var(&after, "after", 0, "begin after this sequence")
	return c
}

// event prints one event: a line of JSON, or the parts a person looks for.
func (a *app) event(e v1.Event) error {
	if a.asJSON {
		return a.line(e)
	}
	return a.printf("%s\t%s\t%s\t%s\t%s\n", e.Position, e.Recorded.UTC().Format(time.RFC3339Nano), clean(e.Type), clean(e.Stream), clean(string(e.Data)))
}

func (a *app) runCancel() *cobra.Command {
	var reason string
	var o hishamos.Command
	c := a.call("cancel RUN", "Cancel a run", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		r, err := c.CancelRun(cmd.Context(), args[0], reason, o)
		if err != nil {
			return err
		}
		return a.show(r, func() error { return a.printf("Cancelled %s.\n", clean(r.ID)) })
	})
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	keyFlag(c, &o)
	return c
}

func (a *app) runWatch() *cobra.Command {
	return a.call("watch RUN", "Watch a run until it ends", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		return a.watch(cmd.Context(), c, args[0])
	})
}

func (a *app) runTail() *cobra.Command {
	var states []string
	var after func() *v1.Ordinal
	c := a.call("tail", "Follow the list of runs", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		return following(cmd, c.FollowRuns(cmd.Context(), after(), states, func(r v1.Run) error {
			if a.asJSON {
				return a.line(r)
			}
			return a.printf("%s\t%s\t%s\t%d/%d\n", clean(r.ID), clean(r.Workflow.ID), clean(r.State), r.Progress.Done, r.Progress.Total)
		}))
	})
	c.Flags().StringSliceVar(&states, "state", nil, "only runs in these states")
	after = afterFlag(c)
	return c
}

// tick is how often the clocks of the live view move.
const tick = time.Second

// watch shows a run until it ends, and then its results. Ctrl-C ends the
// watching, not the run.
func (a *app) watch(ctx context.Context, c *hishamos.Client, id string) error {
	view := watch.New(a.out, watch.Options{Terminal: a.terminal, Colour: a.colour, Width: a.width, Height: a.height})
	updates, ended := make(chan v1.Run), make(chan error, 1)
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		ended <- c.FollowRun(following, id, 0, func(u hishamos.Update) error {
			if u.Run == nil {
				return nil
			}
			select {
			case updates <- *u.Run:
				return nil
			case <-following.Done():
				return context.Cause(following)
			}
		})
	}()
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for {
		select {
		case r := <-updates:
			if err := a.update(view, r); err != nil {
				return err
			}
		case <-clock.C:
			if !a.asJSON {
				if err := view.Tick(); err != nil {
					return err
				}
			}
		case err := <-ended:
			if ctx.Err() != nil {
				return a.interrupted(id)
			}
			if err != nil {
				return err
			}
			return a.results(ctx, c, view, id)
		}
	}
}

func (a *app) update(view *watch.View, r v1.Run) error {
	if a.asJSON {
		return a.line(r)
	}
	return view.Show(r)
}

// interrupted says how to come back.
func (a *app) interrupted(id string) error {
	_, err := fmt.Fprintf(a.err, "\nThe run goes on.\nLook again with:  hish run watch %s\nCancel it with:   hish run cancel %s\n", clean(id), clean(id))
	return errors.Join(errInterrupted, err)
}

// results prints what a run that has ended led to.
func (a *app) results(ctx context.Context, c *hishamos.Client, view *watch.View, id string) error {
	r, err := c.Run(ctx, id, "")
	if err != nil {
		return err
	}
	if err := a.update(view, r); err != nil {
		return err
	}
	if !a.asJSON {
		if _, err := io.WriteString(a.out, "\n"+markdown.Run(r)); err != nil {
			return err
		}
	}
	if r.State != v1.RunCompleted {
		return errRunFailed
	}
	return nil
}
