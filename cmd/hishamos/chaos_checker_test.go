package main_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/checker"
)

// checkerBites falsifies, one by one, what the checker has found right, and
// expects it to name the rule. A checker that finds nothing proves nothing.
func checkerBites(t *testing.T, c *cluster, l *clients, states map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // the server ends anyway
	do := func(statements ...string) {
		t.Helper()
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	do(`create table events_kept as table events`, `create table commands_kept as table commands`)
	ledger, err := os.ReadFile(c.ledger)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSpace(string(ledger)), "\n")
	at := len(lines) - 1 // the last call that was answered, and so recorded
	for strings.Contains(lines[at], `"error"`) || !strings.Contains(lines[at], "/1/1\"") {
		at--
	}
	invented := "\n" + strings.Replace(lines[at], "/1/1\"", "/7/1\"", 1)
	var run string
	for run = range states {
		break
	}
	for _, lie := range []struct {
		name, rule, sql string
		ledger          []string
		sources         func(*checker.Sources)
	}{
		{name: "nothing", rule: ""},
		{name: "a flipped bit", rule: checker.Chained, sql: `update events set data = set_byte(data, 1, get_byte(data, 1) # 1) where position = 20`},
		{name: "another actor", rule: checker.Chained, sql: `update events set actor = '' where position = 20`},
		{name: "a lost event", rule: checker.Dense, sql: `delete from events where position = 30`},
		{name: "a lost tail", rule: checker.Dense, sql: `delete from events where position > (select max(position) - 3 from events)`},
		{name: "a lost command", rule: checker.Acknowledged, sql: `delete from commands where command = 'key:` + l.commands[9].Key + `'`},
		{name: "a command done twice", rule: checker.Repeated, sql: `update events set command = (select command from events where position = 12) where position in (select position from events where index = 0 and count = 1 and position > 40 limit 1)`},
		{name: "a run that never ended", rule: checker.Ended, sql: `update events set type = 'run.step_skipped' where position = (select max(position) from events where type = 'run.completed')`},
		{name: "another state", rule: checker.Ended, sources: func(s *checker.Sources) { s.States = maps.Clone(states); s.States[run] = "running" }},
		{name: "a lost record", rule: checker.Published, sql: `insert into events select position + 1, log_id, generation, stream, sequence + 1, tenant, type, version, time, recorded,
			correlation, causation, command, index, count, claims, actor, decidedby, forkedfrom, traceparent, keyids, data, prevhash, hash from events order by position desc limit 1`},
		{name: "another record", rule: checker.Published, sql: `update events set hash = sha256('lie') where position = 25`},
		{name: "a second call", rule: checker.Accounted, ledger: append(slices.Clone(lines), "\n"+lines[at])},
		{name: "a call nobody made", rule: checker.Accounted, ledger: slices.Delete(slices.Clone(lines), at, at+1)},
		{name: "a call nobody recorded", rule: checker.Accounted, ledger: append(slices.Clone(lines), invented)},
		{name: "another answer", rule: checker.Repeated, sources: func(s *checker.Sources) {
			s.Commands = slices.Clone(l.commands)
			s.Commands[3].Repeats = []string{"201 {}"}
		}},
		{name: "an answer without an effect", rule: checker.Acknowledged, sources: func(s *checker.Sources) {
			s.Commands = append(slices.Clone(l.commands), checker.Command{Key: "never", Acked: true, Status: 201})
		}},
	} {
		s := checker.Sources{Database: c.postgres.URL(), Ledger: c.ledger, Commands: l.commands, States: states}
		if lie.rule == "" || lie.rule == checker.Published { // reading the topics takes seconds
			s.Brokers = []string{c.brokers}
		}
		if lie.sources != nil {
			lie.sources(&s)
		}
		if lie.ledger != nil {
			s.Ledger = filepath.Join(c.dir, "lie.jsonl")
			if err := os.WriteFile(s.Ledger, []byte(strings.Join(lie.ledger, "")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if lie.sql != "" {
			do(lie.sql)
		}
		judged, err := checker.Check(ctx, s)
		switch {
		case err != nil:
			t.Errorf("%s: %v", lie.name, err)
		case lie.rule == "" && !judged.OK():
			t.Errorf("%s was changed, and yet: %s", lie.name, judged)
		case lie.rule != "" && judged.Violations[lie.rule] == nil:
			t.Errorf("%s is not seen as a violation of %q: %s", lie.name, lie.rule, judged)
		}
		if lie.sql != "" {
			do(`truncate events`, `insert into events table events_kept`, `truncate commands`, `insert into commands table commands_kept`)
		}
	}
}
