package main_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/freeport"
)

// cluster is a whole system of real processes that belongs to one test.
type cluster struct {
	t       *testing.T
	dir     string // everything of it
	bin     string // the program, with failpoints
	marks   string // the log of failpoints
	ledger  string // the provider's
	servers []string

	postgres *embedded.Postgres
	brokers  string
	kafka    *realKafka // nil: the broker is in this process
	procs    []*process
}

// newCluster starts Postgres and a broker, and gets the first token the way an
// operator would whose first start was cut off.
func newCluster(t *testing.T, kafka *realKafka) *cluster {
	t.Helper()
	// Not t.TempDir: as root, Postgres runs as another user, who must reach it.
	dir, err := os.MkdirTemp("", "hishamos-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		t: t, dir: dir, bin: build(t, "failpoints"), kafka: kafka,
		marks: filepath.Join(dir, "failpoints.log"), ledger: filepath.Join(dir, "ledger.jsonl"),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the logs are kept in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	c.startPostgres()
	c.startBroker()
	c.servers = []string{"DATABASE_URL=" + c.postgres.URL(), "KAFKA_BROKERS=" + c.brokers}
	t.Cleanup(func() {
		for _, p := range c.procs {
			p.signal(syscall.SIGCONT)
			p.signal(syscall.SIGKILL)
			_, ended, _ := p.state()
			<-ended
		}
		if hit, _ := c.failpoints(); hit[expressMark] > 0 && expressIsOff() {
			t.Error("a process used the express lane, which is off")
		}
	})
	return c
}

func (c *cluster) startPostgres() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	c.postgres, err = embedded.StartPostgres(ctx, embedded.PostgresOptions{
		Dir:   filepath.Join(c.dir, "postgres"),
		Cache: filepath.Join(os.TempDir(), "hishamos-programs"),
		// A dozen processes, and those that were killed until the server notices.
		Connections: 300,
	})
	if err != nil {
		cancel()
		c.t.Fatal(err)
	}
	supervised := make(chan error, 1)
	go func() { supervised <- c.postgres.Supervise(ctx, slog.New(slog.DiscardHandler)) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-supervised; err != nil {
			c.t.Error(err)
		}
		grace, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		if err := c.postgres.Stop(grace); err != nil {
			c.t.Error(err)
		}
	})
}

func (c *cluster) startBroker() {
	c.t.Helper()
	if c.kafka != nil {
		c.kafka.start(c.t)
		c.brokers = c.kafka.address
		return
	}
	dir := filepath.Join(c.dir, "broker")
	if err := os.Mkdir(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	b, err := embedded.StartBroker(context.Background(), embedded.BrokerOptions{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { b.Stop() })
	c.brokers = b.Addr()
}

// killPostgres kills the server, and reports whether it died and came back.
func (c *cluster) killPostgres() bool {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "postgres", "data", "postmaster.pid"))
	if err != nil {
		c.t.Error(err)
		return false
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		c.t.Error(err)
		return false
	}
	gone := c.postgres.Done()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		c.t.Errorf("kill Postgres: %v", err)
		return false
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		return false
	}
	return eventually(60*time.Second, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, c.postgres.URL())
		if err != nil {
			return false
		}
		return conn.Close(ctx) == nil
	})
}

// add puts a process into the cluster; it does not run yet.
func (c *cluster) add(name, roles string) *process {
	p := &process{c: c, name: name, roles: roles}
	if strings.Contains(roles, "api") {
		p.listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports(c.t, 1)))
	}
	c.procs = append(c.procs, p)
	return p
}

// of returns the processes with a role.
func (c *cluster) of(role string) []*process {
	var out []*process
	for _, p := range c.procs {
		if strings.Contains(p.roles, role) {
			out = append(out, p)
		}
	}
	return out
}

// revive starts every process that does not run, clean.
func (c *cluster) revive() {
	for _, p := range c.procs {
		if p.alive() {
			continue
		}
		if !p.died(0) {
			c.t.Logf("%s had ended by itself: %s", p.name, p.lastWords())
		}
		p.start("")
	}
}

