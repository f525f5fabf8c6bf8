package main

import (
	"errors"
	"net/url"

	"github.com/spf13/cobra"

	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func (a *app) serverCommands() *cobra.Command {
	return group("server", "Look at the server itself", a.serverHealth(), a.serverReady(),
		a.page("metrics", "Print the metrics in the Prometheus text format", "/api/v1/monitoring/prometheus/metrics"),
		a.page("openapi", "Print the OpenAPI description", "/api/openapi.json"),
		a.page("asyncapi", "Print the AsyncAPI description", "/api/asyncapi.yaml"),
		a.serverSchema())
}

func (a *app) serverHealth() *cobra.Command {
	return a.call("health", "Show whether the server is alive", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		s, err := c.Health(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(s, func() error { return a.printf("%s, version %s\n", clean(s.Status), clean(s.Version)) })
	})
}

// errNotReady says that the server cannot serve; what there is to say has been
// said.
var errNotReady = errors.New("the server is not ready")

func (a *app) serverReady() *cobra.Command {
	return a.call("ready", "Show whether the server can serve requests, and what it lacks", cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		s, err := c.Ready(cmd.Context())
		if err != nil {
			return err
		}
		err = a.show(s, func() error {
			if err := a.printf("%s\n", clean(s.Status)); err != nil {
				return err
			}
			for _, part := range s.Missing {
				if err := a.printf("  missing: %s\n", clean(part)); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && s.Status != "ready" {
			return errNotReady
		}
		return err
	})
}

// page makes a command that prints a document of the server.
func (a *app) page(use, short, path string) *cobra.Command {
	return a.call(use, short, cobra.NoArgs, func(cmd *cobra.Command, c *hishamos.Client, _ []string) error {
		return a.print(cmd, c, path)
	})
}

func (a *app) serverSchema() *cobra.Command {
	return a.call("schema EVENT.vN", "Print the JSON Schema of a version of an event", cobra.ExactArgs(1), func(cmd *cobra.Command, c *hishamos.Client, args []string) error {
		return a.print(cmd, c, "/schema/events/"+url.PathEscape(args[0])+".json")
	})
}

// print prints a document as it is, whatever --json says.
func (a *app) print(cmd *cobra.Command, c *hishamos.Client, path string) error {
	text, err := c.Document(cmd.Context(), path)
	if err != nil {
		return err
	}
	_, err = a.out.Write(text)
	return err
}
