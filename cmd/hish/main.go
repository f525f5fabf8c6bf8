// Command hish is the client: it starts and watches runs, edits workflows and
// reads the log, over the HTTP API.
//
// It must not import the server's libraries, so that it stays small; deps_test.go
// checks that. It imports api/v1, domain, internal/{client,config,auth,watch,
// output} and cobra.
//
// Start reading at run in this file; every command has a file or shares one with
// its siblings.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// The exit codes. They are part of the interface and listed in `hish --help`.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitForbidden   = 5
	exitConflict    = 6
	exitInterrupted = 130
)

const exitCodes = `Exit codes:
  0  done
  1  it failed: the run that was waited for failed or was cancelled, or the server has a fault
  2  the command or its input is wrong
  3  the server does not answer, or is too busy
  4  there is no such thing
  5  the token is missing, or may not do this
  6  the state does not allow it, or somebody changed it meanwhile
  130  interrupted; a run that was watched goes on`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args, environ []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{environ: environ, in: in, out: out, err: errOut}
	a.look()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	return a.report(err)
}

// app is what all commands share.
type app struct {
	environ []string
	in      io.Reader
	out     io.Writer
	err     io.Writer

	terminal      bool // the output is one
	colour        bool
	width, height int

	asJSON bool
	url    string
	made   *hishamos.Client
}

// look finds out what the output is.
func (a *app) look() {
	f, ok := a.out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || a.getenv("TERM") == "dumb" {
		return
	}
	a.terminal, a.colour = true, a.getenv("NO_COLOR") == ""
	if w, h, err := term.GetSize(int(f.Fd())); err == nil {
		a.width, a.height = w, h
	}
}

func (a *app) getenv(name string) string {
	value := ""
	for _, e := range a.environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "hish", Short: "The HishamOS client",
		Long: "The HishamOS client.\n\nThe server and the token come from HISHAMOS_URL and HISHAMOS_TOKEN, or from the file client.json\n" +
			"that the server writes for the user who starts it.\n\n" + exitCodes,
		SilenceUsage: true, SilenceErrors: true,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().BoolVar(&a.asJSON, "json", false, "answer as JSON")
	root.PersistentFlags().StringVar(&a.url, "url", "", "address of the server, instead of HISHAMOS_URL")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	root.AddCommand(a.runCommands(), a.workflowCommands(), a.agentCommands(), a.templateCommands(), a.taskCommands(), a.fileCommands(), a.logCommands(), a.eraseCommands(),
		a.analyticsCommand(), a.tokenCommands(), a.serverCommands(), a.versionCommand())
	addExamples(root)
	return root
}

// usageError says that the command line is wrong.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errRunFailed says that the run that was waited for did not end well; what
// there is to say has been said.
var errRunFailed = errors.New("the run did not complete")

// errInterrupted says that the user pressed Ctrl-C; what there is to say has
// been said.
var errInterrupted = errors.New("interrupted")

// report prints an error as one sentence and gives its exit code.
func (a *app) report(err error) int {
	code := codeOf(err)
	if errors.Is(err, errNotReady) {
		return exitUnreachable
	}
	if errors.Is(err, errRunFailed) || errors.Is(err, errInterrupted) {
		return code
	}
	if refused, ok := errors.AsType[*hishamos.Error](err); ok && a.asJSON {
		if text, failed := json.Marshal(map[string]v1.Problem{"error": refused.Problem}); failed == nil {
			fmt.Fprintln(a.err, string(text))
			return code
		}
	}
	fmt.Fprintln(a.err, "hish: "+clean(err.Error()))
	if refused, ok := errors.AsType[*hishamos.Error](err); ok {
		if len(refused.Errors) > 1 {
			for _, e := range refused.Errors {
				fmt.Fprintln(a.err, "  "+clean(e.Field+": "+e.Message))
			}
		}
		if refused.Status >= 500 && refused.Request != "" {
			fmt.Fprintln(a.err, "  request "+clean(refused.Request))
		}
	}
	return code
}

func codeOf(err error) int {
	if refused, ok := errors.AsType[*hishamos.Error](err); ok {
		switch refused.Status {
		case 401, 403:
			return exitForbidden
		case 404:
			return exitNotFound
		case 409, 412, 428:
			return exitConflict
		case 429, 502, 503, 504:
			return exitUnreachable
		}
		if refused.Status >= 500 {
			return exitFailed
		}
		return exitUsage
	}
	if _, ok := errors.AsType[*hishamos.UnreachableError](err); ok {
		return exitUnreachable
	}
	if errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if e, ok := errors.AsType[*domain.Error](err); ok {
		switch e.Kind {
		case domain.Unauthenticated, domain.Forbidden:
			return exitForbidden
		case domain.Invalid:
			return exitUsage
		}
		return exitFailed
	}
	if _, ok := errors.AsType[*usageError](err); ok || isCobra(err) {
		return exitUsage
	}
	return exitFailed
}

// isCobra recognises what cobra finds wrong with a command line; it has no type
// for it.
func isCobra(err error) bool {
	for _, begin := range []string{"unknown command", "accepts ", "requires ", "required flag", "invalid argument", "if any flags in the group"} {
		if strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return false
}
