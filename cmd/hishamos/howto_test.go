package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/internal/log/kafka"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// commandsOf are the command lines of a how-to in their order: the indented ones
// and those within a sentence.
func commandsOf(t *testing.T, page string) (out []string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "how-to", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^ {4,}((?:bin/|export ).+)$|`(bin/[^`]+)`").FindAllStringSubmatch(string(content), -1) {
		out = append(out, m[1]+m[2])
	}
	return out
}

// operator follows how-tos on an installation on one machine.
type operator struct {
	*reader
	data string
}

func newOperator(t *testing.T, bin string) *operator {
	t.Helper()
	data, err := dataFolder(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	o := &operator{&reader{t: t, dir: t.TempDir()}, data}
	if err := os.Symlink(bin, filepath.Join(o.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	o.env = append(os.Environ(), "HISHAMOS_DATA="+data, "HISHAMOS_LISTEN="+freeAddress(t), "XDG_CONFIG_HOME="+t.TempDir(), "NO_COLOR=1", "HISHAMOS_LOG_RETAIN=all")
	t.Cleanup(func() {
		if o.server != nil {
			o.signal(syscall.SIGINT)
		}
	})
	return o
}

func (o *operator) up() {
	o.t.Helper()
	o.serve(instruction{command: "up", shown: []string{o.address()}}, "--idle")
}

func (o *operator) stop() {
	o.t.Helper()
	o.signal(syscall.SIGINT)
}

func (o *operator) address() string {
	for _, v := range o.env {
		if address, ok := strings.CutPrefix(v, "HISHAMOS_LISTEN="); ok {
			return address
		}
	}
	return ""
}

// does carries out a command line, which must succeed.
func (o *operator) does(line string) string {
	o.t.Helper()
	o.t.Logf("$ %s", line)
	if set, ok := strings.CutPrefix(line, "export "); ok {
		o.env = append(o.env, set)
		return ""
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), 2*time.Minute)
	defer cancel()
	out := &output{}
	if err := o.command(ctx, line, out).Run(); err != nil {
		o.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out.String()
}

// follows carries out a page, whose commands must be the expected ones, and
// returns what each answered.
func (o *operator) follows(page string, expected ...string) (answers []string) {
	o.t.Helper()
	lines := commandsOf(o.t, page)
	if !slices.Equal(lines, expected) {
		o.t.Fatalf("%s has the commands %q; the test knows %q", page, lines, expected)
	}
	for _, line := range lines {
		answers = append(answers, o.does(line))
	}
	return answers
}

// works runs a workflow to its end.
func (o *operator) works() {
	o.t.Helper()
	if out := o.does(`bin/hish run start two-step --input notes="Songs of birds" --watch`); !strings.Contains(out, "completed") {
		o.t.Fatalf("the run did not complete:\n%s", out)
	}
}

// same compares the digests of the read models, without how the log is called.
func (o *operator) same(what, before, after string) {
	o.t.Helper()
	digests := regexp.MustCompile(`(?m)^.*sha256:.*$`)
	b, a := digests.FindAllString(before, -1), digests.FindAllString(after, -1)
	if len(b) < 4 || !slices.Equal(a, b) {
		o.t.Errorf("%s: the digests were\n%s\nand are\n%s", what, before, after)
	}
}

const (
	askDigest = "bin/hishamos replay digest"
	askAll    = "bin/hishamos verify"
	askFull   = "bin/hishamos verify --full"
	fillKafka = "bin/hishamos replay kafka-from-store"
)

func (o *operator) move(from, to string) {
	o.t.Helper()
	if err := os.Rename(filepath.Join(o.data, from), filepath.Join(o.data, to)); err != nil {
		o.t.Fatal(err)
	}
}

// TestTheHowTosOfRecoveryAreTrue carries out the pages one after another, each
// after the harm it is for.
func TestTheHowTosOfRecoveryAreTrue(t *testing.T) {
	t.Parallel()
	o := newOperator(t, programs(t))
	o.up()
	o.works()
	o.stop()

	answers := o.follows("rebuild-a-read-model.md", "bin/hishamos replay status", askDigest, "bin/hishamos replay rebuild", "bin/hishamos replay rebuild runs", askDigest)
	whole := answers[1]
	o.same("rebuilt", whole, answers[4])

	if err := os.RemoveAll(filepath.Join(o.data, "kafka")); err != nil {
		t.Fatal(err)
	}
	answers = o.follows("recover-kafka.md", fillKafka, askAll, askDigest)
	o.same("with Kafka made anew", whole, answers[2])

	// An old copy of the store is put back.
	old := filepath.Join(o.data, "old")
	o.does("cp -a " + filepath.Join(o.data, "postgres") + " " + old)
	o.up()
	o.works()
	o.stop()
	whole = o.does(askDigest)
	if err := os.RemoveAll(filepath.Join(o.data, "postgres")); err != nil {
		t.Fatal(err)
	}
	o.move("old", "postgres")
	o.up()
	o.stop()
	o.same("caught up from Kafka", whole, o.does(askDigest))
	o.follows("store-behind-kafka.md", askFull, fillKafka+" --force")

	o.move("postgres", "lost")
	answers = o.follows("recover-store.md", "bin/hishamos replay store-from-kafka", askFull, fillKafka+" --force")
	if !strings.Contains(answers[0], "events") || strings.Contains(answers[0], "missing") {
		t.Errorf("the store was rebuilt with %s", answers[0])
	}
	o.up()
	o.stop()
	o.same("rebuilt from Kafka", whole, o.does(askDigest))
	o.up()
	o.works()
}

func TestTheHowToOfSeveralMachinesIsTrue(t *testing.T) {
	t.Parallel()
	broker := os.Getenv("HISHAMOS_TEST_KAFKA")
	if broker == "" {
		t.Skip("HISHAMOS_TEST_KAFKA is not set: there is no Kafka here")
	}
	if _, _, err := net.SplitHostPort(broker); err != nil {
		t.Fatal(err)
	}
	o := newOperator(t, programs(t))
	lines := commandsOf(t, "embedded-to-cluster.md")
	expected := []string{
		askAll, "bin/hishamos up --idle", "export DATABASE_URL=postgres://...", "export KAFKA_BROKERS=kafka-1:9092,kafka-2:9092,kafka-3:9092",
		fillKafka, askAll, askDigest, "bin/hishamos serve --roles api", "bin/hishamos serve --roles relay,projections", "bin/hishamos serve --roles handlers", "bin/hishamos serve --roles workers",
		"export DATABASE_URL=postgres://hishamos_app:...@host/db", "export HISHAMOS_READER_URL=postgres://hishamos_query:...@host/db",
	}
	if !slices.Equal(lines, expected) {
		t.Fatalf("the page has the commands %q; the test knows %q", lines, expected)
	}
	// The servers of the test take the place of the page's. It begins with an empty
	// database, which the page allows.
	prefix := "howto-" + uuid.NewString()[:8] + "."
	removeTopics(t, broker, prefix)
	o.env = append(o.env, "HISHAMOS_KAFKA_PREFIX="+prefix, "HISHAMOS_KAFKA_REPLICATION=1", "HISHAMOS_KAFKA_PARTITIONS=2")
	o.does("export DATABASE_URL=" + pgtest.Empty(t))
	o.does("export KAFKA_BROKERS=" + broker)
	for _, line := range lines[4:6] {
		o.does(line)
	}
	var all []*server
	for _, line := range lines[7:11] {
		all = append(all, o.begins(line))
	}
	o.works()
	for _, s := range all {
		s.ends()
	}
	if out := o.does(lines[6]); strings.Count(out, "sha256:") < 4 {
		t.Errorf("the digests are %s", out)
	}
	o.does(askAll)
}

// removeTopics takes away what a test leaves on a broker that it shares. It is
// called before servers are started, so that they have ended by then.
func removeTopics(t *testing.T, broker, prefix string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		l, err := kafka.Open(ctx, kafka.Options{Brokers: []string{broker}, ReplicationFactor: 1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Errorf("topics of %s are left: %v", prefix, err)
			return
		}
		topics, err := l.Topics(ctx, prefix)
		if err == nil && len(topics) == 0 && !t.Failed() {
			err = errors.New("there are none")
		}
		if err == nil {
			err = l.Delete(ctx, slices.Collect(maps.Keys(topics))...)
		}
		if err = errors.Join(err, l.Close()); err != nil {
			t.Errorf("remove topics of %s: %v", prefix, err)
		}
	})
}

// server is a process that serves until it is told to end.
type server struct {
	t     *testing.T
	line  string
	end   func() error
	ended chan error
	said  *output
}

// begins starts a server and waits until it serves.
func (o *operator) begins(line string) *server {
	o.t.Helper()
	o.t.Logf("$ %s &", line)
	s := &server{t: o.t, line: line, said: &output{}, ended: make(chan error, 1)}
	cmd := o.command(context.Background(), "exec "+line, s.said)
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	s.end = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	go func() { s.ended <- cmd.Wait(); close(s.ended) }()
	o.t.Cleanup(s.ends)
	o.shows(instruction{command: line, shown: []string{"serving"}}, s.said, s.ended)
	return s
}

func (s *server) ends() {
	s.t.Helper()
	if s.end == nil {
		return
	}
	if err := s.end(); err != nil {
		s.t.Errorf("%s: %v", s.line, err)
	}
	s.end = nil
	if err := <-s.ended; err != nil {
		s.t.Errorf("%s, interrupted: %v\n%s", s.line, err, s.said)
	}
}
