package main_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/log/kafka"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/projections"
)

// TestTwoBuildsRunSideBySide runs this build and the next one, made with the tag
// next, against one Postgres and one Kafka under load, upgrades from one to the
// other, and lets the checker judge. It is not parallel: it takes the machine.
func TestTwoBuildsRunSideBySide(t *testing.T) {
	kafka := needKafka(t)
	c := newCluster(t, kafka)
	old, next := c.bin, build(t, "failpoints,next")
	u := &upgrade{chaos{cluster: c, random: rand.New(rand.NewPCG(1, 1)), report: newReport(1, 0)}}
	for _, p := range [][3]string{
		{"old-front", "api,relay,projections", old},
		{"next-front", "api,relay,projections", next},
		{"old-handlers", "handlers,workers", old},
		{"next-handlers", "handlers,workers", next},
	} {
		u.add(p[0], p[1]).bin = p[2]
	}
	u.startAll()
	u.clients = newClients(c)
	asking, giveUp := context.WithTimeout(context.Background(), 4*time.Minute)
	defer giveUp()
	u.clients.define(asking)
	ctx, stop := context.WithCancel(asking)
	defer stop()
	var at sync.WaitGroup
	for range 8 {
		at.Go(func() { u.clients.work(ctx, asking) })
	}
	u.progress(asking, "the builds run side by side", 20)
	for _, p := range u.procs { // each build loses a process, and the other goes on
		if !p.kill() {
			t.Fatalf("%s cannot be killed", p.name)
		}
		p.start("")
		u.progress(asking, p.name+" was killed", 5)
	}
	if n := u.count(asking, `select count(*) from events where `+ofNext); n > 0 {
		t.Errorf("%d events of the next build were written while the level of the log is 1", n)
	}

	// The old build goes, and the operator raises the level.
	oldFront, oldHandlers := u.procs[0], u.procs[2]
	oldFront.stop()
	oldHandlers.stop()
	u.clients.only(u.procs[1])
	if out, err := u.once("", "log", "level", "2"); err == nil {
		t.Errorf("the old build raised the level to one it does not know: %s", out)
	}
	c.bin = next
	if _, err := u.once("", "log", "level", "2"); err != nil {
		t.Fatal(err)
	}
	if !eventually(30*time.Second, func() bool {
		return u.count(asking, `select count(distinct type) from events where `+ofNext) == 2
	}) {
		t.Error("the next build does not write what the level allows")
	}

	// Somebody starts the old build again: it leaves what it does not know alone.
	oldHandlers.start("")
	u.procs[3].stop()
	if !eventually(30*time.Second, func() bool { return strings.Contains(oldHandlers.lastLines(200), "upgrade this process") }) {
		t.Errorf("the old build does not report what it does not know:\n%s", oldHandlers.lastLines(20))
	}
	u.untouched(asking)
	oldHandlers.stop()
	u.procs[3].start("")
	u.progress(asking, "the old build has gone", 10)
	stop()
	at.Wait()
	u.procs = []*process{u.procs[1], u.procs[3]}
	u.quiesce()
	u.untouched(asking)
	u.judge()

	before, err := u.once("", "replay", "digest")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"replay", "rebuild"}, {"verify", "--full"}} {
		if _, err := u.once("", args...); err != nil {
			t.Error(err)
		}
	}
	after, err := u.once("", "replay", "digest")
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("the rebuilt read models differ from the live ones:\n%s\n%s", before, after)
	}
	version := projections.RunsDefinition().Version + 1 // what the tag next makes of it
	if n := u.count(asking, `select count(*) from projection_builds where projection = 'runs' and version = $1 and state = 'live'`, version); n != 1 {
		t.Errorf("%d live builds of the next version of the read model runs", n)
	}
}

// ofNext selects what only the next build can write: a type, and a version of one.
const ofNext = `(type = 'run.noted' or type = 'run.cancelled' and version = 2)`

// upgrade is one run of the drill.
type upgrade struct{ chaos }

// progress waits until further commands were acknowledged and a fresh run has
// come to its end.
func (u *upgrade) progress(ctx context.Context, when string, commands int64) {
	u.t.Helper()
	patience, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	until := u.clients.acked.Load() + commands
	if !eventually(45*time.Second, func() bool { return u.clients.acked.Load() >= until }) || !u.clients.probe(patience) {
		u.t.Fatalf("%s: the system does not work; odd answers: %v", when, u.clients.refused)
	}
}

func (u *upgrade) count(ctx context.Context, sql string, args ...any) (n int) {
	u.t.Helper()
	conn, err := pgx.Connect(ctx, u.postgres.URL())
	if err != nil {
		u.t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // it was only asked
	if err := conn.QueryRow(ctx, sql, args...).Scan(&n); err != nil {
		u.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// untouched fails if anything was parked or dead-lettered.
func (u *upgrade) untouched(ctx context.Context) {
	u.t.Helper()
	if n := u.count(ctx, `select count(*) from projection_parked`); n > 0 {
		u.t.Errorf("%d streams are parked", n)
	}
	l, err := kafka.Open(ctx, kafka.Options{Brokers: []string{u.brokers}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		u.t.Fatal(err)
	}
	letters, err := reaction.Letters(ctx, l, "advance_run")
	if err := l.Close(); err != nil {
		u.t.Error(err)
	}
	if err != nil || len(letters) > 0 {
		u.t.Errorf("dead letters: %v, %v", letters, err)
	}
}
