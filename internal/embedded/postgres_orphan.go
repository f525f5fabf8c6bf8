package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// stopOrphan stops a server that still runs on our folder because the process
// that started it was killed. The folder's lock is ours, so nobody else uses
// it. If postmaster.pid names a process that is alive and no server of this
// folder, its number is returned: it is to be ignored.
func (p *Postgres) stopOrphan(ctx context.Context) (ignore int, err error) {
	pid, err := p.postmaster()
	if err != nil || pid == 0 || !alive(pid) {
		return 0, err
	}
	servers, err := serversOf(ctx, p.data)
	if err != nil {
		return 0, err
	}
	if !slices.Contains(servers, pid) {
		return pid, nil
	}
	for _, step := range []struct {
		signal syscall.Signal
		grace  time.Duration
	}{{syscall.SIGINT, stopGrace}, {syscall.SIGQUIT, quitGrace}} {
		if err := kill(pid, step.signal); err != nil {
			return 0, err
		}
		for end := time.Now().Add(step.grace); time.Now().Before(end); {
			if !alive(pid) {
				return 0, nil
			}
			if err := wait(ctx, pollEvery); err != nil {
				return 0, err
			}
		}
	}
	return 0, &domain.Error{
		Kind: domain.Unavailable, Code: "postgres.orphan",
		Message: fmt.Sprintf("an older Postgres, process %d, still runs on %s and does not stop", pid, p.data),
		Fix:     fmt.Sprintf("end it with kill -9 %d, or restart the machine", pid),
	}
}

// stopBackends tells what a killed server left running to end. A backend
// notices that its server is gone when it next waits for something; one that
// computes may take long. The first two seconds are given to all of them.
func (p *Postgres) stopBackends(ctx context.Context, giveUp time.Time) error {
	if time.Until(giveUp) > retryFor-2*time.Second {
		return nil
	}
	pids, err := serversOf(ctx, p.data)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := kill(pid, syscall.SIGQUIT); err != nil {
			return err
		}
	}
	return nil
}

// postmaster reads the pid of the server that used the folder last; 0 if it was
// shut down.
func (p *Postgres) postmaster() (int, error) {
	b, err := os.ReadFile(filepath.Join(p.data, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find an older server: %w", err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0, nil // cut off by a crash; Postgres judges it itself
	}
	return pid, nil
}

// alive reports whether a process, or a thread, has this number.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func kill(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}
