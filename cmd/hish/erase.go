package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func (a *app) eraseCommands() *cobra.Command {
	return group("erase", "Erase for ever", a.erase("person ACTOR", "Erase the names of a person, for ever", (*hishamos.Client).ErasePerson))
}

func (a *app) runErase() *cobra.Command {
	return a.erase("erase RUN", "Erase the content of a run that has ended, for ever", (*hishamos.Client).EraseRun)
}

// erase asks for one thing to be erased. Nothing brings it back, so it takes a
// flag to mean it.
func (a *app) erase(use, short string, order func(*hishamos.Client, context.Context, string, string, hishamos.Command) (v1.Receipt, error)) *cobra.Command {
	var reason string
	var sure bool
	var o hishamos.Command
	c := a.call(use, short, cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		if !sure {
			return usage("this destroys keys and cannot be undone: add --yes")
		}
		r, err := order(c, cmd.Context(), args[0], reason, o)
		if err != nil {
			return err
		}
		return a.show(r, func() error { return a.printf("Erasing %s: order %s.\n", clean(args[0]), clean(r.ID)) })
	})
	c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&sure, "yes", false, "do it: nothing brings it back")
	keyFlag(c, &o)
	return c
}
