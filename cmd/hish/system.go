package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/client"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/watch"
)

func (a *app) logCommands() *cobra.Command {
	return group("log", "Read the log", a.logTail(), a.logExport())
}

func (a *app) logTail() *cobra.Command {
	var after int64
	var types []string
	c := a.call("tail", "Follow the log", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		var from *v1.Ordinal
		if after >= 0 {
			o := v1.Ordinal(after)
			from = &o
		}
		err := c.FollowLog(cmd.Context(), from, types, a.event)
		if cmd.Context().Err() != nil {
			return errInterrupted
		}
		return err
	})
	c.Flags().Int64Var(&after, "after", -1, "begin after this position; by default at the end")
	c.Flags().StringSliceVar(&types, "type", nil, "only these types, such as run.started, or contexts, such as run")
	return c
}

func (a *app) logExport() *cobra.Command {
	var after uint64
	var types []string
	var file string
	c := a.call("export", "Write the log up to its end, one event of JSON per line", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) (err error) {
		head, err := c.Head(cmd.Context())
		if err != nil {
			return err
		}
		var out io.Writer = a.out
		if file != "" {
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return usage("cannot write %s: %v", file, errors.Unwrap(err))
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			out = f
		}
		lines := bufio.NewWriter(out)
		e := json.NewEncoder(lines)
		e.SetEscapeHTML(false)
		for from := v1.Ordinal(after); from < head.Position; {
			page, err := c.Log(cmd.Context(), from, 1000, types...)
			if err != nil {
				return errors.Join(err, lines.Flush())
			}
			for _, event := range page.Items {
				if event.Position > head.Position {
					break // it came after the export began
				}
				if err := e.Encode(event); err != nil {
					return err
				}
			}
			if page.Next == from {
				break
			}
			from = page.Next
		}
		return lines.Flush()
	})
	c.Flags().Uint64Var(&after, "after", 0, "begin after this position")
	c.Flags().StringSliceVar(&types, "type", nil, "only these types, such as run.started, or contexts, such as run")
	c.Flags().StringVarP(&file, "output", "o", "", "write to a new file")
	return c
}

func (a *app) analyticsCommand() *cobra.Command {
	var from, to string
	c := a.call("analytics [workflows|agents]", "Show what was done, and what it cost, by day", cobra.MaximumNArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		switch {
		case len(args) == 0 || args[0] == "workflows":
			list, err := c.WorkflowAnalytics(cmd.Context(), from, to)
			if err != nil {
				return err
			}
			return a.show(list, func() error {
				rows := make([][]string, len(list.Items))
				for i, u := range list.Items {
					rows[i] = []string{
						u.Day, u.Workflow, fmt.Sprint(u.Started), fmt.Sprint(u.Completed), fmt.Sprint(u.Failed), fmt.Sprint(u.Cancelled),
						watch.Number(u.Cost.Tokens.Total()), u.Cost.Amount.USD(),
					}
				}
				return a.rows([]string{"Day", "Workflow", "Started", "Completed", "Failed", "Cancelled", "Tokens", "Cost"}, rows)
			})
		case args[0] == "agents":
			list, err := c.AgentAnalytics(cmd.Context(), from, to)
			if err != nil {
				return err
			}
			return a.show(list, func() error {
				rows := make([][]string, len(list.Items))
				for i, u := range list.Items {
					rows[i] = []string{
						u.Day, u.Agent, fmt.Sprint(u.Attempts), fmt.Sprint(u.Completed), fmt.Sprint(u.Failed), fmt.Sprint(u.Retried),
						watch.Number(u.Cost.Tokens.Total()), u.Cost.Amount.USD(),
					}
				}
				return a.rows([]string{"Day", "Agent", "Attempts", "Completed", "Failed", "Retried", "Tokens", "Cost"}, rows)
			})
		}
		return usage("analytics are by workflows or by agents, not by %s", args[0])
	})
	c.Flags().StringVar(&from, "from", "", "first day, such as 2026-11-01; by default 29 days before the last")
	c.Flags().StringVar(&to, "to", "", "last day; by default today (UTC)")
	return c
}

func (a *app) tokenCommands() *cobra.Command {
	return group("token", "Manage the access token", a.tokenRotate())
}

// tokenRotate makes the new secret here and keeps it before the server knows
// its hash: however it goes on, the secret that is valid is on this machine.
func (a *app) tokenRotate() *cobra.Command {
	var o client.Command
	c := a.call("rotate", "Replace the secret of the access token", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		settings, path, err := a.settings()
		if err != nil {
			return err
		}
		secret := auth.NewSecret()
		if path == "" { // the token came from the environment: its owner keeps it
			if _, err := fmt.Fprintln(a.out, secret); err != nil {
				return err
			}
		} else {
			settings.Token = config.NewSecret(secret)
			if err := config.SaveClient(path+".new", settings); err != nil {
				return err
			}
		}
		if _, err := c.RotateToken(cmd.Context(), auth.Hash(secret), o); err != nil && !a.accepted(cmd, settings.URL, secret) {
			if path != "" {
				fmt.Fprintf(a.err, "If the old token does not work any more, the new one is in %s.\n", path+".new")
			}
			return err
		}
		if path == "" {
			fmt.Fprintln(a.err, "The token above is valid now; the old one is not. Set HISHAMOS_TOKEN to it.")
			return nil
		}
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("keep the new token: %w", err)
		}
		return a.printf("The new token is in %s.\n", path)
	})
	keyFlag(c, &o)
	return c
}

// accepted reports whether the server takes a secret already: the answer to the
// rotation may have been lost, not the rotation.
func (a *app) accepted(cmd *cobra.Command, address, secret string) bool {
	c, err := client.New(address, secret, client.Options{})
	if err != nil {
		return false
	}
	_, err = c.Me(cmd.Context())
	return err == nil
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version of hish", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		return a.show(map[string]string{"version": version()}, func() error { return a.printf("hish %s\n", version()) })
	}}
}

// version is what the Go tool built this from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
