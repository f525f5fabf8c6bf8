package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/output/markdown"
	"github.com/hishamos/hishamos/internal/watch"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func (a *app) agentCommands() *cobra.Command {
	return group("agent", "Look at agents", a.agentList(), a.agentShow())
}

func (a *app) agentList() *cobra.Command {
	var capability string
	var p hishamos.Page
	c := a.call("list", "List agents", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		list, err := c.Agents(cmd.Context(), capability, p)
		if err != nil {
			return err
		}
		return a.show(list, func() error {
			rows := make([][]string, len(list.Items))
			for i, g := range list.Items {
				rows[i] = []string{g.ID, fmt.Sprint(g.Version), g.Status, g.Name, g.Mission}
			}
			a.more(list.Next)
			return a.rows([]string{"Agent", "Version", "Status", "Name", "Mission"}, rows)
		})
	})
	c.Flags().StringVar(&capability, "capability", "", "only agents that can do this")
	sortFlags(c, &p)
	return c
}

func (a *app) agentShow() *cobra.Command {
	return a.call("show AGENT", "Show an agent", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
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
	return group("task", "Give agents tasks", a.taskCreate(), a.taskList(), a.taskShow(), a.taskTail())
}

func (a *app) taskCreate() *cobra.Command {
	var inputs []string
	var follow bool
	var body v1.CreateTask
	var o hishamos.Command
	c := a.call("create --agent AGENT --template TEMPLATE", "Give an agent one task", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
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
	var q hishamos.TasksQuery
	c := a.call("list", "List tasks", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
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
	c.Flags().StringVar(&q.Workflow, "workflow", "", "only runs of this workflow")
	pageFlags(c, &q.Page)
	return c
}

func (a *app) taskShow() *cobra.Command {
	var at string
	c := a.call("show TASK", "Show a task and its result", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		t, err := c.Task(cmd.Context(), args[0], at)
		if err != nil {
			return err
		}
		return a.show(t, func() error { return a.printf("%s", markdown.Task(t)) })
	})
	c.Flags().StringVar(&at, "at", "", "as of a position (1234) or an instant (2026-11-23T09:30:00Z)")
	return c
}

func (a *app) taskTail() *cobra.Command {
	var agent string
	var after func() *v1.Ordinal
	c := a.call("tail", "Follow the list of tasks", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		return following(cmd, c.FollowTasks(cmd.Context(), after(), agent, func(t v1.Task) error {
			if a.asJSON {
				return a.line(t)
			}
			return a.printf("%s\t%s\n", clean(t.ID), clean(t.State))
		}))
	})
	c.Flags().StringVar(&agent, "agent", "", "only this agent")
	after = afterFlag(c)
	return c
}

func (a *app) templateCommands() *cobra.Command {
	return group("template", "Look at templates", a.templateList(), a.templateShow())
}

func (a *app) templateList() *cobra.Command {
	var category string
	var p hishamos.Page
	c := a.call("list", "List templates", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		list, err := c.Templates(cmd.Context(), category, p)
		if err != nil {
			return err
		}
		return a.show(list, func() error {
			rows := make([][]string, len(list.Items))
			for i, t := range list.Items {
				rows[i] = []string{t.ID, fmt.Sprint(t.Version), t.Category, t.Title}
			}
			a.more(list.Next)
			return a.rows([]string{"Template", "Version", "Category", "Title"}, rows)
		})
	})
	c.Flags().StringVar(&category, "category", "", "only this category")
	sortFlags(c, &p)
	return c
}

func (a *app) templateShow() *cobra.Command {
	return a.call("show TEMPLATE", "Show a template and its parameters", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		t, err := c.Template(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(t, func() error {
			rows := make([][]string, len(t.Parameters))
			for i, p := range t.Parameters {
				rows[i] = []string{p.Name, p.Type, fmt.Sprint(p.Required), p.Description}
			}
			if err := a.printf("%s (%s version %d)\n%s\n\n", clean(t.Title), clean(t.ID), t.Version, clean(t.Summary)); err != nil {
				return err
			}
			return a.rows([]string{"Parameter", "Type", "Required", "Meaning"}, rows)
		})
	})
}
