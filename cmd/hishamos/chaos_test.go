package main_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/checker"
	"github.com/hishamos/hishamos/internal/failpoint"
)

var (
	kills      = flag.Int("kills", 20, "processes to kill in TestChaos")
	chaosSeed  = flag.Uint64("chaos-seed", 0, "choice of the faults of TestChaos; 0: by the clock")
	reportFile = flag.String("chaos-report", "", "file for the report of TestChaos, as JSON; the text goes beside it as .txt")
)

// TestChaos kills whole processes, Postgres and the broker while people use the
// system, and compares afterwards what the clients were told, the store, the
// topics, the provider's ledger and the read models. It is not parallel: it
// takes the machine.
func TestChaos(t *testing.T) {
	kafka := needKafka(t)
	c := newCluster(t, kafka)
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	run := &chaos{cluster: c, random: rand.New(rand.NewPCG(seed, 0)), report: newReport(seed, *kills)}
	t.Logf("seed %d", seed)

	run.bootstrap()
	for _, p := range [][2]string{
		{"api-1", "api"},
		{"api-2", "api"},
		{"relay-1", "relay,projections"},
		{"relay-2", "relay,projections"},
		{"handlers-1", "handlers"},
		{"handlers-2", "handlers"},
		{"workers-1", "workers"},
		{"workers-2", "workers"},
	} {
		c.add(p[0], p[1])
	}
	c.startAll()
	run.clients = newClients(c)
	run.underLoad()
	run.quiesce()
	run.judge()
	run.rebuild()
	run.restore()
	run.embedded()
	run.verdict()
}

// chaos is one run of the campaign.
type chaos struct {
	*cluster
	random  *rand.Rand
	clients *clients
	report  *report
}

// bootstrap dies between issuing the first token and showing it, the worst
// moment, and gets in by rotating it.
func (r *chaos) bootstrap() {
	r.t.Helper()
	p := r.add("first", "api")
	p.start(armedAt("bootstrap.after_issue", "kill", 1))
	r.report.planned("bootstrap.after_issue", p.died(60*time.Second))
	if out, err := r.once("", "token", "rotate"); err != nil {
		r.t.Fatalf("rotate the token: %v\n%s", err, out)
	}
	r.procs = nil
}

// underLoad lets the clients work, and breaks what they work with.
func (r *chaos) underLoad() {
	r.t.Helper()
	asking, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	r.clients.define(asking)
	ctx, stop := context.WithCancel(asking)
	var at sync.WaitGroup
	for range 16 {
		at.Go(func() { r.clients.work(ctx, asking) })
	}
	if !eventually(60*time.Second, func() bool { return r.clients.acked.Load() >= 60 }) || !r.clients.probe(asking) {
		r.t.Error("void: no traffic before the faults")
	}
	r.report.Before = int(r.clients.acked.Load())
	r.breakThings(asking)
	stop()
	timer := time.AfterFunc(60*time.Second, giveUp)
	at.Wait()
	timer.Stop()
}

// breakThings kills until enough were killed.
func (r *chaos) breakThings(ctx context.Context) {
	places := slices.DeleteFunc(reachable(), func(p failpoint.Place) bool { return p.Role == "" })
	r.random.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	// A lease lapses only when a worker dies with work in its hands, which must
	// not be left to chance: the first kill is one that does.
	first := slices.IndexFunc(places, func(p failpoint.Place) bool { return p.Name == "worker.before_report" })
	places[0], places[first] = places[first], places[0]
	for step, next := 0, 0; r.report.Kills < *kills; step++ {
		began := time.Now()
		var what string
		switch {
		case step%9 == 1:
			what = "postgres"
			r.report.planned(what, r.killPostgres())
			r.report.last = began
		case step%9 == 4:
			what = "kafka"
			r.report.planned(what, r.kafka.kill(r.t))
			r.report.last = began
		case step%3 == 2:
			what = r.killAny()
		default:
			what = places[next%len(places)].Name
			r.killAt(places[next%len(places)])
			next++
		}
		probe, cancel := context.WithTimeout(ctx, 90*time.Second)
		supervised := make(chan struct{})
		go func() { defer close(supervised); r.supervise(probe) }()
		if !r.clients.probe(probe) {
			r.t.Errorf("after %s: the system does not work again within 90 s", what)
		}
		cancel()
		<-supervised
		r.report.recovered(time.Since(r.report.last))
		r.t.Logf("%3d kills: %s; works again %.1f s after it, %.1f s after the step began", r.report.Kills, what,
			time.Since(r.report.last).Seconds(), time.Since(began).Seconds())
		if r.t.Failed() {
			return
		}
	}
}

