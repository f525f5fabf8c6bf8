package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/embedded"
)

// childDir makes this test binary the program that starts a server and waits to
// be killed; see TestAKilledProgramLeavesNothingInTheWay.
const childDir = "HISHAMOS_TEST_EMBEDDED_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		p, err := embedded.StartPostgres(context.Background(), embedded.PostgresOptions{Dir: dir})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(p.URL())
		select {} // until it is killed
	}
	// Keep the first thread, which Go never ends, away from the tests: one of them
	// needs a thread that does end.
	runtime.LockOSThread()
	os.Exit(m.Run())
}

// folder is a temporary folder that other users may pass through.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hishamos")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t *testing.T, opts embedded.PostgresOptions) *embedded.Postgres {
	t.Helper()
	p, err := embedded.StartPostgres(t.Context(), opts)
	if err != nil {
		var none *domain.Error
		if errors.As(err, &none) && none.Code == "postgres.not_available" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	return p
}

func stop(t *testing.T, p *embedded.Postgres) {
	t.Helper()
	if err := p.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var out string
	if err := c.QueryRow(t.Context(), sql).Scan(&out); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return out
}

// postmaster is the pid of the server that runs on a folder.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func table(t *testing.T, url string) {
	t.Helper()
	query(t, url, `CREATE TABLE kept (v text)`)
	query(t, url, `INSERT INTO kept VALUES ('still here')`)
}

func assertKept(t *testing.T, url string) {
	t.Helper()
	if got := query(t, url, `SELECT v FROM kept`); got != "still here" {
		t.Errorf("got %q: the data is gone", got)
	}
}

func TestAServerKeepsItsDataBetweenStarts(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	p := start(t, opts)
	table(t, p.URL())
	stop(t, p)
	select {
	case <-p.Done():
	default:
		t.Error("Done is open after Stop")
	}
	if err := p.Err(); err != nil {
		t.Errorf("Err after Stop: %v", err)
	}
	assertKept(t, start(t, opts).URL())
}

func TestTheServerIsDurableAndPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), "postgres")
	p := start(t, embedded.PostgresOptions{Dir: dir})
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on", "jit": "off", "server_encoding": "UTF8",
		"listen_addresses": "127.0.0.1", "max_connections": "60", "shared_buffers": "64MB", "password_encryption": "scram-sha-256",
		"idle_in_transaction_session_timeout": "0", "TimeZone": "UTC",
	} {
		if got := query(t, p.URL(), "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if got := query(t, p.URL(), "SELECT datcollate FROM pg_database WHERE datname = current_database()"); got != "C" {
		t.Errorf("the locale is %q", got)
	}
	info, err := os.Stat(filepath.Join(dir, "password"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the password file is %v %v", info.Mode(), err)
	}
	u, err := url.Parse(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	tcp := "postgres://hishamos:%s@127.0.0.1:" + u.Query().Get("port") + "/hishamos?sslmode=disable"
	secret, _ := u.User.Password()
	if query(t, fmt.Sprintf(tcp, secret), "SELECT 'in'") != "in" {
		t.Error("the loopback port does not let the password in")
	}
	u.User = url.UserPassword("hishamos", "wrong")
	for _, address := range []string{u.String(), fmt.Sprintf(tcp, "wrong")} {
		if c, err := pgx.Connect(t.Context(), address); err == nil || !strings.Contains(err.Error(), "28P01") {
			t.Errorf("a wrong password: got %v %v", c, err)
		}
	}
}

func TestCtrlCInATerminalDoesNotReachTheServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), "postgres")
	start(t, embedded.PostgresOptions{Dir: dir})
	if group, err := syscall.Getpgid(postmaster(t, dir)); err != nil || group == syscall.Getpgrp() {
		t.Errorf("the server is in process group %d, and so are we: %v", group, err)
	}
}

func TestALongPathFallsBackToALoopbackPort(t *testing.T) {
	t.Parallel()
	p := start(t, embedded.PostgresOptions{Dir: filepath.Join(folder(t), strings.Repeat("long", 25), "postgres")})
	if u, err := url.Parse(p.URL()); err != nil || u.Hostname() != "127.0.0.1" {
		t.Errorf("got %v %v", u, err)
	}
	if got := query(t, p.URL(), "SHOW unix_socket_directories"); got != "" {
		t.Errorf("there is a socket in %q", got)
	}
}

// supervised starts a server under supervision until the end of the test.
func supervised(t *testing.T, opts embedded.PostgresOptions) *embedded.Postgres {
	t.Helper()
	p := start(t, opts)
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Supervise(context.WithoutCancel(t.Context()), slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(t, p); running.Wait() })
	return p
}

// again waits until a query succeeds, which it does when the server is back.
func again(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, url)
		if err == nil {
			if err := c.Close(ctx); err != nil {
				t.Error(err)
			}
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the server does not come back: %v", err)
		}
	}
}

func TestAKilledServerComesBackWithItsDataAtTheSameAddress(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	p := supervised(t, opts)
	table(t, p.URL())
	address := p.URL()
	// A connection that is open, and one that computes and so does not notice that
	// its server is gone: the shared memory stays in use.
	open, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close(t.Context())
	busy, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close(t.Context())
	computing := make(chan error, 1)
	go func() {
		_, err := busy.Exec(t.Context(), `SELECT count(*) FROM generate_series(1, 100000000000) a`)
		computing <- err
	}()
	for range 3 {
		done := p.Done()
		if err := syscall.Kill(postmaster(t, opts.Dir), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-done
		again(t, address)
		assertKept(t, address)
	}
	if p.URL() != address {
		t.Errorf("the address changed from %s to %s", address, p.URL())
	}
	if err := <-computing; err == nil {
		t.Error("the computing connection outlived its server")
	}
}

func TestAKilledProgramLeavesNothingInTheWay(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	first := start(t, opts)
	table(t, first.URL())
	stop(t, first)
	for _, how := range []string{"only the program", "program and server"} {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		parent := exec.Command(self)
		parent.Env = append(os.Environ(), childDir+"="+opts.Dir)
		out, err := parent.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := parent.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "postgres://") {
			t.Fatalf("the parent says %q %v", line, err)
		}
		open, err := pgx.Connect(t.Context(), strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		server := postmaster(t, opts.Dir)
		if err := parent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if how == "program and server" {
			if err := syscall.Kill(server, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
		if err := parent.Wait(); err == nil {
			t.Fatal("the parent was not killed")
		}
		if runtime.GOOS == "linux" { // the kernel told the server
			gone(t, server)
		}
		p := start(t, opts)
		assertKept(t, p.URL())
		stop(t, p)
		if err := open.Close(t.Context()); err != nil {
			t.Log(err) // its server is gone
		}
	}
}

// gone waits until a process has ended; one that nobody waits for counts.
func gone(t *testing.T, pid int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("process %d goes on without its parent", pid)
		}
	}
}

func TestTheServerOutlivesTheThreadThatAskedForIt(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	started := make(chan *embedded.Postgres)
	go func() {
		defer close(started)
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		p, err := embedded.StartPostgres(context.WithoutCancel(t.Context()), opts)
		if err != nil {
			t.Error(err)
			return
		}
		started <- p
	}()
	p, ok := <-started
	if !ok {
		return
	}
	t.Cleanup(func() { stop(t, p) })
	<-started
	select {
	case <-p.Done():
		t.Fatalf("the server ended with the thread: %v", p.Err())
	case <-time.After(500 * time.Millisecond): // a fast shutdown takes a tenth of it
	}
}
