package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/apitest"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
)

// bench is a user at a shell, and the server they talk to.
type bench struct {
	t       *testing.T
	server  *apitest.Server
	environ []string
	home    string
}

func setup(t *testing.T, change ...func(*api.Options)) *bench {
	t.Helper()
	s := apitest.New(t, change...)
	home := t.TempDir()
	return &bench{t, s, []string{"HOME=" + home, "HISHAMOS_URL=" + s.URL, "HISHAMOS_TOKEN=" + s.Tokens.Secret(apitest.Everything)}, home}
}

// hish runs one command line.
func (b *bench) hish(in string, args ...string) (code int, out, errOut string) {
	b.t.Helper()
	return b.hishIn(b.t.Context(), io.Discard, in, args...)
}

func (b *bench) hishIn(ctx context.Context, tee io.Writer, in string, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(ctx, args, b.environ, strings.NewReader(in), io.MultiWriter(&o, tee), &e)
	return code, o.String(), e.String()
}

// ok runs a command line that must succeed and returns what it printed.
func (b *bench) ok(args ...string) string {
	b.t.Helper()
	code, out, errOut := b.hish("", args...)
	if code != exitOK {
		b.t.Fatalf("hish %s: exit code %d: %s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// finish completes the one step of a run, or fails it.
func (b *bench) finish(run string, fault *domain.Fault) {
	b.t.Helper()
	stream := domain.RunID(run).Stream(domain.DefaultTenant)
	result := commands.StepResult{Run: stream, Path: "write", Attempt: 1}
	var c commands.Command = commands.CompleteStep{StepResult: result, Output: json.RawMessage(`{"text":"done"}`), Simulated: true, Started: time.Now()}
	if fault != nil {
		c = commands.FailStep{StepResult: result, Fault: *fault}
	}
	_, err := b.server.Options.Dispatcher.Do(b.t.Context(), commands.Request{
		ID: domain.CommandID("finish " + run), Principal: domain.SystemPrincipal(domain.DefaultTenant, "worker"), Command: c,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) start() string {
	b.t.Helper()
	return strings.TrimSpace(b.ok("run", "start", "stock", "--input", "notes=n"))
}

func TestARunIsStartedShownListedAndCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.start()
	if !strings.HasPrefix(id, "run_") {
		t.Fatalf("start printed %q", id)
	}
	if out := b.ok("run", "show", id); !strings.Contains(out, "# Stock workflow") || !strings.Contains(out, "write\twriter\tscheduled\t1") {
		t.Errorf("show:\n%s", out)
	}
	if out := b.ok("run", "events", id); !strings.Contains(out, "run.started") || strings.Count(out, "\n") != 2 {
		t.Errorf("events:\n%s", out)
	}
	if out := b.ok("run", "list"); !strings.HasPrefix(out, "Run\tWorkflow\tState") {
		t.Errorf("list:\n%s", out)
	}
	b.ok("run", "cancel", id, "--reason", "enough")
	if out := b.ok("run", "show", id, "--json"); !strings.Contains(out, `"reason": "enough"`) {
		t.Errorf("show --json:\n%s", out)
	}
	if out := b.ok("run", "show", id, "--at", "5"); !strings.Contains(out, "running") {
		t.Errorf("show --at:\n%s", out)
	}
}

func TestInputsComeFromFlagsFilesAndStandardInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	file := filepath.Join(b.home, "notes.txt")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string]string{
		"notes=a=b":        `"a=b"`,
		"notes=@" + file:   `"from a file"`,
		"notes=-":          `"from standard input"`,
		`notes:="as json"`: `"as json"`,
		"notes=12":         `"12"`,
	} {
		code, out, errOut := b.hish("from standard input", "run", "start", "stock", "-i", input)
		if code != exitOK {
			t.Errorf("%s: %s", input, errOut)
			continue
		}
		var r v1.Run
		if err := json.Unmarshal([]byte(b.ok("run", "show", strings.TrimSpace(out), "--json")), &r); err != nil || string(r.Inputs["notes"]) != want {
			t.Errorf("%s: %s, want %s (%v)", input, r.Inputs["notes"], want, err)
		}
	}
}

func TestTheExitCodeSaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	id := b.start()
	b.ok("run", "cancel", id)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"fly"}, exitUsage, "unknown command"},
		{[]string{"run", "show"}, exitUsage, "accepts 1 arg"},
		{[]string{"run", "list", "--colour"}, exitUsage, "unknown flag"},
		{[]string{"run", "list", "--state", "lost"}, exitUsage, "query.state"},
		{[]string{"run", "start", "stock", "-i", "notes"}, exitUsage, "name=value"},
		{[]string{"run", "start", "stock", "-i", "notes=@/does/not/exist"}, exitUsage, "cannot read"},
		{[]string{"run", "start", "stock", "-i", "notes:={"}, exitUsage, "not JSON"},
		{[]string{"run", "start", "stock", "-i", "notes=-", "-i", "more=-"}, exitUsage, "once only"},
		{[]string{"run", "start", "stock"}, exitUsage, "inputs.notes"},
		{[]string{"workflow", "create"}, exitUsage, "required flag"},
		{[]string{"analytics", "weather"}, exitUsage, "not by weather"},
		{[]string{"run", "list", "--url", "nowhere"}, exitUsage, "address"},
		{[]string{"run", "list", "--url", nobody}, exitUnreachable, "no answer from"},
		{[]string{"run", "show", "run_x"}, exitNotFound, "there is no such run"},
		{[]string{"run", "watch", "run_x"}, exitNotFound, "not found"},
		{[]string{"run", "cancel", id}, exitConflict, "already ended"},
	} {
		code, out, errOut := b.hish("", c.args...)
		if code != c.code || !strings.Contains(errOut, c.says) || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("hish %s: exit code %d, want %d; printed %q and %q", strings.Join(c.args, " "), code, c.code, out, errOut)
		}
	}
	b.environ[2] = "HISHAMOS_TOKEN=" + b.server.Tokens.Secret(apitest.Reader)
	if code, _, errOut := b.hish("", "agent", "list"); code != exitForbidden || !strings.Contains(errOut, "agent:read") {
		t.Errorf("without permission: %d %s", code, errOut)
	}
	b.environ = b.environ[:2]
	if code, _, errOut := b.hish("", "run", "list"); code != exitForbidden || !strings.Contains(errOut, "HISHAMOS_TOKEN") {
		t.Errorf("without a token: %d %s", code, errOut)
	}
	if out := b.ok("--help"); !strings.Contains(out, "Exit codes:") || !strings.Contains(out, "completion") {
		t.Errorf("help:\n%s", out)
	}
	b.ok("version")
}