// reachable are the marks that processes with these settings can come by.
func reachable() []failpoint.Place {
	return slices.DeleteFunc(failpoint.Names(), func(p failpoint.Place) bool { return p.Name == expressMark && expressIsOff() })
}

// supervise starts what does not run, as an init system would, until the context
// ends.
func (r *chaos) supervise(ctx context.Context) {
	for r.revive(); pauseFor(ctx, 500*time.Millisecond); {
		r.revive()
	}
}

// killAny kills one process, or two at once.
func (r *chaos) killAny() string {
	var names []string
	for range 1 + r.random.IntN(2) {
		p := r.procs[r.random.IntN(len(r.procs))]
		if p.alive() {
			r.report.planned(p.roles, p.kill())
			names = append(names, p.name)
		}
	}
	return strings.Join(names, " and ")
}

// killAt lets a process of the mark's role die at the mark. What only one of two
// processes does, the other must first be taken away for.
func (r *chaos) killAt(place failpoint.Place) {
	pair := r.of(place.Role)
	i := r.random.IntN(len(pair))
	doomed, other := pair[i], pair[1-i]
	r.report.planned(doomed.roles, doomed.kill())
	doomed.start(armedAt(place.Name, "kill", hits(place.Name, r.random)))
	if place.Role == "relay" || place.Role == "handlers" {
		if doomed.ready(30 * time.Second) {
			r.report.planned(other.roles, other.kill())
		}
	}
	died := doomed.died(4 * time.Second)
	for try := 0; !died && try < 5; try++ {
		if strings.HasSuffix(place.Name, "_lapse") { // somebody's lease must lapse
			for _, w := range r.of("workers") {
				r.report.planned(w.roles, w.kill())
				w.start("")
			}
		}
		died = doomed.died(4 * time.Second)
	}
	if !died {
		doomed.kill() // not counted: it was not to die like that
	}
	r.report.planned(place.Name, died)
}

// hits is at which of its hits a mark kills: the first where they are rare.
func hits(name string, random *rand.Rand) int {
	switch {
	case strings.HasPrefix(name, "timer."), strings.HasSuffix(name, "_resume"), strings.HasSuffix(name, "_lapse"), name == "reaction.after_take", strings.HasSuffix(name, "_recover"):
		return 1
	}
	return 1 + random.IntN(12)
}

// quiesce waits until nothing is left to do: all runs have ended, everything is
// published and projected.
func (r *chaos) quiesce() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	supervised := make(chan struct{})
	go func() { defer close(supervised); r.supervise(ctx) }()
	defer func() { cancel(); <-supervised }()
	began := time.Now()
	last := uint64(0)
	if !eventually(100*time.Second, func() bool {
		running, err := r.clients.states(ctx, "running")
		if err != nil || len(running) > 0 {
			return false
		}
		head, low, err := r.positions(ctx)
		still := err == nil && head == low && head == last
		last = head
		return still
	}) {
		running, err := r.clients.states(ctx, "running")
		head, low, _ := r.positions(ctx)
		r.t.Errorf("the system does not come to rest: %d runs still run (%v); the log ends at %d, read models are at %d", len(running), err, head, low)
	}
	r.t.Logf("at rest after %.1f s", time.Since(began).Seconds())
}

// positions are the end of the log, and how far all read models are.
func (r *chaos) positions(ctx context.Context) (head, low uint64, err error) {
	conn, err := pgx.Connect(ctx, r.postgres.URL())
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(ctx) //nolint:errcheck // it was only asked
	err = conn.QueryRow(ctx, `select (select position from log), coalesce(min(greatest(position, mark)), 0)
		from projection_checkpoints join projection_builds b using (projection, build)
		where state = 'live' and version = (select max(version) from projection_builds where state = 'live' and projection = b.projection)`).Scan(&head, &low)
	return head, low, err
}

