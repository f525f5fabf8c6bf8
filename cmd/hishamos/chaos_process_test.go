package main_test

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/failpoint"
)

// process is one hishamos process of a cluster, which dies and comes back.
type process struct {
	c      *cluster
	name   string
	roles  string
	listen string // of the API; empty: it has none
	bin    string // its program; empty: the cluster's

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{} // closed when it has ended
	err     error         // why, once ended is closed
	log     *os.File
	serving chan struct{} // closed when it said that it serves
}

// start runs the process, armed with failpoints if there are any.
func (p *process) start(armed string) {
	p.c.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.c.dir, p.name+".log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		p.c.t.Fatal(err)
	}
	cmd := exec.Command(cmp.Or(p.bin, p.c.bin), "serve", "--roles", p.roles)
	cmd.Env = p.c.environ(armed)
	if p.listen != "" {
		cmd.Env = append(cmd.Env, "HISHAMOS_LISTEN="+p.listen)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StderrPipe()
	if err != nil {
		p.c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.c.t.Fatalf("start %s: %v", p.name, err)
	}
	ended, serving := make(chan struct{}), make(chan struct{})
	p.mu.Lock()
	p.cmd, p.ended, p.serving, p.log = cmd, ended, serving, log
	p.mu.Unlock()
	go func() {
		said := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(log, lines.Text())
			if !said && strings.Contains(lines.Text(), "msg=serving") {
				said = true
				close(serving)
			}
		}
		err := cmd.Wait()
		fmt.Fprintf(log, "--- process %d of %s ended: %v\n", cmd.Process.Pid, p.name, err)
		log.Close()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(ended)
	}()
}

func (p *process) state() (pid int, ended, serving chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		none := make(chan struct{})
		close(none)
		return 0, none, none
	}
	return p.cmd.Process.Pid, p.ended, p.serving
}

func (p *process) alive() bool {
	_, ended, _ := p.state()
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// ready waits until the process serves.
func (p *process) ready(within time.Duration) bool {
	_, ended, serving := p.state()
	select {
	case <-serving:
		return true
	case <-ended:
		return false
	case <-time.After(within):
		return false
	}
}

// signal sends a signal to this process alone.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.c.t.Errorf("signal %s to %s: %v", s, p.name, err)
	}
}

// kill ends the process as a power cut would, and reports whether it did.
func (p *process) kill() bool {
	if !p.alive() {
		return false
	}
	p.signal(syscall.SIGKILL)
	return p.died(10 * time.Second)
}

// died waits for the death by SIGKILL, whoever sent it.
func (p *process) died(within time.Duration) bool {
	_, ended, _ := p.state()
	if within > 0 {
		select {
		case <-ended:
		case <-time.After(within):
		}
	}
	if p.alive() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// lastWords are the last lines the process wrote.
func (p *process) lastWords() string { return p.lastLines(2) }

func (p *process) lastLines(n int) string {
	text, err := os.ReadFile(filepath.Join(p.c.dir, p.name+".log"))
	if err != nil {
		return err.Error()
	}
	return tail(string(text), n)
}

// stop ends the process gently and says how that went.
func (p *process) stop() {
	if !p.alive() {
		return
	}
	p.signal(syscall.SIGTERM)
	_, ended, _ := p.state()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		p.c.t.Errorf("%s does not stop within 20 s of SIGTERM", p.name)
		p.signal(syscall.SIGKILL)
		<-ended
	}
}

// failpoints is what the processes wrote about the marks they came by.
func (c *cluster) failpoints() (hit, killed map[string]int) {
	c.t.Helper()
	hit, killed = map[string]int{}, map[string]int{}
	text, err := os.ReadFile(c.marks)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) != 3 {
			c.t.Fatalf("%s holds the line %q", c.marks, line)
		}
		switch words[1] {
		case "hit":
			hit[words[2]]++
		case "kill":
			killed[words[2]]++
		}
	}
	return hit, killed
}

// once runs a command of the operator to its end.
func (c *cluster) once(armed string, args ...string) (string, error) {
	cmd := exec.Command(c.bin, args...)
	cmd.Env = c.environ(armed)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("hishamos %s: %w\n%s", strings.Join(args, " "), err, tail(stderr.String(), 20))
	}
	return string(out), err
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// build builds the program with tags.
func build(t *testing.T, tags string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "hishamos")
	if out, err := exec.Command("go", "build", "-tags", tags+",nomsgpack", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// expressLane is the setting that this process's environment hands on to all
// that it starts.
const expressLane = "HISHAMOS_EXPRESS"

// expressMark is hit whenever events take the express lane.
const expressMark = "express.before_hand"

func expressIsOff() bool { return os.Getenv(expressLane) == "off" }

// armedAt is the value of the variable that arms one mark.
func armedAt(name, action string, hit int) string {
	return fmt.Sprintf("%s=%s@%d", name, action, hit)
}

// environ is the environment of every process: nothing of ours gets in.
func (c *cluster) environ(armed string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "XDG_CONFIG_HOME=" + filepath.Join(c.dir, "config"),
		"HISHAMOS_DATA=" + filepath.Join(c.dir, "data"), "HISHAMOS_LISTEN=127.0.0.1:0",
		"HISHAMOS_KAFKA_PARTITIONS=4", "HISHAMOS_SHUTDOWN_GRACE=8s", "HISHAMOS_WORKERS=8", "HISHAMOS_LOG_FORMAT=text", "HISHAMOS_MIN_FREE_DISK=1MB",
		"CHAOS_LEDGER=" + c.ledger, failpoint.EnvLog + "=" + c.marks, failpoint.EnvArm + "=" + armed,
		expressLane + "=" + os.Getenv(expressLane),
	}, c.servers...)
}
