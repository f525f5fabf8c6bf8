package main

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hishamos/hishamos/internal/freeport"
)

// TestScripts runs testdata/script: whole processes, used as a person would.
func TestScripts(t *testing.T) {
	t.Parallel()
	bin := programs(t)
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serving": serving, "unreachable": unreachable, "expressed": expressed, "kept": kept},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
		Setup: func(e *testscript.Env) error {
			data, err := dataFolder(e.Defer)
			if err != nil {
				return err
			}
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("HISHAMOS_DATA", data)
			e.Setenv("HISHAMOS_LISTEN", freeAddress(t))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			e.Setenv("NO_COLOR", "1")
			e.Setenv(expressVariable, os.Getenv(expressVariable))
			return nil
		},
	})
}

// serving waits until the server of the script answers.
func serving(ts *testscript.TestScript, _ bool, _ []string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	give := time.After(time.Minute)
	for {
		r, err := http.Get("http://" + ts.Getenv("HISHAMOS_LISTEN") + "/ready")
		if err == nil {
			ts.Check(r.Body.Close())
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-give:
			ts.Fatalf("the server does not answer: %v", err)
		}
	}
}

// kept waits until at least so much of an upload is kept in blobs.
func kept(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for give := time.After(time.Minute); ; {
		size := int64(0)
		err := filepath.WalkDir(filepath.Join(ts.Getenv("HISHAMOS_DATA"), "blobs"), func(_ string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				if info, err := e.Info(); err == nil { // else it was renamed meanwhile
					size += info.Size()
				}
			}
			return nil
		})
		ts.Check(err)
		if size >= want {
			return
		}
		select {
		case <-tick.C:
		case <-give:
			ts.Fatalf("of %s %d bytes are kept", args[0], size)
		}
	}
}

// unreachable makes a folder that only root can enter, and puts the data below.
func unreachable(ts *testscript.TestScript, _ bool, _ []string) {
	dir := ts.MkAbs("closed")
	ts.Check(os.MkdirAll(filepath.Join(dir, "data"), 0o700))
	ts.Check(os.Chmod(dir, 0o700))
	ts.Setenv("HISHAMOS_DATA", filepath.Join(dir, "data"))
}

// programs builds both programs once for a test.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir, ".", "../hish").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// dataFolder is a folder that the user of the embedded Postgres can reach, which
// t.TempDir is not when the tests run as root.
func dataFolder(cleanUp func(func())) (string, error) {
	dir, err := os.MkdirTemp("", "hishamos-script-")
	if err != nil {
		return "", err
	}
	cleanUp(func() {
		if err := os.RemoveAll(dir); err != nil {
			panic(err)
		}
	})
	return dir, os.Chmod(dir, 0o711)
}

// freeAddress is a loopback address nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(freePorts(t, 1)))
}

// freePorts is the first of n ports side by side that nobody listens at.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	port, err := freeport.Find(n)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
