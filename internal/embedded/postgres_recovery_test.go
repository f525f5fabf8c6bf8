package embedded_test

import (
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

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/embedded"
)

// asOwner makes a command run as the user to whom a folder belongs.
func asOwner(t *testing.T, dir string, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
}

func TestAServerThatOutlivedItsProgramIsStoppedFirst(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	p := start(t, opts)
	table(t, p.URL())
	address := p.URL()
	stop(t, p)
	// Where the kernel tells nobody that a parent died, the server goes on. Started
	// by hand, it has no parent to lose.
	data := filepath.Join(opts.Dir, "data")
	line, err := os.ReadFile(filepath.Join(data, "postmaster.opts"))
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(string(line), -1)
	program, _, _ := strings.Cut(string(line), " ")
	cmd := exec.Command(program)
	for _, w := range words {
		cmd.Args = append(cmd.Args, w[1])
	}
	cmd.Dir = "/"
	var said strings.Builder
	cmd.Stderr = &said
	asOwner(t, data, cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var orphan sync.WaitGroup
	orphan.Go(func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("the orphan: %v", err)
		}
	})
	again(t, address)
	open, err := pgx.Connect(t.Context(), address) // an open connection does not keep it alive
	if err != nil {
		t.Fatal(err)
	}
	next := start(t, opts)
	orphan.Wait()
	if !strings.Contains(said.String(), "received fast shutdown request") || strings.Contains(said.String(), "immediate") {
		t.Errorf("the orphan was not shut down properly: %s", said.String())
	}
	assertKept(t, next.URL())
	if err := open.Close(t.Context()); err != nil {
		t.Log(err) // its server is gone
	}
}

func TestAPidThatWasGivenOutAgainDoesNotBlockTheStart(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	p := start(t, opts)
	table(t, p.URL())
	data := filepath.Join(opts.Dir, "data")
	server := postmaster(t, opts.Dir)
	done := p.Done()
	if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-done
	if p.Err() == nil {
		t.Error("a killed server has no error")
	}
	other := exec.Command("sleep", "600")
	asOwner(t, data, other)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- other.Wait() }()
	t.Cleanup(func() {
		select {
		case err := <-ended:
			t.Errorf("the innocent process was ended: %v", err)
		default:
			if err := other.Process.Kill(); err != nil {
				t.Error(err)
			}
			<-ended
		}
	})
	path := filepath.Join(data, "postmaster.pid")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reused := strings.Replace(string(text), strconv.Itoa(server), strconv.Itoa(other.Process.Pid), 1)
	if err := os.WriteFile(path, []byte(reused), 0o600); err != nil {
		t.Fatal(err)
	}
	assertKept(t, start(t, opts).URL())
}

func TestAnInitdbThatWasKilledIsDoneAgain(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), childDir+"="+opts.Dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	half := waitFor(t, filepath.Join(opts.Dir, "data.initialising-*", "global"))
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Fatal("the parent was not killed")
	}
	if _, err := os.Stat(filepath.Join(opts.Dir, "data")); err == nil {
		t.Fatal("initdb had ended before it was killed")
	}
	table(t, start(t, opts).URL())
	if _, err := os.Stat(filepath.Dir(half)); err == nil {
		t.Error("the half is still there")
	}
}

// waitFor waits until a file of a pattern exists.
func waitFor(t *testing.T, pattern string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return found[0]
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s does not appear", pattern)
		}
	}
}

func TestDamagedDataIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	stop(t, start(t, opts))
	data := filepath.Join(opts.Dir, "data")
	for _, tt := range []struct {
		name, file string
		content    string // empty: the file is missing
		code, says string
	}{
		{"control file missing", "data/global/pg_control", "", "data.damaged", "global/pg_control is missing"},
		{"version missing", "data/PG_VERSION", "", "data.damaged", "PG_VERSION is missing"},
		{"version is no number", "data/PG_VERSION", "x\n", "data.damaged", "PG_VERSION says"},
		{"made by a newer Postgres", "data/PG_VERSION", "99\n", "postgres.other_version", "made by Postgres 99"},
		{"password missing", "password", "", "postgres.no_password", "password"},
	} {
		path := filepath.Join(opts.Dir, tt.file)
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if tt.content != "" {
			if err := os.WriteFile(path, []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		before := list(t, data)
		_, err = embedded.StartPostgres(t.Context(), opts)
		e, ok := errors.AsType[*domain.Error](err)
		if !ok || e.Code != tt.code || !strings.Contains(e.Message, tt.says) || e.Fix == "" {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if diff := cmp.Diff(before, list(t, data)); diff != "" {
			t.Errorf("%s: the data was changed: %s", tt.name, diff)
		}
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 && tt.file != "password" {
			owner := exec.Command("true")
			asOwner(t, data, owner)
			c := owner.SysProcAttr.Credential
			if err := os.Chown(path, int(c.Uid), int(c.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := query(t, start(t, opts).URL(), "SELECT 'whole again'"); got != "whole again" {
		t.Error(got)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTheServersLogIsCopiedAndKept(t *testing.T) {
	t.Parallel()
	opts := embedded.PostgresOptions{Dir: filepath.Join(folder(t), "postgres")}
	var mu sync.Mutex
	var copied strings.Builder
	opts.Log = writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return copied.Write(b)
	})
	p := start(t, opts)
	c, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "SELECT no_such_thing"); err == nil {
		t.Fatal("there is such a thing")
	}
	stop(t, p)
	kept, err := os.ReadFile(filepath.Join(opts.Dir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for where, text := range map[string]string{"copy": copied.String(), "file": string(kept)} {
		if !strings.Contains(text, "no_such_thing") {
			t.Errorf("the %s is %q", where, text)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestProgramsThatWereAskedForAreCheckedNotReplaced(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	_, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: filepath.Join(dir, "postgres"), Binaries: dir})
	e, ok := errors.AsType[*domain.Error](err)
	if !ok || e.Field != "HISHAMOS_POSTGRES_BIN" || !strings.Contains(e.Message, "initdb") {
		t.Errorf("got %v", err)
	}
}