// until calls f for every write, until it says so.
type until struct {
	mu   sync.Mutex
	seen string
	f    func(seen string) bool
}

func (u *until) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen += string(p)
	if u.f != nil && u.f(u.seen) {
		u.f = nil
	}
	return len(p), nil
}

func TestAWatchedRunEndsWithItsResult(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.start()
	code, out, errOut := b.hishIn(t.Context(), &until{f: func(seen string) bool {
		if !strings.Contains(seen, "write: scheduled") {
			return false
		}
		b.finish(id, nil)
		return true
	}}, "", "run", "watch", id)
	if code != exitOK || !strings.Contains(out, "write: completed by writer") || !strings.Contains(out, "run completed: 1 of 1 steps") ||
		!strings.Contains(out, "SIMULATED") || !strings.Contains(out, "- **Text**: done") {
		t.Errorf("exit code %d:\n%s%s", code, out, errOut)
	}
}

func TestAWatchedRunThatFailsIsAFailure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.start()
	b.finish(id, &domain.Fault{Code: "x.y", Message: "no luck", Final: true})
	code, out, _ := b.hish("", "run", "watch", id)
	if code != exitFailed || !strings.Contains(out, "no luck") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	code, out, _ = b.hish("", "run", "watch", id, "--json")
	last := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
	var r v1.Run
	if err := json.Unmarshal([]byte(last), &r); err != nil || code != exitFailed || r.State != v1.RunFailed {
		t.Errorf("exit code %d, last line %s", code, last)
	}
}

