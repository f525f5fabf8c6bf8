package main_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/internal/checker"
)

// TestAStoppedAppenderDoesNotHoldOthersUp stops a process while it holds the
// append lock. It is not parallel: it measures time.
func TestAStoppedAppenderDoesNotHoldOthersUp(t *testing.T) {
	c := newCluster(t, nil)
	c.add("all", "api,relay,projections")
	c.startAll()
	stopped := c.add("stopped", "api")
	stopped.start(armedAt("append.locked", "stop", 1))
	if !stopped.ready(60 * time.Second) {
		t.Fatal("the second process does not serve")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	l := newClients(c)
	others, its := l.addresses[0], l.addresses[1]
	l.addresses = []string{others}
	l.define(ctx)

	// A request to the process that will stop; it must end as if nothing had been.
	held := checker.Command{Key: uuid.NewString()}
	var asked sync.WaitGroup
	asked.Go(func() {
		one := &clients{t: t, addresses: []string{its}, token: l.token, http: l.http, refused: map[string]int{}}
		r, ok := one.insist(ctx, http.MethodPost, "/api/v1/workflows/chaos-branch/runs", held.Key, `{"inputs":{"n":1}}`)
		if !ok || r.status != http.StatusCreated {
			t.Errorf("the stopped process answered %d %s", r.status, r.body)
		}
	})
	if !eventually(20*time.Second, func() bool { return hasStopped(stopped) }) {
		t.Fatal("the process did not stop with the lock")
	}
	other := &clients{t: t, addresses: []string{others}, token: l.token, http: l.http, refused: map[string]int{}}
	began := time.Now()
	if _, ok := other.branch(ctx); !ok {
		t.Fatal("nobody can append")
	}
	took := time.Since(began)
	t.Logf("another process appended after %.2f s", took.Seconds())
	if took > 3*time.Second {
		t.Errorf("another process had to wait %s for a stopped one, more than 3 s", took)
	}
	for range 20 {
		other.branch(ctx)
	}
	stopped.signal(syscall.SIGCONT)
	asked.Wait()
	l.commands = append(l.commands, other.commands...)
	judged, err := checker.Check(ctx, checker.Sources{Database: c.postgres.URL(), Commands: l.commands})
	if err != nil {
		t.Fatal(err)
	}
	delete(judged.Violations, checker.Ended) // nobody works here
	if !judged.OK() {
		t.Error(judged)
	}
}

// hasStopped reports whether SIGSTOP has taken effect.
func hasStopped(p *process) bool {
	pid, _, _ := p.state()
	return processState(pid) == "T"
}

// TestWorkGoesOnAfterItsPeopleAreKilled kills the worker, the handlers, and both,
// while runs are in flight. The times are printed, not judged.
func TestWorkGoesOnAfterItsPeopleAreKilled(t *testing.T) {
	c := newCluster(t, nil)
	c.add("front", "api,relay,projections")
	handlers := []*process{c.add("handlers-1", "handlers"), c.add("handlers-2", "handlers")}
	workers := []*process{c.add("workers-1", "workers"), c.add("workers-2", "workers")}
	c.startAll()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	l := newClients(c)
	l.define(ctx)
	for _, killed := range [][]*process{workers, handlers, append(handlers[:2:2], workers...)} {
		var ids []string
		for i := range 20 {
			a, ok := l.command(ctx, http.MethodPost, "/api/v1/workflows/two-step/runs", fmt.Sprintf(`{"inputs":{"notes":"Depot %d gets six vans."}}`, i))
			if !ok {
				t.Fatal("a run cannot be started")
			}
			ids = append(ids, a.ID)
		}
		for _, p := range killed {
			if !p.kill() {
				t.Fatalf("%s cannot be killed", p.name)
			}
		}
		began := time.Now()
		c.revive()
		for _, id := range ids {
			if !l.finished(ctx, id, 25*time.Millisecond) {
				t.Fatalf("run %s does not end", id)
			}
		}
		t.Logf("%d processes of %s… killed: all 20 runs had ended %.2f s later", len(killed), killed[0].name, time.Since(began).Seconds())
	}
	states, err := l.states(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	judged, err := checker.Check(ctx, checker.Sources{Database: c.postgres.URL(), Ledger: c.ledger, Commands: l.commands, States: states})
	if err != nil {
		t.Fatal(err)
	}
	if !judged.OK() {
		t.Error(judged)
	}
	t.Log(judged)
	if len(judged.Violations) == 0 {
		for _, p := range c.procs {
			p.stop()
		}
		checkerBites(t, c, l, states)
	}
}
