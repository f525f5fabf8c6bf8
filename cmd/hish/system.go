package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/watch"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func (a *app) logCommands() *cobra.Command {
	return group("log", "Read the log", a.logTail(), a.logExport(), a.logHead())
}

func (a *app) logTail() *cobra.Command {
	var types []string
	var after func() *v1.Ordinal
	c := a.call("tail", "Follow the log", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		return following(cmd, c.FollowLog(cmd.Context(), after(), types, a.event))
	})
	after = afterFlag(c)
	c.Flags().StringSliceVar(&types, "type", nil, "only these types, such as run.started, or contexts, such as run")
	return c
}

func (a *app) logExport() *cobra.Command {
	var after uint64
	var types []string
	var file string
	c := a.call("export", "Write the log up to its end, one event of JSON per line", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) (err error) {
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

func (a *app) logHead() *cobra.Command {
	return a.call("head", "Show where the log ends", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		h, err := c.Head(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(h, func() error { return a.printf("%s\t%s\t%s\n", h.Position, stamp(h.Recorded), clean(h.Hash)) })
	})
}

func (a *app) analyticsCommand() *cobra.Command {
	var q hishamos.UsageQuery
	c := a.call("analytics [workflows|agents]", "Show what was done, and what it cost, by day", cobra.MaximumNArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		switch {
		case len(args) == 0 || args[0] == "workflows":
			list, err := c.WorkflowAnalytics(cmd.Context(), q)
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
				a.more(list.Next)
				return a.rows([]string{"Day", "Workflow", "Started", "Completed", "Failed", "Cancelled", "Tokens", "Cost"}, rows)
			})
		case args[0] == "agents":
			list, err := c.AgentAnalytics(cmd.Context(), q)
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
				a.more(list.Next)
				return a.rows([]string{"Day", "Agent", "Attempts", "Completed", "Failed", "Retried", "Tokens", "Cost"}, rows)
			})
		}
		return usage("analytics are by workflows or by agents, not by %s", args[0])
	})
	c.Flags().StringVar(&q.From, "from", "", "first day, such as 2026-11-01; by default 29 days before the last")
	c.Flags().StringVar(&q.To, "to", "", "last day; by default today, or that of --at (UTC)")
	c.Flags().StringVar(&q.ID, "only", "", "only this workflow, or this agent")
	pageFlags(c, &q.Page)
	return c
}

func (a *app) tokenCommands() *cobra.Command {
	return group("token", "Manage access tokens", a.tokenList(), a.tokenShow(), a.tokenRotate())
}

// tokenRotate makes the new secret here and keeps it before the server knows
// its hash: however it goes on, the secret that is valid is on this machine.
func (a *app) tokenRotate() *cobra.Command {
	var o hishamos.Command
	c := a.call("rotate", "Replace the secret of the access token", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		settings, path, err := a.settings()
		if err != nil {
			return err
		}
		secret := auth.NewSecret()
		if path == "" { // the token came from the environment: its owner keeps it
			if err := a.show(rotated{Secret: secret}, func() error { return a.printf("%s\n", secret) }); err != nil {
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
		return a.show(rotated{File: path}, func() error { return a.printf("The new token is in %s.\n", path) })
	})
	keyFlag(c, &o)
	return c
}

// rotated says where the new secret is: in a file, or nowhere but here.
type rotated struct {
	File   string `json:"file,omitempty"`
	Secret string `json:"secret,omitempty"`
}

func (a *app) tokenShow() *cobra.Command {
	return a.call("show", "Show whose token this is and what it may do", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		me, err := c.Me(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(me, func() error {
			return a.printf("%s (%s) of tenant %s\nPermissions: %s\n", clean(me.Actor), clean(me.Kind), clean(me.Tenant), clean(strings.Join(me.Permissions, ", ")))
		})
	})
}

func (a *app) tokenList() *cobra.Command {
	var p hishamos.Page
	c := a.call("list", "List the access tokens of the tenant; * is the one in use", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		list, err := c.Tokens(cmd.Context(), p)
		if err != nil {
			return err
		}
		return a.show(list, func() error {
			rows := make([][]string, len(list.Items))
			for i, t := range list.Items {
				current := ""
				if t.Current {
					current = "*"
				}
				rows[i] = []string{t.ID, current, t.State, t.Actor, t.Kind, t.Name, strings.Join(t.Permissions, ","), stamp(t.Issued), stamp(t.Changed)}
			}
			a.more(list.Next)
			return a.rows([]string{"ID", "", "State", "Actor", "Kind", "Name", "Permissions", "Issued", "Changed"}, rows)
		})
	})
	pageFlags(c, &p)
	return c
}

// accepted reports whether the server takes a secret already: the answer to the
// rotation may have been lost, not the rotation.
func (a *app) accepted(cmd *cobra.Command, address, secret string) bool {
	c, err := hishamos.New(address, secret, hishamos.Options{})
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
