package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/internal/pg"
)

func newRoutes() *cobra.Command {
	cmd := &cobra.Command{
		Use: "routes", Short: "List every route of the API with its permission", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), api.Routes())
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, r := range api.Routes() {
				permission := string(r.Permission)
				if permission == "" {
					permission = "(" + r.Open + ")"
				}
				if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", r.Method, r.Path, permission); err != nil {
					return err
				}
			}
			return w.Flush()
		},
	}
	withJSON(cmd)
	return cmd
}

func newMigrate() *cobra.Command {
	cmd := operators("migrate", "Bring the schema up to date, back, or show where it is")
	cmd.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Apply the migrations that are missing", Args: noArgs,
			RunE: operate(func(ctx context.Context, o *operation) error { return o.migrations(ctx) }),
		}, // opening has applied them
		&cobra.Command{
			Use: "down", Short: "Take the newest migration back; those of the event store refuse", Args: noArgs,
			RunE: operate(func(ctx context.Context, o *operation) error {
				if err := pg.MigrateDown(ctx, o.pool); err != nil {
					return err
				}
				return o.migrations(ctx)
			}),
		},
		&cobra.Command{
			Use: "status", Short: "List the migrations", Args: noArgs,
			RunE: operate(func(ctx context.Context, o *operation) error { return o.migrations(ctx) }),
		},
	)
	return cmd
}

// migrations lists them.
func (o *operation) migrations(ctx context.Context) error {
	list, err := pg.MigrationStatus(ctx, o.pool)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(o.out, list)
	}
	for _, m := range list {
		state := "missing"
		if m.Applied {
			state = "applied"
		}
		if err := o.answer(nil, "%s %s", m.Name, state); err != nil {
			return err
		}
	}
	return nil
}
