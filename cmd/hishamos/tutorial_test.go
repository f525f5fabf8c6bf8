package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const tutorialPage = "../../docs/tutorials/first-run.md"

// instruction is a command of the page, what is shown of its output, and the
// text before it.
type instruction struct {
	command, before string
	shown           []string
}

// instructions are the indented lines of a page and the text blocks after them.
func instructions(t *testing.T, page string) (out []instruction) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	inBlock, before := false, ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\n")
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock = !inBlock
		case inBlock:
			last := &out[len(out)-1]
			last.shown = append(last.shown, line)
		case indented:
			out = append(out, instruction{command: command, before: before})
			before = ""
		default:
			before += line + "\n"
		}
	}
	return out
}

// output is what a command has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// missing is the first line that the output lacks, in their order; `…` stands
// for anything within a line.
func (o *output) missing(shown []string) (string, bool) {
	text := o.String()
	for _, line := range shown {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
		at := regexp.MustCompile(pattern).FindStringIndex(text)
		if at == nil {
			return line, true
		}
		text = text[at[1]:]
	}
	return "", false
}

// reader follows the page as a person would.
type reader struct {
	t      *testing.T
	dir    string
	env    []string
	run    string // what RUN stands for
	server *exec.Cmd
	ended  chan error
}

// shows waits until the output has everything that the page shows.
func (r *reader) shows(i instruction, out *output, ended <-chan error) {
	r.t.Helper()
	tick, give := time.NewTicker(20*time.Millisecond), time.After(90*time.Second)
	defer tick.Stop()
	for {
		line, lacks := out.missing(i.shown)
		if !lacks {
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			if line, lacks = out.missing(i.shown); lacks {
				r.t.Fatalf("%s ended (%v) and did not show %q:\n%s", i.command, err, line, out)
			}
			return
		case <-give:
			r.t.Fatalf("%s does not show %q:\n%s", i.command, line, out)
		}
	}
}

func (r *reader) command(ctx context.Context, line string, out *output) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.dir, r.env, out, out
	return cmd
}

// serve is `make run`, without building, or another way to bring everything up.
func (r *reader) serve(i instruction, options ...string) {
	r.t.Helper()
	out := &output{}
	r.server = r.command(context.Background(), strings.Join(append([]string{"exec bin/hishamos up"}, options...), " "), out)
	if err := r.server.Start(); err != nil {
		r.t.Fatal(err)
	}
	server, ended := r.server, make(chan error, 1)
	r.ended = ended
	go func() { ended <- server.Wait() }()
	r.shows(i, out, ended)
}

// signal ends the server.
func (r *reader) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.server.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
	if err := <-r.ended; err != nil && s == syscall.SIGINT {
		r.t.Errorf("the server, interrupted: %v", err)
	}
	r.server = nil
}

func (r *reader) follow(i instruction) {
	r.t.Helper()
	line := strings.ReplaceAll(i.command, "RUN", r.run)
	if r.server != nil {
		line = strings.ReplaceAll(line, "SERVER", strconv.Itoa(r.server.Process.Pid))
	}
	switch {
	case line == "make run":
		r.serve(i)
		return
	case strings.HasPrefix(line, "kill -9"):
		r.signal(syscall.SIGKILL)
		return
	case strings.Contains(i.before, "Stop the server with Ctrl-C"):
		r.signal(syscall.SIGINT)
	}
	endless := strings.Contains(line, " log tail")
	if endless { // so that the program itself is ended, not the shell around it
		line = "exec " + line
	}
	for give := time.Now().Add(time.Minute); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		out, ended := &output{}, make(chan error, 1)
		cmd := r.command(ctx, line, out)
		if err := cmd.Start(); err != nil {
			r.t.Fatal(err)
		}
		if endless {
			go func() { ended <- cmd.Wait(); close(ended) }()
			r.shows(i, out, ended)
			cancel()
			for range ended {
			}
			return
		}
		err := cmd.Wait()
		cancel()
		if id := regexp.MustCompile(`run_[0-9a-f-]{36}`).FindString(out.String()); r.run == "" {
			r.run = id
		}
		wanting, lacks := out.missing(i.shown)
		switch {
		case err == nil && !lacks:
			return
		case err != nil || !strings.Contains(i.command, "run list") || time.Now().After(give): // a list is read until it is true
			r.t.Fatalf("%s: %v, and it does not show %q:\n%s", line, err, wanting, out)
		}
	}
}

// TestTheTutorialIsTrue carries out docs/tutorials/first-run.md and compares what
// it shows.
func TestTheTutorialIsTrue(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil || !bytes.Contains(makefile, []byte("run: build ## build, then run everything on this machine until Ctrl-C\n\t@exec bin/hishamos up\n")) {
		t.Fatalf("make run is not what this test takes it for: %v", err)
	}
	data, err := dataFolder(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, dir: t.TempDir()}
	if err := os.Symlink(programs(t), filepath.Join(r.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	r.env = append(os.Environ(), "HISHAMOS_DATA="+data, "HISHAMOS_LISTEN="+freeAddress(t), "XDG_CONFIG_HOME="+t.TempDir(), "NO_COLOR=1")
	t.Cleanup(func() {
		if r.server != nil {
			if err := r.server.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
			<-r.ended
		}
	})
	all := instructions(t, tutorialPage)
	shown := 0
	for _, i := range all {
		t.Logf("$ %s", i.command)
		r.follow(i)
		shown += len(i.shown)
	}
	if len(all) < 10 || shown < 20 || r.server != nil {
		t.Errorf("the page has %d commands and %d lines of output", len(all), shown)
	}
}
