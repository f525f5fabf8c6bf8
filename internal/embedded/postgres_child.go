package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// child is a process of ours that ends when we do.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // why, once done is closed; nil for exit status 0
}

// startChild starts a command as the account, in a process group of its own, so
// that Ctrl-C in a terminal reaches us only and we decide what it means for the
// children.
//
// On Linux the kernel sends the child a signal when its parent dies, so that
// even kill -9 leaves no server behind. The kernel's parent is the *thread* that
// started it, and Go ends threads when it likes: the goroutine that starts the
// child therefore keeps its thread until the child has ended. Where there is no
// such signal (macOS), the server is found through postmaster.pid by the next
// start; see stopOrphan.
//
// after runs when the child has ended, before done is closed.
func startChild(cmd *exec.Cmd, as *account, onParentDeath syscall.Signal, after func() error) (*child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: as.credential()}
	setDeathSignal(cmd.SysProcAttr, onParentDeath)
	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = errors.Join(cmd.Wait(), after())
			close(c.done)
		}
	}()
	return c, <-started
}

// signal sends a signal to the child alone; one that has ended needs none.
func (c *child) signal(s syscall.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", c.cmd.Process.Pid, err)
	}
	return nil
}

// ended reports whether the child is gone.
func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// run runs a command to its end, gives it input, and returns what it wrote. The
// command is killed when ctx ends, and when we do.
func run(ctx context.Context, cmd *exec.Cmd, as *account, input string) (string, error) {
	var output bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &output, &output
	cmd.WaitDelay = time.Second // grandchildren may hold the pipes
	c, err := startChild(cmd, as, syscall.SIGKILL, func() error { return nil })
	if err != nil {
		return "", err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		// The whole group, which is its own: initdb has children that write.
		err = errors.Join(ctx.Err(), kill(-cmd.Process.Pid, syscall.SIGKILL))
		<-c.done
		return output.String(), err
	}
	return output.String(), c.err
}