func TestInterruptingAWatchLeavesTheRunGoing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, interrupt := context.WithCancel(t.Context())
	code, out, errOut := b.hishIn(ctx, &until{f: func(seen string) bool {
		if strings.Contains(seen, "scheduled") {
			interrupt()
			return true
		}
		return false
	}}, "", "run", "start", "stock", "-i", "notes=n", "--watch")
	interrupt()
	_, rest, _ := strings.Cut(out, "run ")
	id, _, _ := strings.Cut(rest, ":")
	if code != exitInterrupted || !strings.Contains(errOut, "hish run watch "+id) || !strings.Contains(errOut, "hish run cancel "+id) {
		t.Errorf("exit code %d:\n%s%s", code, out, errOut)
	}
	if out := b.ok("run", "show", id, "--json"); !strings.Contains(out, `"state": "running"`) {
		t.Errorf("the run is:\n%s", out)
	}
}

func TestAWorkflowIsCreatedEditedCopiedAndArchived(t *testing.T) {
	t.Parallel()
	b := setup(t)
	file := filepath.Join(b.home, "own.yaml")
	text := b.ok("workflow", "show", "stock")
	text = strings.Replace(text, "id: stock", "id: own", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.ok("workflow", "create", "-f", file)
	if out := b.ok("workflow", "list"); !strings.Contains(out, "stock\t4\tstock") {
		t.Errorf("list:\n%s", out)
	}
	b.environ = append(b.environ, "EDITOR=sed -i s/Stock/Edited/")
	b.ok("workflow", "edit", "own")
	if out := b.ok("workflow", "show", "own"); !strings.Contains(out, "title: Edited workflow") || !strings.Contains(out, "version: 2") {
		t.Errorf("edited:\n%s", out)
	}
	if out := b.ok("workflow", "edit", "own"); !strings.Contains(out, "Nothing changed") {
		t.Errorf("edited without a change: %s", out)
	}
	b.environ[len(b.environ)-1] = "EDITOR=sed -i s/agent/robot/"
	code, _, errOut := b.hish("", "workflow", "edit", "own")
	if code != exitUsage || !strings.Contains(errOut, "Your text is kept in ") {
		t.Errorf("a refused edit: %d %s", code, errOut)
	}
	kept, _, _ := strings.Cut(strings.SplitAfter(errOut, "kept in ")[1], ";")
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the text is gone: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(kept)); err != nil {
		t.Error(err)
	}
	b.ok("workflow", "copy", "own", "twin", "--title", "Twin")
	b.ok("workflow", "archive", "twin")
	if code, _, _ := b.hish("", "run", "start", "twin", "-i", "notes=n"); code != exitConflict {
		t.Errorf("starting an archived workflow: exit code %d", code)
	}
	b.ok("workflow", "versions", "own")
	if code, _, _ := b.hish("{}", "workflow", "create", "-f", "-"); code != exitUsage {
		t.Errorf("an empty definition: exit code %d", code)
	}
}

func TestAgentsTasksAndAnalyticsAreShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if out := b.ok("agent", "list"); !strings.Contains(out, "writer\t3\tavailable\tWriter") {
		t.Errorf("agents:\n%s", out)
	}
	if out := b.ok("agent", "show", "writer"); !strings.Contains(out, "templates: text.write") {
		t.Errorf("agent:\n%s", out)
	}
	id := strings.TrimSpace(b.ok("task", "create", "--agent", "writer", "--template", "text.write", "-i", "notes=n", "-i", "words:=3"))
	if out := b.ok("task", "show", id); !strings.Contains(out, id) {
		t.Errorf("task:\n%s", out)
	}
	b.ok("task", "list", "--agent", "writer", "--state", "completed,failed")
	for _, by := range []string{"workflows", "agents"} {
		if out := b.ok("analytics", by, "--from", "2026-11-01", "--to", "2026-11-02"); !strings.HasPrefix(out, "Day\t") {
			t.Errorf("analytics by %s:\n%s", by, out)
		}
	}
}

