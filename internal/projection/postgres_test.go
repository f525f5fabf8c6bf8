package projection_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/lock"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/projection/postgres"
)

// tablesSQL makes the tables of the test projection.
const tablesSQL = `
create table test_secrets (build integer, token text collate "C", secrets json, revoked boolean, valid_from bigint, primary key (build, token));
create table test_secrets_history (build integer, token text collate "C", secrets json, revoked boolean, valid_from bigint, valid_to bigint);
create table test_tallies (build integer, name text, count bigint, primary key (build, name))`

func tables(t *testing.T) (string, *pgxpool.Pool) {
	t.Helper()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	if _, err := pool.Exec(t.Context(), tablesSQL+`; select protect_tables()`); err != nil {
		t.Fatal(err)
	}
	return url, pool
}

func TestRowsThatTheDatabaseRefusesParkOnlyTheirStream(t *testing.T) {
	t.Parallel()
	_, pool := tables(t)
	if _, err := pool.Exec(t.Context(), `alter table test_secrets add check (secrets::text not like '%refused%')`); err != nil {
		t.Fatal(err)
	}
	k := newKit(t, 1, postgres.New(pgtest.AsWriter(t, pool)))
	bad, good := k.stream(), k.stream()
	f := k.feedOf(bad)
	k.publish(good, issued("one"))
	k.publish(bad, issued("one"), rotated("refused"))
	k.publish(good, rotated("two"))
	k.step(f)
	if got, _ := k.row(good); len(got.Secrets) != 2 {
		t.Errorf("the healthy stream stands at %v", got.Secrets)
	}
	st := k.status()
	if len(st.Parked) != 1 || st.Parked[0].Stream != bad || !strings.Contains(st.Parked[0].Cause, "check constraint") {
		t.Errorf("status: %+v", st)
	}
	if got := k.tally(); got != 2 {
		t.Errorf("tally is %d, want 2: only the healthy stream counts", got)
	}
	if _, err := pool.Exec(t.Context(), `alter table test_secrets drop constraint test_secrets_secrets_check`); err != nil {
		t.Fatal(err)
	}
	if err := k.runner.Requeue(t.Context(), "secrets", bad); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Requeue(t.Context()); n != 1 || err != nil {
		t.Errorf("requeue: %d, %v", n, err)
	}
	k.rebuiltIsLive()
}

func TestARowThatShouldNotBeThereDoesNotStopABatch(t *testing.T) {
	t.Parallel()
	_, pool := tables(t)
	k := newKit(t, 1, postgres.New(pgtest.AsWriter(t, pool)))
	s := k.stream()
	if _, err := pool.Exec(t.Context(), `insert into test_secrets (build, token) select build, $1 from projection_builds where projection = 'secrets'`, s); err != nil {
		t.Fatal(err)
	}
	k.publish(s, issued("one"))
	k.step(k.feedOf(s))
	if got, ok := k.row(s); !ok || len(got.Secrets) != 1 {
		t.Errorf("the row is %v, %v", got, ok)
	}
	if st := k.status(); len(st.Parked) > 0 || k.tally() != 1 {
		t.Errorf("status: %+v, tally %d", st, k.tally())
	}
	k.rebuiltIsLive()
}

// entry is a row of a journal.
type entry struct {
	Name     string          `db:"name,key"`
	Position domain.Position `db:"position,key"`
	Count    int64           `db:"count"`
}

