package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/worker"
)

// drill is an installation with a database and a broker of its own.
type drill struct {
	t        *testing.T
	database string
	kafka    string
	data     string   // folder of the keys, which all processes share
	set      []string // further settings
}

// newDrill starts one with an embedded broker in memory.
func newDrill(t *testing.T, set ...string) *drill {
	t.Helper()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return &drill{t: t, database: pgtest.URL(t), kafka: b.Addr(), data: t.TempDir(), set: set}
}

func (d *drill) config() config.Config {
	d.t.Helper()
	env := append([]string{
		"HISHAMOS_DATA=" + d.data, "DATABASE_URL=" + d.database, "KAFKA_BROKERS=" + d.kafka,
		"HISHAMOS_KAFKA_PARTITIONS=4", "HISHAMOS_KAFKA_REPLICATION=1", "HISHAMOS_LISTEN=127.0.0.1:0", express(),
	}, d.set...)
	cfg, err := config.Load(env)
	if err != nil {
		d.t.Fatal(err)
	}
	return cfg
}

// part is a role of a node, as parts.go runs it.
type part func(*node, context.Context) error

// process is a node with parts that run.
type process struct {
	*node
	t    *testing.T
	stop func()
}

// open makes a node without connecting it.
func (d *drill) open() *process {
	d.t.Helper()
	return openDrill(d.t, d.config())
}

func openDrill(t *testing.T, cfg config.Config) *process {
	t.Helper()
	n, err := openNode(t.Context(), cfg, slog.New(slog.NewTextHandler(testOutput{t}, &slog.HandlerOptions{Level: slog.LevelWarn})), func(string, int64, int64) {}, fails)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	p := &process{node: n, t: t}
	p.stop = func() {
		once.Do(func() {
			if used := p.expressed(); used > 0 && expressIsOff() {
				t.Errorf("%v events took the express lane, which is off", used)
			}
			if err := n.close(context.Background()); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	t.Cleanup(func() { p.stop() })
	return p
}

// testOutput shows the program's log of a test that failed.
type testOutput struct{ t *testing.T }

func (o testOutput) Write(b []byte) (int, error) {
	if o.t.Context().Err() == nil { // not after the test has ended
		o.t.Log(string(bytes.TrimSpace(b)))
	}
	return len(b), nil
}

// owner is a pool of the one who owns the database, for doing what the program
// cannot.
func (p *process) owner() *pgxpool.Pool {
	p.t.Helper()
	return pgtest.Open(p.t, p.cfg.DatabaseURL.Reveal())
}

// start opens, connects and runs parts until stop.
func (d *drill) start(parts ...part) *process {
	d.t.Helper()
	p := d.open()
	p.must(p.connect(d.t.Context()))
	p.run(parts...)
	return p
}

// run starts parts, which end before the node closes.
func (p *process) run(parts ...part) {
	close := p.stop
	var stops []func()
	for i, run := range parts {
		stops = append(stops, p.beside(context.Background(), fmt.Sprint("part ", i), func(ctx context.Context) error { return run(p.node, ctx) }))
	}
	p.stop = func() {
		for _, s := range stops {
			s()
		}
		stops = nil
		close()
	}
}

func (p *process) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// operation carries out an operator's command on a process and decodes its answer.
func (p *process) operation(into any, do func(*operation, context.Context) error, args ...string) error {
	var out bytes.Buffer
	err := do(&operation{node: p.node, args: args, out: &out, json: true}, p.t.Context())
	if out.Len() > 0 && into != nil {
		p.must(json.Unmarshal(out.Bytes(), into))
	}
	return err
}

// position is the head of the store.
func (p *process) position() domain.Position { return p.head().Position }

func (p *process) head() eventstore.Head {
	p.t.Helper()
	h, err := p.store.Head(p.t.Context())
	p.must(err)
	return h
}

// quiesce waits until everything is on Kafka and in the read models, and returns
// their digests.
func (p *process) quiesce() map[string]string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 60*time.Second)
	defer cancel()
	head := p.position()
	var err error
	p.eventually("everything is projected", func() bool {
		brief, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err = errors.Join(waiter{p.node}.Logged(brief, head), waiter{p.node}.Projected(brief, head))
		return err == nil
	})
	all, err := p.digests(ctx)
	p.must(err)
	return all
}

// eventually waits for something that another goroutine brings about.
func (p *process) eventually(what string, true func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for !true() {
		if !wait(ctx, 10*time.Millisecond) {
			p.t.Fatalf("never: %s", what)
		}
	}
}

func (p *process) verifyAll() verified {
	p.t.Helper()
	var v verified
	if err := p.operation(&v, func(o *operation, ctx context.Context) error { return o.verify(ctx, verification{full: true}) }); err != nil || !v.OK {
		p.t.Fatalf("verify: %v", err)
	}
	return v
}

// do carries out a command.
func (p *process) do(c commands.Command) {
	p.t.Helper()
	_, err := p.dispatcher.Do(p.t.Context(), commands.Request{ID: domain.CommandID(uuid.NewString()), Principal: system("drill"), Command: c})
	if err != nil { // may be called by any goroutine
		p.t.Errorf("%s: %v", c.CommandName(), err)
	}
}

var drillSteps = []domain.Step{
	{ID: "one", Kind: domain.AgentStep, Agent: "writer", Template: "write"},
	{ID: "two", Kind: domain.AgentStep, Agent: "writer", Template: "write", Needs: []string{"one"}},
}

// fill starts runs and completes their first step: five events each, and an open
// intent. It returns the streams.
func (p *process) fill(runs int) []domain.StreamID {
	p.t.Helper()
	out := make([]domain.StreamID, runs)
	var group sync.WaitGroup
	slots := make(chan struct{}, 64)
	for i := range runs {
		out[i] = drillRun()
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			p.do(startDrill(out[i]))
			p.do(completeDrill(out[i], "one"))
		})
	}
	group.Wait()
	return out
}

