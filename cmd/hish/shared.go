package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/output/plain"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func clean(s string) string { return plain.Line(s, 0) }

// settings are the server's address and the token, and where the token came
// from.
func (a *app) settings() (c config.Client, path string, err error) {
	all, err := config.Load(a.environ)
	if err != nil {
		return c, "", err
	}
	var file config.Client
	if path, err = config.ClientPath(a.environ); err == nil {
		file, err = config.LoadClient(path)
	}
	if err != nil && !all.Token.Set() { // with a token from the environment no file is needed
		return c, path, err
	}
	c = all.Client(file)
	if a.url != "" {
		c.URL = a.url
	}
	if all.Token.Set() {
		path = "" // the file is not what is used
	}
	return c, path, nil
}

// client returns the client of the server.
func (a *app) client() (*hishamos.Client, error) {
	if a.made != nil {
		return a.made, nil
	}
	c, _, err := a.settings()
	if err != nil {
		return nil, err
	}
	a.made, err = hishamos.New(c.URL, c.Token.Reveal(), hishamos.Options{UserAgent: "hish/" + version()})
	if err != nil {
		return nil, usage("%v", err)
	}
	return a.made, nil
}

// call makes a command that needs the server.
func (a *app) call(use, short string, args cobra.PositionalArgs, f func(*cobra.Command, *hishamos.Client, []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		return f(cmd, c, args)
	}}
}

// group makes a command that only has sub-commands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	g.AddCommand(commands...)
	return g
}

// show prints a value as JSON if that was asked for, else with the function.
func (a *app) show(v any, text func() error) error {
	if !a.asJSON {
		return text()
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// line prints one JSON value on one line.
func (a *app) line(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.out, format, args...)
	return err
}

// rows prints a table: with borders in a terminal, with tabs elsewhere, so that
// cut and awk can read it.
func (a *app) rows(header []string, rows [][]string) error {
	if !a.terminal {
		var b strings.Builder
		for _, r := range append([][]string{header}, rows...) {
			cells := make([]string, len(r))
			for i, c := range r {
				cells[i] = clean(c)
			}
			b.WriteString(strings.Join(cells, "\t") + "\n")
		}
		return a.printf("%s", b.String())
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(cellsOf(header))
	for _, r := range rows {
		t.AppendRow(cellsOf(r))
	}
	return a.printf("%s\n", t.Render())
}

func cellsOf(texts []string) table.Row {
	row := make(table.Row, len(texts))
	for i, s := range texts {
		row[i] = plain.Line(s, 60)
	}
	return row
}

// more says that a list goes on.
func (a *app) more(cursor string) {
	if cursor != "" {
		fmt.Fprintf(a.err, "There is more: --cursor %s\n", clean(cursor))
	}
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// maxInput bounds what is read from a file or standard input; the server takes
// no more.
const maxInput = 1 << 20

// readFrom reads a file, or standard input for -.
func (a *app) readFrom(name string) ([]byte, error) {
	r := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usage("cannot read %s: %v", name, errors.Unwrap(err))
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, usage("cannot read %s: %v", name, err)
	}
	if len(data) > maxInput {
		return nil, usage("%s is larger than 1 MiB", name)
	}
	return data, nil
}

// keyFlag adds --idempotency-key.
func keyFlag(c *cobra.Command, o *hishamos.Command) {
	c.Flags().StringVar(&o.Key, "idempotency-key", "", "repeat the command with the same key to repeat its answer, not its effect")
}

// pageFlags adds --limit, --cursor, --sort and --at.
func pageFlags(c *cobra.Command, p *hishamos.Page) {
	sortFlags(c, p)
	c.Flags().StringVar(&p.At, "at", "", "as of a position (1234) or an instant (2026-11-23T09:30:00Z)")
}

// sortFlags adds --limit, --cursor and --sort.
func sortFlags(c *cobra.Command, p *hishamos.Page) {
	c.Flags().IntVar(&p.Limit, "limit", 50, "how many at most")
	c.Flags().StringVar(&p.Cursor, "cursor", "", "go on where a list before ended")
	c.Flags().StringVar(&p.Sort, "sort", "", "what to order by, with - before it for descending")
}

// afterFlag adds --after of a stream over the log; it is unset by default.
func afterFlag(c *cobra.Command) func() *v1.Ordinal {
	after := c.Flags().Int64("after", -1, "begin after this position; by default at the end")
	return func() *v1.Ordinal {
		if *after < 0 {
			return nil
		}
		o := v1.Ordinal(*after)
		return &o
	}
}

// following is the outcome of a stream that only Ctrl-C ends.
func following(cmd *cobra.Command, err error) error {
	if cmd.Context().Err() != nil {
		return errInterrupted
	}
	return err
}
