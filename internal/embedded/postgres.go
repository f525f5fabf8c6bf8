package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/hishamos/hishamos/domain"
)

// PostgresOptions says where the server lives and where its programs come from.
type PostgresOptions struct {
	// Dir is the server's folder, held by nobody else; see Folder.Sub.
	Dir string
	// Binaries is the folder with postgres and initdb. Empty: the newest Postgres
	// of the machine, 15 or later; if there is none, it is fetched into Cache.
	Binaries string
	// Cache keeps what was fetched. Empty: Dir/programs.
	Cache string
	// Maven is the repository to fetch from. Empty: Maven Central.
	Maven string
	// Progress, if not nil, is told how many bytes have been fetched.
	Progress func(done, total int64)
	// Connections is how many the server accepts. 0: 60.
	Connections int
	// Log, if not nil, gets a copy of the server's own log, which is kept in
	// Dir/postgres.log.
	Log io.Writer
}

// Postgres is a server that runs as a child of this process.
type Postgres struct {
	opts     PostgresOptions
	dir      string // opts.Dir, resolved
	data     string // the server's data, in dir
	as       *account
	programs programs
	password string

	stopping chan struct{} // closed when Stop is called
	stopOnce sync.Once

	starting sync.Mutex // held while a server is started or stopped

	mu    sync.Mutex // guards the rest
	port  int
	child *child
}

const (
	superuser    = "hishamos"
	databaseName = "hishamos"
)

// StartPostgres starts the server and returns when it answers; the first start
// makes its data. It recovers by itself from a parent or a server that was
// killed, at any moment. It waits as long as the server needs to recover: bound
// ctx to give up earlier. Afterwards ctx means nothing to the server.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	dir, err := makeFolder(opts.Dir, parentMode(), 0o755)
	if err != nil {
		return nil, folderError(opts.Dir, err)
	}
	if err := os.Chmod(dir, parentMode()); err != nil { // Sub makes folders for us only
		return nil, folderError(dir, err)
	}
	if opts.Cache == "" {
		opts.Cache = filepath.Join(dir, "programs")
	}
	p := &Postgres{opts: opts, dir: dir, data: filepath.Join(dir, "data"), stopping: make(chan struct{})}
	if p.as, err = serverAccount(p.data); err != nil {
		return nil, err
	}
	if err := p.as.checkReachable(dir, "HISHAMOS_DATA"); err != nil {
		return nil, err
	}
	major, err := p.inspect()
	if err != nil {
		return nil, err
	}
	if p.programs, err = p.findPrograms(ctx, major); err != nil {
		return nil, err
	}
	if p.password, err = p.loadPassword(major == 0); err != nil {
		return nil, err
	}
	if major == 0 {
		if err := p.initialise(ctx); err != nil {
			return nil, err
		}
	}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// URL is the address of the database: a Unix socket that only the owner of the
// folder can reach, or, where the folder's path is too long for one, a loopback
// port. Either asks for the password, which is random and kept in Dir/password.
// The URL stays the same when the server is restarted.
func (p *Postgres) URL() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.url()
}

func (p *Postgres) url() string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, p.password), Path: "/" + databaseName}
	if folder := p.socketFolder(); folder != "" {
		u.RawQuery = url.Values{"host": {folder}, "port": {strconv.Itoa(p.port)}}.Encode()
	} else {
		u.Host = "127.0.0.1:" + strconv.Itoa(p.port)
		u.RawQuery = "sslmode=disable"
	}
	return u.String()
}

// Done is closed when the server that runs now has ended. After a restart by
// Supervise there is another one: ask again.
func (p *Postgres) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.child.done
}

// Err says why the server ended; nil while it runs and after Stop.
func (p *Postgres) Err() error {
	p.mu.Lock()
	c := p.child
	p.mu.Unlock()
	if !c.ended() || p.stopped() {
		return nil
	}
	if c.err == nil {
		return errors.New("the embedded Postgres was shut down by somebody else")
	}
	return fmt.Errorf("the embedded Postgres ended: %w", c.err)
}

func (p *Postgres) stopped() bool {
	select {
	case <-p.stopping:
		return true
	default:
		return false
	}
}

// Stop shuts the server down: connections are ended, open transactions rolled
// back, everything is written. When ctx ends first, the server is made to stop
// at once, and recovers at its next start; nothing that was committed is lost
// either way.
func (p *Postgres) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() { close(p.stopping) })
	p.starting.Lock() // a start that is under way is given up first
	defer p.starting.Unlock()
	if err := p.shutDown(ctx, p.current()); err != nil {
		return fmt.Errorf("stop the embedded Postgres: %w", err)
	}
	return nil
}

func (p *Postgres) current() *child {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.child
}

// shutDown asks a server to stop, then tells it to.
func (p *Postgres) shutDown(ctx context.Context, c *child) error {
	if err := c.signal(syscall.SIGINT); err != nil { // fast shutdown
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	if err := c.signal(syscall.SIGQUIT); err != nil { // immediate shutdown
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitGrace)
	defer cancel()
	select {
	case <-c.done:
		return nil
	case <-within.Done():
		return &domain.Error{
			Kind: domain.Unavailable, Code: "postgres.does_not_stop", Message: "the embedded Postgres does not stop",
			Fix: "look at " + p.logPath(),
		}
	}
}