// What an append adds to a journal is its own row, and one that is there already
// all the same, for half of the append came in the batch before, grows.
func TestAnAppendThatIsSplitAddsToItsRowOfAJournal(t *testing.T) {
	t.Parallel()
	_, pool := tables(t)
	_, err := pool.Exec(t.Context(), `create table test_journal (build integer, name text, position bigint, count bigint, primary key (build, name, position));
select protect_tables()`)
	if err != nil {
		t.Fatal(err)
	}
	journal := projection.NewCounter[entry]("test_journal")
	if !journal.Journal {
		t.Error("a counter whose key has the position is no journal")
	}
	store := postgres.New(pgtest.AsWriter(t, pool))
	build, fence, err := store.Begin(t.Context(), "journal", 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, rows := range [][]any{{&entry{"a", 7, 1}}, {&entry{"a", 7, 2}, &entry{"a", 8, 4}}} {
		err := store.Commit(t.Context(), projection.Changes{
			Build: build, Fence: fence, Checkpoint: projection.Checkpoint{Offset: -1, Batch: int64(i)},
			Tables: []projection.TableChanges{{Table: journal.Schema, Sums: rows}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var got string
	if err := pool.QueryRow(t.Context(), `select string_agg(position || '=' || count, ' ' order by position) from test_journal`).Scan(&got); err != nil || got != "7=3 8=4" {
		t.Errorf("the journal holds %q, %v", got, err)
	}
}

func TestAFormerOwnerCannotWriteToPostgres(t *testing.T) {
	t.Parallel()
	_, pool := tables(t)
	k := newKit(t, 1, postgres.New(pgtest.AsWriter(t, pool)))
	s := k.stream()
	zombie := k.feedOf(s)
	k.publish(s, issued("one"))
	k.step(k.feedOf(s))
	k.publish(s, rotated("two"))
	if _, err := zombie.Step(t.Context()); err == nil {
		t.Error("the zombie wrote")
	}
	k.step(k.feedOf(s))
	if got := k.tally(); got != 2 {
		t.Errorf("tally is %d, want 2", got)
	}
	k.rebuiltIsLive()
}

func TestACommitDoesNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	_, pool := tables(t)
	// The trigger notes the setting of the transaction that writes the rows.
	_, err := pool.Exec(t.Context(), `
create table seen (setting text);
select protect_tables();
create function note() returns trigger language plpgsql as $$ begin
    insert into seen values (current_setting('synchronous_commit')); return new; end $$;
create trigger note before insert on test_secrets for each row execute function note()`)
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t, 1, postgres.New(pgtest.AsWriter(t, pool)))
	s := k.stream()
	f := k.feedOf(s)
	k.publish(s, issued("one"))
	k.step(f)
	var seen string
	if err := pool.QueryRow(t.Context(), `select string_agg(setting, ',') from seen`).Scan(&seen); err != nil || seen != "off" {
		t.Errorf("synchronous_commit was %q, %v", seen, err)
	}
	if err := pool.QueryRow(t.Context(), `show synchronous_commit`).Scan(&seen); err != nil || seen == "off" {
		t.Errorf("the connection keeps synchronous_commit %q, %v", seen, err)
	}
}

// session holds the locks of one process.
func session(t *testing.T, url string) *lock.Session {
	t.Helper()
	s, err := lock.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Log(err)
		}
	})
	return s
}

