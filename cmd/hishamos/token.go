package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/failpoint"
)

// bootstrapToken is the stream of the first token of a log.
var bootstrapToken = domain.NamedStreamID(domain.DefaultTenant, "token", "bootstrap")

// bootstrap issues the first token at the first start ever. It is shown once
// and kept in the client's file; the log has only its hash.
func (n *node) bootstrap(ctx context.Context, out io.Writer) error {
	issued, err := n.store.ReadStream(ctx, bootstrapToken, 0, 1)
	if err != nil || len(issued) > 0 {
		return err
	}
	secret := auth.NewSecret()
	_, err = n.dispatcher.Do(ctx, commands.Request{
		ID: domain.DerivedCommandID("bootstrap", domain.EventID(bootstrapToken)), Principal: system("bootstrap"),
		Command: commands.IssueToken{
			Token: bootstrapToken, Tenant: domain.DefaultTenant,
			Actor:       domain.Actor{Kind: domain.Operator, ID: "bootstrap"},
			Permissions: []domain.Permission{domain.AllPermissions}, SecretHash: auth.Hash(secret),
		},
	})
	if err != nil {
		return fmt.Errorf("issue bootstrap token: %w", err)
	}
	failpoint.Hit("bootstrap.after_issue")
	return n.handOver(secret, out)
}

// rotate replaces the bootstrap token's secret.
func (n *node) rotate(ctx context.Context, out io.Writer) error {
	secret := auth.NewSecret()
	_, err := n.dispatcher.Do(ctx, commands.Request{
		ID: domain.CommandID(uuid.NewString()), Principal: system("rotate"),
		Command: commands.RotateToken{Token: bootstrapToken, SecretHash: auth.Hash(secret)},
	})
	if err != nil {
		return fmt.Errorf("rotate bootstrap token: %w", err)
	}
	return n.handOver(secret, out)
}

// handOver shows a secret once and puts it where `hish` finds it.
func (n *node) handOver(secret string, out io.Writer) error {
	path, err := config.ClientPath(os.Environ())
	if err != nil {
		return err
	}
	if err := config.SaveClient(path, config.Client{URL: n.cfg.ServerURL(), Token: config.NewSecret(secret)}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "Access token (shown once, kept in %s): %s\n", path, secret)
	return err
}

func newToken() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Look after the bootstrap token"}
	cmd.AddCommand(&cobra.Command{
		Use: "rotate", Short: "Replace the bootstrap token; the old one stops working at once", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withNode(cmd.Context(), func(ctx context.Context, n *node) error {
				if err := n.connect(ctx); err != nil {
					return err
				}
				return n.rotate(ctx, cmd.OutOrStdout())
			})
		},
	})
	return cmd
}

// withNode opens the store for one operation. On the embedded profile no server
// may run on the same folder.
func withNode(ctx context.Context, do func(context.Context, *node) error) (err error) {
	cfg, logger, err := settings()
	if err != nil {
		return err
	}
	n, err := openNode(ctx, cfg, logger, func(string, int64, int64) {}, fails)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := n.close(context.WithoutCancel(ctx)); err == nil {
			err = closeErr
		}
	}()
	return do(ctx, n)
}