// judge lets the checker compare all sides.
func (r *chaos) judge() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	states, err := r.clients.states(ctx, "")
	if err != nil {
		r.t.Error(err)
	}
	judged, err := checker.Check(ctx, checker.Sources{
		Database: r.postgres.URL(), Brokers: []string{r.brokers}, Ledger: r.ledger,
		Commands: r.clients.commands, States: states,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.report.Judgement = judged
	if !judged.OK() {
		r.t.Error(judged)
	}
	if len(r.clients.refused) > 0 {
		r.t.Logf("odd answers while things broke: %v", r.clients.refused)
	}
}

// rebuild makes the read models anew, dying on both sides of the switch, and
// compares.
func (r *chaos) rebuild() {
	r.t.Helper()
	before, err := r.once("", "replay", "digest")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, at := range []string{"rebuild.before_switch", "rebuild.after_switch"} {
		_, err := r.once(armedAt(at, "kill", 1), "replay", "rebuild", "runs")
		r.report.planned(at, err != nil && strings.Contains(err.Error(), "signal: killed"))
	}
	if _, err := r.once("", "replay", "rebuild"); err != nil {
		r.t.Error(err)
	}
	after, err := r.once("", "replay", "digest")
	if err != nil {
		r.t.Fatal(err)
	}
	if before != after {
		r.t.Errorf("I5 the rebuilt read models differ from the live ones:\n%s\n%s", before, after)
	}
}

// restore rebuilds a second store from Kafka alone, dying in between, and lets
// the checker compare it with the topics too.
func (r *chaos) restore() {
	r.t.Helper()
	for _, p := range r.procs {
		p.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.postgres.URL())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the server ends anyway
	url := strings.Replace(r.postgres.URL(), "/hishamos?", "/restored?", 1)
	servers := r.servers
	r.servers = []string{"DATABASE_URL=" + url, "KAFKA_BROKERS=" + r.brokers}
	defer func() { r.servers = servers }()
	for _, at := range []string{"import.before_commit", "import.after_commit", ""} {
		for _, sql := range []string{"drop database if exists restored with (force)", "create database restored"} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				r.t.Fatal(err)
			}
		}
		armed := ""
		if at != "" {
			armed = armedAt(at, "kill", 1)
		}
		_, err := r.once(armed, "replay", "store-from-kafka")
		if at != "" {
			r.report.planned(at, err != nil && strings.Contains(err.Error(), "signal: killed"))
		} else if err != nil {
			r.t.Error(err)
		}
	}
	judged, err := checker.Check(ctx, checker.Sources{Database: url, Brokers: []string{r.brokers}, Ledger: r.ledger, Commands: r.clients.commands})
	if err != nil {
		r.t.Fatal(err)
	}
	if !judged.OK() || judged.Events != r.report.Judgement.Events {
		r.t.Errorf("the store rebuilt from Kafka, of %d events: %s", r.report.Judgement.Events, judged)
	}
}

// embedded kills the system on one machine while its own Postgres starts.
func (r *chaos) embedded() {
	r.t.Helper()
	servers := r.servers
	defer func() { r.servers = servers }()
	r.servers = []string{"HISHAMOS_DATA=" + filepath.Join(r.dir, "alone")}
	p := &process{c: r.cluster, name: "alone", roles: "api,relay,handlers,workers,projections"}
	p.start(armedAt("embedded.after_start", "kill", 1))
	r.report.planned("embedded.after_start", p.died(60*time.Second))
	p.start("")
	r.procs = append(r.procs, p)
	if !p.ready(60 * time.Second) {
		r.t.Error("the system on one machine does not come back after a kill during the start of its Postgres")
	}
	p.stop()
}

// verdict says whether the run proves anything, and writes the report.
func (r *chaos) verdict() {
	r.t.Helper()
	hit, killed := r.failpoints()
	r.report.Hit, r.report.KilledAt = len(hit), killed
	for _, p := range reachable() {
		if hit[p.Name] == 0 {
			r.report.Missed = append(r.report.Missed, p.Name)
		}
	}
	if *kills >= 20 && len(r.report.Missed) > 0 {
		r.t.Errorf("void: no process came by %s", strings.Join(r.report.Missed, ", "))
	}
	if share := r.report.confirmed(); share < 0.9 {
		r.t.Errorf("void: only %.0f %% of the planned faults happened", 100*share)
	}
	r.report.OK = !r.t.Failed()
	text := r.report.String()
	r.t.Log("\n" + text)
	if *reportFile == "" {
		return
	}
	if err := os.WriteFile(*reportFile, r.report.json(), 0o600); err != nil {
		r.t.Error(err)
	}
	if err := os.WriteFile(strings.TrimSuffix(*reportFile, ".json")+".txt", []byte(text), 0o600); err != nil {
		r.t.Error(err)
	}
}
