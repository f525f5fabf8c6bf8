package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// benchServer is a server process of a benchmark.
type benchServer struct {
	roles   []string
	options []string
	address string // of its API; empty: it has none
	cmd     *exec.Cmd
	ended   chan struct{}
	err     error // why it has ended
}

// command is this program again. Ctrl-C reaches the benchmark alone, which then
// stops the others in order.
func (w *world) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = w.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = w.said
	return cmd, nil
}

// start runs a server with roles. One with an API is waited for.
func (w *world) start(ctx context.Context, roles []string, options ...string) (*benchServer, error) {
	s := &benchServer{roles: roles, options: options}
	if slices.Contains(roles, roleAPI) {
		address, err := freePort()
		if err != nil {
			return nil, err
		}
		s.address = "http://" + address
	}
	if err := w.run(s); err != nil {
		return nil, err
	}
	w.servers = append(w.servers, s)
	return s, s.ready(ctx)
}

// run starts the process of a server, for the first time or again.
func (w *world) run(s *benchServer) error {
	args := append([]string{"serve", "--roles", strings.Join(s.roles, ",")}, s.options...)
	cmd, err := w.command(context.Background(), args...) // stop ends it
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, "HISHAMOS_LISTEN="+strings.TrimPrefix(s.address, "http://"))
	if s.address == "" {
		cmd.Env = append(cmd.Env, "HISHAMOS_LISTEN=127.0.0.1:0")
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a server: %w", err)
	}
	ended := make(chan struct{})
	s.cmd, s.ended = cmd, ended
	go func() {
		defer close(ended)
		s.err = cmd.Wait()
	}()
	return nil
}

func (s *benchServer) pid() int { return s.cmd.Process.Pid }

// readyPatience is how long a server may take to come up.
const readyPatience = time.Minute

func (s *benchServer) ready(parent context.Context) error {
	if s.address == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(parent, readyPatience)
	defer cancel()
	for wait(ctx, 20*time.Millisecond) {
		select {
		case <-s.ended:
			return errors.Join(errNoAnswer, s.err)
		default:
		}
		if s.answers(ctx) {
			return nil
		}
	}
	if parent.Err() != nil {
		return context.Cause(parent)
	}
	return errNoAnswer
}

// answers asks once whether a server is ready.
func (s *benchServer) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address+"/ready", nil)
	if err != nil {
		return false
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return false // not yet
	}
	return r.Body.Close() == nil && r.StatusCode == http.StatusOK
}

// kill ends a server as a power cut would.
func (s *benchServer) kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill a server: %w", err)
	}
	<-s.ended
	return nil
}

// stop ends all servers in good order.
func (w *world) stop(ctx context.Context) error {
	var errs []error
	for _, s := range w.servers {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	for _, s := range w.servers {
		select {
		case <-s.ended:
			if s.err != nil {
				errs = append(errs, fmt.Errorf("a server with the roles %s ended: %w", strings.Join(s.roles, ","), s.err))
			}
		case <-ctx.Done():
			errs = append(errs, s.kill())
		}
	}
	w.servers = nil
	return errors.Join(errs...)
}

// freePort is an address on this machine that nobody listens at.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