func drillRun() domain.StreamID {
	return domain.NewStreamID(domain.DefaultTenant, "run_"+uuid.Must(uuid.NewV7()).String())
}

func startDrill(run domain.StreamID) commands.StartRun {
	return commands.StartRun{
		Run: run, Definition: domain.Definition{ID: "drill", Version: 1, Steps: drillSteps},
		Agents: map[string]domain.Ref{"writer": {ID: "writer", Version: 1}}, Templates: map[string]domain.Ref{"write": {ID: "write", Version: 1}},
	}
}

func completeDrill(run domain.StreamID, path domain.StepPath) commands.CompleteStep {
	return commands.CompleteStep{StepResult: commands.StepResult{Run: run, Path: path, Attempt: 1}, Output: json.RawMessage(`"done"`), Started: time.Now().UTC()}
}

// performer is a worker that counts how often each attempt was made.
type performer struct {
	mu   sync.Mutex
	made map[string]int
}

func (f *performer) run(n *node, ctx context.Context) error {
	pool := &worker.Pool{Holder: n.id, Slots: 16, Logger: n.logger, Office: n.local(), Perform: func(_ context.Context, w domain.Work) commands.Run {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.made == nil {
			f.made = make(map[string]int)
		}
		f.made[fmt.Sprint(w.Stream, " ", w.Path, " ", w.Attempt)]++
		c := completeDrill(w.Stream, w.Path)
		c.Attempt = w.Attempt
		return c
	}}
	pool.Run(ctx)
	return context.Cause(ctx)
}

// attempts is how many second steps were made; fill may make the first ones.
func (f *performer) attempts() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for attempt := range f.made {
		if strings.Contains(attempt, " two ") {
			n++
		}
	}
	return n
}

// allEnded waits until no run waits for anything.
func (p *process) allEnded() {
	p.t.Helper()
	p.eventually("all runs end", func() bool {
		open, err := p.store.OpenStreams(p.t.Context(), "run", "", 1)
		p.must(err)
		return len(open) == 0
	})
}

// once fails if any attempt was made more than once.
func (f *performer) once(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for attempt, n := range f.made {
		if n > 1 {
			t.Errorf("%s was made %d times", attempt, n)
		}
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s differ (-want +got):\n%s", what, d)
	}
}

// raw appends an event as it is, past all deciders.
func (p *process) raw(stream domain.StreamID, kind string, version int, data string) domain.Position {
	p.t.Helper()
	return p.rawMany(stream, kind, version, []string{data})
}

// rawMany appends events of one type as they are.
func (p *process) rawMany(stream domain.StreamID, kind string, version int, data []string) domain.Position {
	p.t.Helper()
	w := eventstore.Write{Stream: stream, Expected: eventstore.Any}
	for _, d := range data {
		w.Events = append(w.Events, eventstore.Proposed{Type: kind, Version: version, Time: time.Now(), Data: []byte(d)})
	}
	r, err := p.store.Append(p.t.Context(), eventstore.Append{
		Command: domain.CommandID(uuid.NewString()), Tenant: stream.Tenant(), Actor: "[]",
		Writes: []eventstore.Write{w},
	})
	p.must(err)
	p.committed(r.Records)
	return r.Last
}

// all reads the whole log.
func (p *process) all() []events.Record {
	p.t.Helper()
	var out []events.Record
	for {
		page, err := p.store.ReadAll(p.t.Context(), domain.Position(len(out)), 1000)
		p.must(err)
		if len(page) == 0 {
			return out
		}
		out = append(out, page...)
	}
}

func (p *process) status(name string) projection.Status {
	p.t.Helper()
	s, err := p.readModels().Status(p.t.Context(), name)
	p.must(err)
	return s
}

// copyFolder copies a folder of a stopped process.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			err = os.MkdirAll(target, info.Mode().Perm())
		case info.Mode()&os.ModeSymlink != 0:
			link, lerr := os.Readlink(path)
			if lerr != nil {
				return lerr
			}
			return os.Symlink(link, target)
		case info.Mode().IsRegular():
			b, rerr := os.ReadFile(path)
			if rerr != nil {
				return rerr
			}
			err = os.WriteFile(target, b, info.Mode().Perm())
		default:
			return nil
		}
		if err != nil {
			return err
		}
		return copyOwner(target, info)
	})
	if err != nil {
		t.Fatal(err)
	}
}