// startAll starts every process and waits until all serve.
func (c *cluster) startAll() {
	c.t.Helper()
	for i, p := range c.procs {
		if !p.alive() {
			p.start("")
		}
		if i == 0 && !p.ready(60*time.Second) { // the first makes the schema and the token
			c.t.Fatalf("%s does not serve; see %s", p.name, c.dir)
		}
	}
	for _, p := range c.procs {
		if !p.ready(60 * time.Second) {
			c.t.Fatalf("%s does not serve; see %s", p.name, c.dir)
		}
	}
}

// token is the secret that the first start left for the client.
func (c *cluster) token() string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "config", "hishamos", "client.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	var file struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		c.t.Fatal(err)
	}
	return file.Token
}

// realKafka is a real broker of the test's own, which can be killed.
type realKafka struct {
	home, address string
	port          int
	script        string
}

// needKafka says where the broker's programs are, or skips the test where there
// are none.
func needKafka(t *testing.T) *realKafka {
	t.Helper()
	missing := ""
	out, err := exec.Command("java", "-version").CombinedOutput()
	if err != nil || !regexp.MustCompile(`version "(1[7-9]|[2-9]\d)`).Match(out) {
		missing = "there is no JDK (17 or later)"
	} else if _, err := exec.LookPath("mvn"); err != nil {
		missing = "there is no Maven (mvn) to fetch Kafka with"
	}
	if missing != "" {
		t.Skipf("this needs a real Kafka broker that may be killed: %s", missing)
	}
	home := t.TempDir()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	// The programs are shared, in the place where testenv keeps them.
	programs := filepath.Join(cache, "hishamos", "kafka-4.3.1")
	if err := os.MkdirAll(programs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(programs, filepath.Join(home, "libs-4.3.1")); err != nil {
		t.Fatal(err)
	}
	k := &realKafka{home: home, port: ports(t, 2), script: filepath.Join("..", "..", "internal", "tools", "kafka.sh")}
	k.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(k.port))
	t.Cleanup(func() {
		if out, err := k.run("stop"); err != nil {
			t.Errorf("stop Kafka: %v\n%s", err, out)
		}
	})
	return k
}

func (k *realKafka) run(verb string) (string, error) {
	cmd := exec.Command("bash", k.script, verb)
	cmd.Env = append(os.Environ(), "KAFKA_VERSION=4.3.1", "KAFKA_HOME="+k.home, "KAFKA_PORT="+strconv.Itoa(k.port), "KAFKA_HEAP=384m")
	cmd.WaitDelay = time.Second // the broker may hold on to our output
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (k *realKafka) start(t *testing.T) {
	t.Helper()
	if out, err := k.run("start"); err != nil {
		t.Fatalf("start Kafka: %v\n%s", err, out)
	}
}

// kill kills the broker and starts it again on what it left.
func (k *realKafka) kill(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(k.home, "kafka.pid"))
	if err != nil {
		t.Error(err)
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Error(err)
		return false
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("kill Kafka: %v", err)
		return false
	}
	if !eventually(10*time.Second, func() bool { return gone(pid) }) {
		return false
	}
	if err := os.Remove(filepath.Join(k.home, "kafka.pid")); err != nil { // the script would take what is left of it for alive
		t.Error(err)
	}
	k.start(t)
	return true
}

// gone reports whether a process has ended; one that nobody has waited for yet
// has.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	return processState(pid) == "Z"
}

// processState is the letter that ps shows for a process: T stopped, Z ended.
func processState(pid int) string {
	out, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	if err != nil || len(out) == 0 {
		return ""
	}
	return strings.TrimSpace(string(out))[:1]
}

// eventually asks again and again until it is so, or the time is over.
func eventually(within time.Duration, so func() bool) bool {
	over := time.After(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-over:
			return false
		case <-tick.C:
		}
	}
	return true
}

// ports is the first of n ports side by side that nobody listens at.
func ports(t *testing.T, n int) int {
	t.Helper()
	port, err := freeport.Find(n)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
