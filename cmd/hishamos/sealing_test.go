package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	v1 "github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/telemetry"
	"github.com/hishamos/hishamos/projections"
)

// songbird is a word that stands nowhere else, and what every such word begins
// with.
const songbird = "kanarie"

// TestContentIsNowhereButInTheAnswersAndGoneOnceErased follows texts and a name
// through every place where they could be left behind.
func TestContentIsNowhereButInTheAnswersAndGoneOnceErased(t *testing.T) {
	t.Parallel()
	t.Run("keys in files", func(t *testing.T) {
		t.Parallel()
		canaryFlight(t, newDrill(t), fileKeys)
	})
	t.Run("keys in Postgres, Apache Kafka", func(t *testing.T) {
		t.Parallel()
		canaryFlight(t, &drill{t: t, database: drillDatabase(t), data: t.TempDir(), kafka: ownBroker(t)}, postgresKeys)
	})
}

func canaryFlight(t *testing.T, d *drill, store func(*testing.T, *drill) keyPlace) {
	place := store(t, d)
	c := openCanary(t, d)
	c.run((*node).runRelay, (*node).runProjections, (*node).runReactions)
	secret := auth.NewSecret()
	c.do(commands.IssueToken{
		Token: domain.NamedStreamID(domain.DefaultTenant, "token", "jo"), Tenant: domain.DefaultTenant, Actor: domain.Actor{ID: "u_1", Kind: domain.Human},
		Permissions: []domain.Permission{domain.AllPermissions}, SecretHash: auth.Hash(secret), Holder: songbird + "holder",
	})
	blind := auth.NewSecret()
	c.do(commands.IssueToken{
		Token: domain.NamedStreamID(domain.DefaultTenant, "token", "blind"), Tenant: domain.DefaultTenant, Actor: domain.Actor{ID: "u_2", Kind: domain.Human},
		Permissions: []domain.Permission{domain.RunRead, domain.LogRead}, SecretHash: auth.Hash(blind),
	})
	cancelled, failed := drillRun(), drillRun()
	c.do(startDrill(cancelled))
	if _, err := (contents{c.node}).RunKeys(t.Context(), cancelled); !errors.Is(err, errRunGoesOn) {
		t.Errorf("the keys of a run that goes on: %v", err)
	}
	c.do(commands.CancelRun{Run: cancelled, Reason: songbird + "reason"})
	c.do(startDrill(failed))
	c.do(commands.FailStep{
		StepResult: commands.StepResult{Run: failed, Path: "one", Attempt: 1}, Fault: domain.Fault{Code: "provider.refused", Final: true, Message: songbird + "fault"},
	})
	c.quiesce()
	c.run(func(n *node, ctx context.Context) error { return n.runWorkers(ctx, true) })
	c.secret = secret
	one, two := c.start("one", songbird+"one"), c.start("two", songbird+"two")
	c.prefer = "hishamos-after=ended, wait=20"
	body := v1.StartRun{Inputs: map[string]json.RawMessage{"notes": text("The " + songbird + "end needs a van. The " + songbird + "end must arrive on Friday.")}}
	if status, answer := c.post("/api/v1/workflows/two-step/runs", "end", body); status != http.StatusCreated || !strings.Contains(answer, songbird+"end") || strings.Contains(answer, "sealed:v1:") {
		t.Errorf("an answer with the end of the run: %d %s", status, answer)
	}
	c.prefer = ""
	c.allEnded()
	c.quiesce()

	// Everything is shown to whoever may read it, and lies nowhere.
	for path, word := range map[string]string{
		"/api/v1/runs/" + one: "one", "/api/v1/runs/" + two: "two", "/api/v1/me": "holder",
		"/api/v1/runs/" + cancelled.Entity(): "reason", "/api/v1/runs/" + failed.Entity(): "fault", "/api/v1/runs/" + one + "/events": "one",
		"/api/v1/tasks/" + failed.Entity() + ".one": "fault", "/api/v1/tasks/" + one + ".draft": "one", "/api/v1/log?limit=1000": "two",
	} {
		if status, body := c.get(path); status != http.StatusOK || !strings.Contains(body, songbird+word) || strings.Contains(body, "sealed:v1:") {
			t.Errorf("GET %s answers %d without %s: %s", path, status, word, body)
		}
	}
	if _, body := c.get("/api/v1/log?limit=1000&sealed=true"); strings.Contains(body, songbird) {
		t.Error("the log as it is stored shows content")
	}
	c.secret = blind
	for _, path := range []string{"/api/v1/runs/" + one, "/api/v1/runs/" + one + "/events", "/api/v1/runs", "/api/v1/log?limit=1000"} {
		if status, body := c.get(path); status != http.StatusOK || strings.Contains(body, songbird) || !strings.Contains(body, "[sealed]") || !strings.Contains(body, `"sealed":true`) {
			t.Errorf("GET %s without content:read answers %d: %s", path, status, body)
		}
	}
	c.secret = secret
	c.sweep()
	before, digests, head := c.body("/api/v1/runs/"+two), c.quiesce(), c.position()

	// A key store that is away stops what needs it, and nothing is taken for erased.
	place.away()
	c.eventually("the lack of keys is noticed", func() bool {
		status, body := c.get("/api/v1/runs/" + one)
		return status == http.StatusServiceUnavailable && !strings.Contains(body, "[erased]")
	})
	if status, body := c.get("/ready"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"keys"`) {
		t.Errorf("/ready answers %d: %s", status, body)
	}
	c.dispatcher.Forget(nil)
	if _, err := c.ports().RunIntents(t.Context(), domain.RunID(one).Stream(domain.DefaultTenant), 0); domain.KindOf(err) != domain.Unavailable {
		t.Errorf("a run is loaded without its key: %v", err)
	}
	if status, body := c.post("/api/v1/workflows/two-step/runs", "waits", v1.StartRun{Inputs: map[string]json.RawMessage{"notes": text(songbird + "three")}}); status != http.StatusServiceUnavailable {
		t.Errorf("a run starts without keys: %d %s", status, body)
	}
	place.back()
	three := c.start("waits", songbird+"three")
	c.allEnded()
	if got := c.body("/api/v1/runs/" + two); got != before {
		t.Errorf("when the keys are back:\n%s\nbefore:\n%s", got, before)
	}

	// Erase one run, then the person.
	record := place.record(c, one)
	if status, body := c.post("/api/v1/runs/"+one+"/erase", "erase", v1.Erase{Reason: songbird + "why"}); status != http.StatusOK {
		t.Fatalf("erase answers %d: %s", status, body)
	}
	c.erased("/api/v1/runs/" + one)
	first, again := c.body2("/api/v1/runs/"+one+"/erase", "erase"), c.body2("/api/v1/runs/"+one+"/erase", "erase-again")
	if first == "" || again == "" {
		t.Errorf("a repeated order answers %q and %q", first, again)
	}
	c.erased(fmt.Sprintf("/api/v1/runs/%s?at=%d", one, head))
	c.erased("/api/v1/runs/" + one + "/events")
	c.erased("/api/v1/tasks/" + one + ".draft")
	if place.holds(record) {
		t.Error("the wrapped key is still in the key store")
	}
	if got := c.body("/api/v1/runs/" + two); got != before {
		t.Errorf("another run changed: %s", got)
	}
	if status, body := c.post("/api/v1/people/u_1/erase", "person", v1.Erase{}); status != http.StatusOK {
		t.Fatalf("erase person answers %d: %s", status, body)
	}
	c.erased("/api/v1/me")
	if status, _ := c.post("/api/v1/people/nobody/erase", "nobody", v1.Erase{}); status != http.StatusNotFound {
		t.Errorf("erasing nobody answers %d", status)
	}

	// Live is rebuilt, the chain holds, and the keys are as the events say. A key
	// is gone before the log says that the order was carried out.
	c.quiesce()
	c.eventually("every order to erase is carried out", func() bool {
		orders, err := projections.Erasures{DB: c.writer}.After(t.Context(), 0)
		return err == nil && !slices.ContainsFunc(orders, func(e projections.Erasure) bool { return !e.Completed })
	})
	after := c.quiesce()
	c.must(c.operation(nil, rebuildAll))
	same(t, "digests after a rebuild", c.quiesce(), after)
	if after["runs"] == digests["runs"] {
		t.Error("the third run is in no read model")
	}
	c.verifyAll()
	c.sweep()

	// A backup of the key store of before the erasure: the next start erases again.
	place.restore(c, one, record)
	if at, err := c.eraseAgain(t.Context(), 0); err != nil || at == 0 {
		t.Errorf("erase again: %d, %v", at, err)
	}
	if place.holds(record) {
		t.Error("a restored key stays")
	}

	// The tenant.
	if err := c.operation(nil, func(o *operation, ctx context.Context) error { return o.eraseTenant(ctx, domain.DefaultTenant, "") }); err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{two, three, cancelled.Entity(), failed.Entity()} {
		c.erased("/api/v1/runs/" + run)
	}
	if status, body := c.post("/api/v1/workflows/two-step/runs", "new", v1.StartRun{Inputs: map[string]json.RawMessage{"notes": text("new")}}); status != http.StatusConflict {
		t.Errorf("an erased tenant starts a run: %d %s", status, body)
	}
	c.verifyAll()
	c.sweep()
}

// canaryProcess is a process with its API, whose log is kept.
type canaryProcess struct {
	*process
	server string
	secret string
	prefer string // header of every request
	logged *lines
}

func openCanary(t *testing.T, d *drill) *canaryProcess {
	t.Helper()
	c := &canaryProcess{process: d.open(), logged: &lines{}}
	c.logger = telemetry.NewLogger(c.logged, "hishamos", slog.LevelDebug)
	c.must(c.connect(t.Context()))
	c.must(c.setLevelForTest(t.Context()))
	c.server = c.serveHere()
	return c
}

func (c *canaryProcess) start(key, notes string) (run string) {
	c.t.Helper()
	var got v1.Receipt
	var status int
	var body string
	c.eventually("the run "+key+" starts", func() bool {
		status, body = c.post("/api/v1/workflows/two-step/runs", key, v1.StartRun{Inputs: map[string]json.RawMessage{"notes": text("The " + notes + " needs a van. The " + notes + " must arrive on Friday.")}})
		return status == http.StatusCreated
	})
	c.must(json.Unmarshal([]byte(body), &got))
	return got.ID
}

func (c *canaryProcess) get(path string) (int, string) { return c.call(http.MethodGet, path, "", nil) }

func (c *canaryProcess) post(path, key string, body any) (int, string) {
	return c.call(http.MethodPost, path, key, body)
}

func (c *canaryProcess) call(method, path, key string, body any) (int, string) {
	c.t.Helper()
	b, err := json.Marshal(body)
	c.must(err)
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.server+path, bytes.NewReader(b))
	c.must(err)
	r.Header.Set("Authorization", "Bearer "+c.secret)
	if c.prefer != "" {
		r.Header.Set("Prefer", c.prefer)
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", "sealing-test-"+key)
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := http.DefaultClient.Do(r)
	c.must(err)
	var all bytes.Buffer
	_, err = all.ReadFrom(a.Body)
	c.must(errors.Join(err, a.Body.Close()))
	return a.StatusCode, all.String()
}

func (c *canaryProcess) body(path string) string {
	c.t.Helper()
	status, body := c.get(path)
	if status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, status, body)
	}
	return body
}

// body2 repeats an order to erase.
func (c *canaryProcess) body2(path, key string) string {
	c.t.Helper()
	status, body := c.post(path, key, v1.Erase{Reason: songbird + "why"})
	if status != http.StatusOK {
		c.t.Errorf("POST %s again: %d %s", path, status, body)
		return ""
	}
	return body
}

// erased waits until an answer says that it was.
func (c *canaryProcess) erased(path string) {
	c.t.Helper()
	var status int
	var body string
	c.eventually(path+" is erased", func() bool {
		status, body = c.get(path)
		return status == http.StatusOK && strings.Contains(body, `"erased":true`)
	})
	if strings.Contains(body, songbird) || !strings.Contains(body, "[erased]") {
		c.t.Errorf("GET %s still answers %s", path, body)
	}
}

// sweep looks for canaries everywhere: tables, records, log lines, blobs.
func (c *canaryProcess) sweep() {
	c.t.Helper()
	found := func(where, text string) {
		if at := strings.Index(text, songbird); at >= 0 {
			c.t.Errorf("%s holds %q", where, text[at:min(len(text), at+20)])
		}
	}
	c.must(pgx.BeginFunc(c.t.Context(), c.owner(), func(tx pgx.Tx) error {
		if _, err := tx.Exec(c.t.Context(), `set local bytea_output = 'escape'`); err != nil {
			return err
		}
		rows, err := tx.Query(c.t.Context(), `select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')`)
		if err != nil {
			return err
		}
		tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(tables) < 15 {
			return fmt.Errorf("list %d tables: %w", len(tables), err)
		}
		seen := 0
		for _, table := range tables {
			rows, err := tx.Query(c.t.Context(), `select t::text from `+table+` t`)
			if err != nil {
				return err
			}
			all, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			for _, row := range all {
				seen += strings.Count(row, "sealed:v1:")
				found("table "+table, row)
			}
		}
		if seen == 0 {
			return errors.New("no table holds anything sealed: the sweep sees nothing")
		}
		return nil
	}))
	c.inBlobs()
	found("a topic", c.records())
	if !strings.Contains(c.records(), "sealed:v1:") {
		c.t.Error("no topic holds anything sealed: the sweep sees nothing")
	}
	if !strings.Contains(c.logged.String(), "request") {
		c.t.Error("the log has no line: the sweep sees nothing")
	}
	found("the log", c.logged.String())
}

// keyPlace is where the keys are, as somebody sees it who gets hold of it.
type keyPlace struct {
	away, back func()
	holds      func(record []byte) bool
	read       func(box string, n int) []byte
	write      func(box string, n int, record []byte)
}

// record is the wrapped key of a run.
func (p keyPlace) record(c *canaryProcess, run string) []byte {
	c.t.Helper()
	box, n := c.keyOf(run)
	record := p.read(box, n)
	if len(record) != keys.RecordSize || !p.holds(record) {
		c.t.Fatalf("the key of %s is not where it should be", run)
	}
	return record
}

func (p keyPlace) restore(c *canaryProcess, run string, record []byte) {
	box, n := c.keyOf(run)
	p.write(box, n, record)
}
