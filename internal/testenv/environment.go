package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/freeport"
)

// environment is the servers of one run of the tests.
type environment struct {
	postgres, kafka string // their addresses
	noKafka         string // why there is no broker
	stops           []func() error
}

// variables are the settings the tests find the servers by.
func (e *environment) variables() map[string]string {
	v := map[string]string{envPostgres: e.postgres}
	if e.kafka != "" {
		v[envKafka] = e.kafka
	}
	return v
}

// stop ends what was started, the last first.
func (e *environment) stop() error {
	var errs []error
	for i := len(e.stops) - 1; i >= 0; i-- {
		errs = append(errs, e.stops[i]())
	}
	return errors.Join(errs...)
}

// startPostgres uses the server that the environment names, or starts one.
func (e *environment) startPostgres(ctx context.Context, folder string) error {
	if e.postgres = os.Getenv(envPostgres); e.postgres != "" {
		return nil
	}
	if err := os.Chmod(folder, 0o711); err != nil { // as root, Postgres runs as another user
		return err
	}
	p, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{
		Dir:   filepath.Join(folder, "postgres"),
		Cache: filepath.Join(os.TempDir(), "hishamos-programs"),
		// The packages' tests run side by side, and many of a package at once.
		Connections: 300,
	})
	if err != nil {
		return err
	}
	e.postgres = p.URL()
	e.stops = append(e.stops, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return p.Stop(ctx)
	})
	return nil
}

// kafkaScript starts and stops a broker; it runs from the root of the module.
const kafkaScript = "internal/tools/kafka.sh"

// startKafka uses the broker that the environment names, or starts one where
// there are a JDK and Maven. Without them it says so, or fails where it must not
// be missing.
func (e *environment) startKafka(ctx context.Context, folder string, out io.Writer) error {
	if e.kafka = os.Getenv(envKafka); e.kafka != "" {
		return nil
	}
	if e.noKafka = missingForKafka(ctx); e.noKafka != "" {
		if os.Getenv(envCI) != "" {
			return fmt.Errorf("it is required here: %s", e.noKafka)
		}
		return nil
	}
	port, err := freeport.Find(2) // broker and controller
	if err != nil {
		return err
	}
	home, err := kafkaHome(folder)
	if err != nil {
		return err
	}
	script := func(ctx context.Context, verb string) error {
		cmd := exec.CommandContext(ctx, "bash", kafkaScript, verb)
		cmd.Env = append(os.Environ(), "KAFKA_HOME="+home, "KAFKA_PORT="+strconv.Itoa(port))
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		cmd.WaitDelay = time.Second // the broker may hold on to our output
		return cmd.Run()
	}
	e.stops = append(e.stops, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return script(ctx, "stop")
	})
	if err := script(ctx, "start"); err != nil {
		return err
	}
	e.kafka = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return nil
}

// kafkaHome is a folder for this run only, except for the broker's programs:
// they stay in the user's cache.
func kafkaHome(folder string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	home, programs := filepath.Join(folder, "kafka"), filepath.Join(cache, "hishamos", "kafka-"+kafkaVersion)
	if err := errors.Join(os.MkdirAll(home, 0o700), os.MkdirAll(programs, 0o700)); err != nil {
		return "", err
	}
	return home, os.Symlink(programs, filepath.Join(home, "libs-"+kafkaVersion))
}

// kafkaVersion is the version the script runs when nothing is set.
const kafkaVersion = "4.3.1"

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// missingForKafka names what the machine lacks, or nothing.
func missingForKafka(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput()
	if err != nil {
		return "there is no JDK (17 or later)"
	}
	if m := javaVersion.FindSubmatch(out); m != nil {
		if major, err := strconv.Atoi(string(m[1])); err == nil && major < 17 {
			return fmt.Sprintf("the JDK is version %d, Kafka needs 17", major)
		}
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "there is no Maven (mvn) to fetch Kafka with"
	}
	return ""
}
