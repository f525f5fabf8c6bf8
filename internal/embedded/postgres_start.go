package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/failpoint"
)

const (
	pollEvery  = 20 * time.Millisecond
	retryEvery = 100 * time.Millisecond
	retryFor   = 30 * time.Second // while remains of a killed server go away
	stopGrace  = 30 * time.Second // a fast shutdown writes a checkpoint
	quitGrace  = 10 * time.Second // an immediate one kills what is left after 5 s
	logLimit   = 16 << 20
	// Ports are taken from below the range that systems give to outgoing
	// connections, so that ours is still free when the server comes back.
	leastPort, ports = 20000, 12000
)

var errStopped = errors.New("start the embedded Postgres: it was stopped")

// start starts the server and waits until it answers.
func (p *Postgres) start(ctx context.Context) error {
	p.starting.Lock()
	defer p.starting.Unlock()
	if p.stopped() {
		return errStopped
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // Stop does not wait for a start
		select {
		case <-p.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	giveUp := time.Now().Add(retryFor)
	for {
		failure, err := p.attempt(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("start the embedded Postgres: %w", err)
		case failure == "":
			return nil
		case strings.Contains(failure, "could not create any TCP/IP sockets") && p.current() == nil && time.Now().Before(giveUp):
			p.setPort(0) // somebody took the port, and nobody knows ours yet: take another
		case remains(failure) && time.Now().Before(giveUp):
			if err := p.stopBackends(ctx, giveUp); err != nil {
				return fmt.Errorf("start the embedded Postgres: %w", err)
			}
		default:
			return &domain.Error{
				Kind: domain.Unavailable, Code: "postgres.start_failed",
				Message: "the embedded Postgres did not start: " + lastCause(failure), Fix: "the whole story is in " + p.logPath(),
			}
		}
		if err := wait(ctx, retryEvery); err != nil {
			return fmt.Errorf("start the embedded Postgres: %w", err)
		}
	}
}

// remains reports whether a start failed because parts of a killed server are
// still there. Postgres is right to refuse: two servers on one folder destroy
// it. They end by themselves, so the start is tried again; postmaster.pid is
// never removed.
func remains(failure string) bool {
	return strings.Contains(failure, "pre-existing shared memory block") || strings.Contains(failure, `lock file "postmaster.pid" already exists`)
}

// attempt starts the server once. A failure is what the server wrote before it
// ended; an error is ours.
func (p *Postgres) attempt(ctx context.Context) (failure string, err error) {
	ignore, err := p.stopOrphan(ctx)
	if err != nil {
		return "", err
	}
	if p.port == 0 {
		port, err := freePort()
		if err != nil {
			return "", err
		}
		p.setPort(port)
	}
	if err := p.configure(); err != nil {
		return "", err
	}
	logFile, begin, err := p.openLog()
	if err != nil {
		return "", err
	}
	c, err := startChild(p.server(logFile, ignore), p.as, syscall.SIGINT, logFile.Close)
	if err != nil {
		return "", errors.Join(err, logFile.Close())
	}
	failpoint.Hit("embedded.after_start")
	if err := p.answers(ctx, c); err != nil {
		if c.ended() {
			return p.logSince(begin)
		}
		return "", errors.Join(err, p.shutDown(ctx, c))
	}
	p.mu.Lock()
	p.child = c
	p.mu.Unlock()
	return "", nil
}

// server is the command that runs the server. ignore, if not 0, is a process
// that postmaster.pid names and that is no server of this folder.
func (p *Postgres) server(logFile *os.File, ignore int) *exec.Cmd {
	cmd := exec.Command(p.programs.path("postgres"), "-D", p.data,
		"-c", "config_file="+p.path("postgresql.conf"), "-c", "hba_file="+p.path("pg_hba.conf"))
	cmd.Dir, cmd.Env = p.data, p.environment()
	if ignore != 0 {
		// The number was given out again, perhaps to a thread of ours in a container.
		// Postgres sees something alive and refuses. It takes this variable for the
		// shell of pg_ctl and skips that process in its check, but still makes sure
		// that nobody uses the shared memory.
		cmd.Env = append(cmd.Env, "PG_GRANDPARENT_PID="+strconv.Itoa(ignore))
	}
	// A file, not a pipe: the server can write to it whatever becomes of us.
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if p.opts.Log != nil {
		both := io.MultiWriter(logFile, p.opts.Log)
		cmd.Stdout, cmd.Stderr = both, both
		cmd.WaitDelay = time.Second // backends may hold the pipe a little longer than the server
	}
	return cmd
}

// answers waits until the server takes a connection.
func (p *Postgres) answers(ctx context.Context, c *child) error {
	for {
		err := p.connect(ctx)
		if err == nil {
			return nil
		}
		if e, ok := errors.AsType[*pgconn.PgError](err); ok {
			switch e.Code {
			case "57P03": // cannot connect now: it recovers
			case "28P01":
				return &domain.Error{
					Kind: domain.Conflict, Code: "postgres.wrong_password",
					Message: "the embedded Postgres does not take the password in " + p.path("password"), Fix: "put the file back that belongs to this data folder",
				}
			default:
				return err
			}
		}
		select {
		case <-c.done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func (p *Postgres) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, p.url())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (p *Postgres) setPort(port int) {
	p.mu.Lock()
	p.port = port
	p.mu.Unlock()
}

// freePort finds a loopback port on which nobody listens.
func freePort() (int, error) {
	var err error
	for range 50 {
		port := leastPort + rand.IntN(ports)
		var l net.Listener
		if l, err = net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

func (p *Postgres) path(name string) string { return filepath.Join(p.dir, name) }

func (p *Postgres) logPath() string { return p.path("postgres.log") }

// openLog opens the log for appending and says where it ends now. One old file
// is kept when it has become long.
func (p *Postgres) openLog() (*os.File, int64, error) {
	if info, err := os.Stat(p.logPath()); err == nil && info.Size() > logLimit {
		if err := os.Rename(p.logPath(), p.logPath()+".old"); err != nil {
			return nil, 0, fmt.Errorf("open log: %w", err)
		}
	}
	f, err := os.OpenFile(p.logPath(), os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open log: %w", err), f.Close())
	}
	return f, info.Size(), nil
}

// logSince returns what the server wrote since a place in the log.
func (p *Postgres) logSince(begin int64) (string, error) {
	f, err := os.Open(p.logPath())
	if err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, begin, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	if len(b) == 0 {
		return "it ended without a word", nil
	}
	return string(b), nil
}

// lastCause is the line of a log that tells most: the last FATAL or PANIC, else
// the last one.
func lastCause(text string) string {
	cause := ""
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimSpace(line)
		_, fatal, isFatal := strings.Cut(line, "FATAL:")
		_, panicked, isPanic := strings.Cut(line, "PANIC:")
		switch {
		case isFatal:
			cause = strings.TrimSpace(fatal)
		case isPanic:
			cause = strings.TrimSpace(panicked)
		}
	}
	if cause == "" {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		cause = lines[len(lines)-1]
	}
	return cause
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
