// Command testenv runs `go test` with what the tests need: one Postgres and, if
// the machine has a JDK and Maven, one real Kafka broker, both started for this
// run and stopped after it. Its arguments are those of `go test`. Behind `--` may
// follow those of a further pass, variables first:
//
//	testenv -timeout=20m ./... -- SETTING=off ./cmd/x
//
// It ends with the tests that skipped themselves, each with its reason, and the
// numbers of packages and tests of all passes. A skip counts as a failure if the
// test lacked something that is there, and with HISHAMOS_CI in any case.
//
// It must not know what is tested. It imports internal/embedded. Start at run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// The environment of the tests.
const (
	envPostgres = "HISHAMOS_TEST_DATABASE_URL"
	envKafka    = "HISHAMOS_TEST_KAFKA"
	envCI       = "HISHAMOS_CI" // set: real Kafka is required, and no test may skip itself
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		stop()
		os.Exit(1)
	}
}

// run starts the servers, runs the tests and stops the servers.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "hishamos-test-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	var e environment
	defer func() { err = errors.Join(err, e.stop(), os.RemoveAll(folder)) }()
	if err := e.startPostgres(ctx, folder); err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	if err := e.startKafka(ctx, folder, out); err != nil {
		return fmt.Errorf("start Kafka: %w", err)
	}
	report, failed := newReport(out), false
	for _, p := range passes(args) {
		bad, passErr := e.test(ctx, p, report)
		failed = failed || bad
		if err = passErr; err != nil {
			break
		}
	}
	failed = report.finish(e.variables(), os.Getenv(envCI) != "") || failed
	if e.noKafka != "" {
		fmt.Fprintf(out, "the suites on a real Kafka broker were skipped: %s\n", e.noKafka)
	}
	if err != nil {
		return err
	}
	if failed {
		return errors.New("the tests failed")
	}
	return nil
}

// pass is one call of `go test`.
type pass struct {
	set  []string // variables of this pass, name=value
	args []string
}

func (p pass) String() string { return strings.Join(p.set, " ") }

// passes splits the arguments at each `--`.
func passes(args []string) []pass {
	all := []pass{{}}
	for _, a := range args {
		last := &all[len(all)-1]
		switch {
		case a == "--":
			all = append(all, pass{})
		case len(last.args) == 0 && strings.Contains(a, "=") && !strings.HasPrefix(a, "-"):
			last.set = append(last.set, a)
		default:
			last.args = append(last.args, a)
		}
	}
	return all
}

// test runs `go test` into the report.
func (e *environment) test(ctx context.Context, p pass, report *report) (failed bool, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, p.args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = append(e.environ(os.Environ()), p.set...)
	cmd.Stderr = os.Stderr
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("run go test: %w", err)
	}
	readErr := report.read(p.String(), lines)
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return false, errors.New("interrupted")
	}
	return waitErr != nil, readErr
}

// environ adds what the tests need to an environment. The switch that is meant
// for this program is taken out.
func (e *environment) environ(base []string) []string {
	var env []string
	for _, v := range base {
		if !strings.HasPrefix(v, envCI+"=") {
			env = append(env, v)
		}
	}
	for name, value := range e.variables() {
		env = append(env, name+"="+value)
	}
	return env
}
