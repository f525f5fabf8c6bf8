// Command testenv runs `go test` with what the tests need: one Postgres and, if
// the machine has a JDK and Maven, one real Kafka broker, both started for this
// run and stopped after it. Its arguments are those of `go test`; it ends with
// the numbers of packages and tests.
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
	envCI       = "HISHAMOS_CI" // set: real Kafka is required
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
	failed, err := e.test(ctx, args, out)
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

// test runs `go test` and prints its report.
func (e *environment) test(ctx context.Context, args []string, out io.Writer) (failed bool, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = e.environ(os.Environ())
	cmd.Stderr = os.Stderr
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return false, fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("run go test: %w", err)
	}
	report := newReport(out)
	readErr := report.read(lines)
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return false, errors.New("interrupted")
	}
	if readErr != nil {
		return false, readErr
	}
	missed := report.finish(e.variables())
	return waitErr != nil || missed, nil
}

// environ adds what the tests need to an environment, and takes out the switch
// that is meant for this program only.
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