func TestTheLogIsExportedWholeAndFollowed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start()
	file := filepath.Join(b.home, "log.ndjson")
	b.ok("log", "export", "-o", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for line := range strings.Lines(string(text)) {
		var e v1.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || int(e.Position) <= last {
			t.Fatalf("line %s: %v", line, err)
		}
		last = int(e.Position)
	}
	head, err := b.server.Store.Head(t.Context())
	if err != nil || last != int(head.Position) {
		t.Errorf("exported to %d of %d: %v", last, head.Position, err)
	}
	if code, _, _ := b.hish("", "log", "export", "-o", file); code != exitUsage {
		t.Errorf("an existing file was written over: exit code %d", code)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	code, out, _ := b.hishIn(ctx, &until{f: func(seen string) bool {
		done := strings.Contains(seen, "run.step_scheduled")
		if done {
			interrupt()
		}
		return done
	}}, "", "log", "tail", "--after", "0", "--type", "run")
	if code != exitInterrupted || strings.Count(out, "\n") != 2 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestRotatingKeepsTheNewTokenWhereTheOldOneWas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	path, err := config.ClientPath(b.environ)
	if err != nil {
		t.Fatal(err)
	}
	old := b.server.Tokens.Secret(apitest.Everything)
	if err := config.SaveClient(path, config.Client{URL: b.server.URL, Token: config.NewSecret(old)}); err != nil {
		t.Fatal(err)
	}
	b.environ = b.environ[:1]
	b.ok("token", "rotate")
	kept, err := config.LoadClient(path)
	if err != nil || kept.Token.Reveal() == old || kept.URL != b.server.URL {
		t.Errorf("kept %q, %v", kept.Token.Reveal(), err)
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second copy stays: %v", err)
	}
}

// The first request is carried out, and its connection breaks before the answer.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var n atomic.Int64
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner := api.New(b.server.Options)
		if r.Method == http.MethodPost && n.Add(1) == 1 {
			inner.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		inner.ServeHTTP(w, r)
	}))
	defer door.Close()
	b.environ[1] = "HISHAMOS_URL=" + door.URL
	id := b.start()
	if n.Load() != 2 {
		t.Fatalf("%d requests", n.Load())
	}
	head, err := b.server.Store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	records, err := b.server.Store.ReadAll(t.Context(), 0, int(head.Position))
	if err != nil {
		t.Fatal(err)
	}
	started := 0
	for _, r := range records {
		if r.Type == "run.started" {
			started++
			if r.Stream.Entity() != id {
				t.Errorf("the answer names %s, the run is %s", id, r.Stream.Entity())
			}
		}
	}
	if started != 1 {
		t.Errorf("%d runs were started", started)
	}
}

func TestTheClientDoesNotCarryTheServer(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		for _, forbidden := range []string{
			"github.com/jackc/pgx", "github.com/IBM/sarama", "github.com/gin-gonic/gin", "github.com/danielgtaylor/huma",
			"github.com/twmb/", "github.com/ThreeDotsLabs/", "cel.dev/", "github.com/prometheus/", "github.com/hishamos/hishamos/internal/eventstore",
			"github.com/hishamos/hishamos/library", "github.com/hishamos/hishamos/domain/",
		} {
			if strings.HasPrefix(strings.TrimSpace(dep), forbidden) {
				t.Errorf("hish imports %s", strings.TrimSpace(dep))
			}
		}
	}
}