func TestProcessesShareThePartitionsAndTakeOverFromTheDead(t *testing.T) {
	t.Parallel()
	url, pool := tables(t)
	store := postgres.New(pgtest.AsWriter(t, pool))
	k := newKit(t, 8, store)
	var processes sync.WaitGroup
	defer processes.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	start := func(name string) (*projection.Runner, context.CancelFunc, chan error) {
		r, err := projection.New(projection.Config{
			Definitions: []*projection.Definition{k.def}, Store: store, Log: k.world.Log, Events: k.events, Locks: session(t, url),
			Process: name, Mark: func(context.Context) (log.Mark, error) { return log.Mark{}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		one, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		processes.Go(func() { ended <- r.Run(one) })
		return r, cancel, ended
	}
	here := func(r *projection.Runner) int {
		s, err := r.Status(t.Context(), "secrets")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, p := range s.Partitions {
			if p.Here {
				n++
			}
		}
		return n
	}
	first, kill, ended := start("first")
	second, _, _ := start("second")
	until(t, "each follows half", func() bool { return here(first) == 4 && here(second) == 4 })
	var streams []domain.StreamID
	for range 40 {
		s := k.stream()
		streams = append(streams, s)
		k.publish(s, issued("one"))
	}
	until(t, "all are applied", func() bool { return k.tally() == 40 })
	if _, alone := second.Edition("secrets"); alone {
		t.Error("one of two takes itself for the only one that changes rows")
	}
	kill()
	if err := <-ended; err != nil {
		t.Errorf("the first process ended with %v", err)
	}
	until(t, "the second follows all", func() bool { return here(second) == 8 })
	for _, s := range streams {
		k.publish(s, rotated("two"))
	}
	until(t, "all are applied once", func() bool { return k.tally() == 80 })
	k.rebuiltIsLive()
}

func TestWhoeverWaitsDoesNotWaitForABatchToFill(t *testing.T) {
	t.Parallel()
	url, pool := tables(t)
	store := postgres.New(pgtest.AsWriter(t, pool))
	k := newKit(t, 1, store)
	r, err := projection.New(projection.Config{
		Definitions: []*projection.Definition{k.def}, Store: store, Log: k.world.Log, Events: k.events, Locks: session(t, url), Linger: time.Hour,
		Process: "one", Mark: func(context.Context) (log.Mark, error) { return log.Mark{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	s := k.stream()
	at := k.publish(s, issued("one"))
	for range 20 {
		if err := r.WaitFor(ctx, "secrets", at); err != nil {
			t.Fatalf("position %d: %v", at, err)
		}
		before, alone := r.Edition("secrets")
		at = k.publish(s, rotated("more"))
		if err := r.WaitFor(ctx, "secrets", at); err != nil {
			t.Fatalf("position %d: %v", at, err)
		}
		if after, still := r.Edition("secrets"); !alone || !still || after == before {
			t.Fatalf("edition %d (alone %t), and %d (%t) after a change", before, alone, after, still)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// until waits for other processes, which can only be asked.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestRequestsToRequeueReachTheOwner(t *testing.T) {
	t.Parallel()
	url, pool := tables(t)
	k := newKit(t, 1, postgres.New(pgtest.AsWriter(t, pool)))
	r, err := projection.New(projection.Config{
		Definitions: []*projection.Definition{k.def}, Store: postgres.New(pgtest.AsWriter(t, pool)), Log: k.world.Log,
		Events: k.events, Locks: session(t, url), Process: "owner", Mark: func(context.Context) (log.Mark, error) { return k.world.Published(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() { stop(); <-ended }()
	s := k.stream()
	k.publish(s, issued("one"), rotated(poison))
	until(t, "the stream is parked", func() bool { return len(k.status().Parked) == 1 })
	k.mended.Store(true)
	if err := k.runner.Requeue(t.Context(), "secrets", s); err != nil {
		t.Fatal(err)
	}
	until(t, "the stream is whole", func() bool { return len(k.status().Parked) == 0 })
	if got, _ := k.row(s); !slices.Equal(got.Secrets, []string{"one", poison}) {
		t.Errorf("secrets are %v", got.Secrets)
	}
}

func TestARebuildSwitchesUnderARunningProcess(t *testing.T) {
	t.Parallel()
	url, pool := tables(t)
	k := newKit(t, 2, postgres.New(pgtest.AsWriter(t, pool)))
	r, err := projection.New(projection.Config{
		Definitions: []*projection.Definition{k.def}, Store: postgres.New(pgtest.AsWriter(t, pool)), Log: k.world.Log,
		Events: k.events, Locks: session(t, url), Process: "one", Mark: func(context.Context) (log.Mark, error) { return log.Mark{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() { stop(); <-ended }()
	for i := range 300 {
		k.publish(k.stream(), issued(fmt.Sprint(i)), rotated("two"), events.TokenRevoked{})
		if i%100 == 50 {
			if err := r.Rebuild(t.Context(), "secrets"); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "all is applied", func() bool { return k.tally() == 600 })
	k.rebuiltIsLive()
	var left int
	if err := pool.QueryRow(t.Context(), `select count(*) from test_secrets where build <> $1`, k.build().Number).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d rows of old builds are left, %v", left, err)
	}
}
