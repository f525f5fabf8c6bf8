package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
			RunE: asOwner(migrations),
		}, // opening has applied them
		&cobra.Command{
			Use: "down", Short: "Take the newest migration back; those of the event store refuse", Args: noArgs,
			RunE: asOwner(func(ctx context.Context, owner pg.Owner, out io.Writer, asJSON bool) error {
				if err := pg.MigrateDown(ctx, owner); err != nil {
					return err
				}
				return migrations(ctx, owner, out, asJSON)
			}),
		},
		&cobra.Command{
			Use: "status", Short: "List the migrations", Args: noArgs,
			RunE: asOwner(migrations),
		},
	)
	return cmd
}

// asOwner opens the database by the login that owns the schema, and nothing else:
// such a login may be unable to do the rest.
func asOwner(do func(ctx context.Context, owner pg.Owner, out io.Writer, asJSON bool) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		cfg, logger, err := settings()
		if err != nil {
			return err
		}
		g, owner, err := openSchema(ctx, cfg, logger, func(string, int64, int64) {})
		if err != nil {
			return err
		}
		return errors.Join(do(ctx, owner, cmd.OutOrStdout(), wantsJSON(cmd)), g.close(context.WithoutCancel(ctx)))
	}
}

// migrations lists them.
func migrations(ctx context.Context, owner pg.Owner, out io.Writer, asJSON bool) error {
	list, err := pg.MigrationStatus(ctx, owner)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(out, list)
	}
	for _, m := range list {
		state := "missing"
		if m.Applied {
			state = "applied"
		}
		if err := answer(out, false, nil, "%s %s", m.Name, state); err != nil {
			return err
		}
	}
	return nil
}
