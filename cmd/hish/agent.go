package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/client"
	"github.com/hishamos/hishamos/internal/output/markdown"
	"github.com/hishamos/hishamos/internal/watch"
)

func (a *app) agentCommands() *cobra.Command {
	return group("agent", "Look at agents", a.agentList(), a.agentShow())
}

func (a *app) agentList() *cobra.Command {
	var capability string
	c := a.call("list", "List agents", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		list, err := c.Agents(cmd.Context(), capability)
		if err != nil {
			return err
		}
		return a.show(list, func() error {
			rows := make([][]string, len(list.Items))
			for i, g := range list.Items {
				rows[i] = []string{g.ID, fmt.Sprint(g.Version), g.Status, g.Name, g.Mission}
			}
			return a.rows([]string{"Agent", "Version", "Status", "Name", "Mission"}, rows)
		})
	})
	c.Flags().StringVar(&capability, "capability", "", "only agents that can do this")
	return c
}

func (a *app) agentShow() *cobra.Command {
	return a.call("show AGENT", "Show an agent", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		g, err := c.Agent(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(g, func() error { return a.printf("%s", agentText(g)) })
	})
}

func agentText(g v1.Agent) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s version %d, %s)\n%s\n\nCapabilities:\n", clean(g.Name), clean(g.ID), g.Version, clean(g.Status), clean(g.Mission))
	for _, c := range g.Capabilities {
		fmt.Fprintf(&b, "  %s: %s\n", clean(c.ID), clean(c.Description))
		if len(c.Templates) > 0 {
			fmt.Fprintf(&b, "    templates: %s\n", clean(strings.Join(c.Templates, ", ")))
		}
	}
	fmt.Fprintf(&b, "\nPermissions: %s\n", clean(strings.Join(g.Permissions, ", ")))
	if k := g.Configuration; k != nil {
		if k.Temperature != nil {
			fmt.Fprintf(&b, "Temperature: %v\n", *k.Temperature)
		}
		fmt.Fprintf(&b, "Tokens of an answer: %d\nBudget of a task: %s tokens, %s\n", k.MaxTokens, watch.Number(int64(k.BudgetTokens)), k.BudgetAmount.USD())
		for _, p := range k.Prompt {
			fmt.Fprintf(&b, "\n%s\n  %s\n", clean(p.Title), clean(p.Text))
		}
	}
	return b.String()
}

func (a *app) taskCommands() *cobra.Command {
	return group("task", "Give agents tasks", a.taskCreate(), a.taskList(), a.taskShow())
}

func (a *app) taskCreate() *cobra.Command {
	var inputs []string
	var follow bool
	var body v1.CreateTask
	var o client.Command
	c := a.call("create --agent AGENT --template TEMPLATE", "Give an agent one task", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		var err error
		if body.Input, err = a.inputs(inputs, nil); err != nil {
			return err
		}
		r, err := c.CreateTask(cmd.Context(), body, o)
		if err != nil {
			return err
		}
		if follow {
			run, _, _ := strings.Cut(r.ID, ".")
			return a.watch(cmd.Context(), c, run)
		}
		return a.show(r, func() error { return a.printf("%s\n", clean(r.ID)) })
	})
	f := c.Flags()
	f.StringVar(&body.Agent, "agent", "", "agent id")
	f.StringVar(&body.Template, "template", "", "template id")
	f.StringArrayVarP(&inputs, "input", "i", nil, "an input: name=value, name=@file, name=-, name:=json")
	f.BoolVarP(&follow, "watch", "w", false, "watch the task until it ends")
	f.IntVar(&body.Priority, "priority", 0, "from -100 to 100, greater first")
	for _, name := range []string{"agent", "template"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	keyFlag(c, &o)
	return c
}

func (a *app) taskList() *cobra.Command {
	var q client.TasksQuery
	c := a.call("list", "List tasks", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		page, err := c.Tasks(cmd.Context(), q)
		if err != nil {
			return err
		}
		return a.show(page, func() error {
			rows := make([][]string, len(page.Items))
			for i, t := range page.Items {
				agent := ""
				if t.Agent != nil {
					agent = t.Agent.ID
				}
				rows[i] = []string{t.ID, agent, t.State, watch.Number(t.Cost.Tokens.Total()), t.Cost.Amount.USD(), stamp(t.Created)}
			}
			a.more(page.Next)
			return a.rows([]string{"Task", "Agent", "State", "Tokens", "Cost", "Created"}, rows)
		})
	})
	c.Flags().StringSliceVar(&q.States, "state", nil, "only these states")
	c.Flags().StringVar(&q.Agent, "agent", "", "only this agent")
	c.Flags().StringVar(&q.Run, "run", "", "only this run")
	pageFlags(c, &q.Page)
	return c
}

func (a *app) taskShow() *cobra.Command {
	return a.call("show TASK", "Show a task and its result", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		t, err := c.Task(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(t, func() error { return a.printf("%s", markdown.Task(t)) })
	})
}
