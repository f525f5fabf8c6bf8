package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/relay"
)

// drillDatabase is an empty database, of another log than all others: they are
// copies of one template.
func drillDatabase(t *testing.T) string {
	t.Helper()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	if _, err := pool.Exec(t.Context(), `update log set log_id = gen_random_uuid()`); err != nil {
		t.Fatal(err)
	}
	pool.Close()
	return url
}

func storeFromKafka(o *operation, ctx context.Context) error { return o.storeFromKafka(ctx) }

func TestWhenPostgresIsLostTheStoreIsRebuiltFromKafka(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay, (*node).runProjections)
	p.fill(100)
	p.must(p.setLevel(t.Context(), 1))
	before, head := p.quiesce(), p.head()
	p.stop()

	d.database = drillDatabase(t)
	p = d.open()
	var done recovered
	p.must(p.operation(&done, storeFromKafka))
	t.Logf("store-from-kafka: %s", done.pace)
	if done.Generation != 2 || done.Missing != 0 || done.Lost != 0 {
		t.Errorf("recovered %+v", done)
	}
	got := p.head()
	same(t, "log id", got.LogID, head.LogID)
	same(t, "heads", got.Hash, head.Hash)
	p.verifyAll()
	p.stop()

	p = d.start((*node).runRelay, (*node).runProjections)
	same(t, "digests", p.quiesce(), before)
	p.fill(1)
	p.quiesce()
	records := p.all()
	for _, r := range records[head.Position:] {
		if r.Generation != 2 {
			t.Errorf("position %d carries generation %d", r.Position, r.Generation)
		}
	}
	if len(records) == int(head.Position) {
		t.Error("nothing was appended")
	}
	p.verifyAll()
}

// publish puts records on a broker of its own, as a relay would, except those
// left out.
func publish(t *testing.T, records []events.Record, except ...domain.Position) (address string) {
	t.Helper()
	d := newDrill(t)
	p := d.open()
	p.must(p.reach(t.Context()))
	var topics []log.Topic
	for _, name := range relay.Topics() {
		topics = append(topics, log.Topic{Name: name, Partitions: 4})
	}
	p.must(p.log.Create(t.Context(), topics))
	var messages []log.Message
	last := make(map[log.Partition]domain.Position)
	for _, r := range records {
		if slices.Contains(except, r.Position) {
			continue
		}
		to := log.Partition{Topic: log.TopicOf(r.Type), ID: log.PartitionOf(string(r.Stream), 4)}
		messages = append(messages, log.Encode(log.Published{Record: r, Epoch: 3, PrevPos: last[to]}, 4))
		last[to] = r.Position
	}
	p.must(p.log.Publish(t.Context(), messages))
	return d.kafka
}

func TestAStoreIsRebuiltUpToTheFirstPositionThatKafkaLacks(t *testing.T) {
	t.Parallel()
	source := newDrill(t).start()
	source.fill(20)
	records := source.all()
	for name, c := range map[string]struct{ missing, last domain.Position }{
		"a whole append": {missing: wholeAppend(records, 40), last: wholeAppend(records, 40) - 1},
		"half an append": {missing: wholeAppend(records, 40) + 1, last: wholeAppend(records, 40) - 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Keys are not on Kafka: they come from their own backup.
			d := &drill{t: t, database: drillDatabase(t), data: t.TempDir(), kafka: publish(t, records, c.missing)}
			if err := os.CopyFS(filepath.Join(d.data, "keys"), os.DirFS(filepath.Join(source.cfg.Data, "keys"))); err != nil {
				t.Fatal(err)
			}
			p := d.open()
			var done recovered
			p.must(p.operation(&done, storeFromKafka))
			if done.Events != c.last || done.Missing != c.missing || done.Lost != len(records)-int(c.last)-1 || done.Epoch != 3 {
				t.Errorf("recovered %+v, want up to %d without %d", done, c.last, c.missing)
			}
			for _, l := range done.Behind {
				if l.Position <= c.last || l.ID != records[l.Position-1].ID() {
					t.Errorf("listed %+v", l)
				}
			}
			if got := p.head(); got.Position != c.last || got.Hash != records[c.last-1].Hash || got.Generation != 2 {
				t.Errorf("head %+v", got)
			}
			p.verifyAll()
			p.stop()

			// Nothing may be appended beside what Kafka holds, until it is given up.
			p = d.open()
			if err := p.connect(t.Context()); domain.KindOf(err) != domain.Unavailable {
				t.Fatalf("start beside events that were not imported: %v", err)
			}
			if err := p.operation(nil, func(o *operation, ctx context.Context) error { return o.kafkaFromStore(ctx, false) }); domain.KindOf(err) != domain.Conflict {
				t.Fatalf("kafka-from-store without force: %v", err)
			}
			p.must(p.operation(nil, func(o *operation, ctx context.Context) error { return o.kafkaFromStore(ctx, true) }))
			p.stop()
			p = d.start((*node).runRelay, (*node).runProjections)
			p.fill(2)
			p.quiesce()
			p.verifyAll()
			p.onKafkaAsInStore()
		})
	}
}

// wholeAppend is the first position, from one on, that begins an append of more
// than one event.
func wholeAppend(records []events.Record, from int) domain.Position {
	for _, r := range records[from:] {
		if r.Index == 0 && r.Count > 1 {
			return r.Position
		}
	}
	return 0
}

// onKafkaAsInStore fails if a position is on Kafka with another event than in
// the store, or not at all.
func (p *process) onKafkaAsInStore() {
	p.t.Helper()
	records := p.all()
	merged, err := relay.Merge(p.t.Context(), p.log, 0, func(k log.Published) error {
		if k.Hash != records[k.Position-1].Hash {
			p.t.Errorf("position %d was used twice", k.Position)
		}
		return nil
	})
	p.must(err)
	if int(merged.Last) != len(records) || merged.Lost > 0 {
		p.t.Errorf("Kafka holds %+v, the store %d", merged, len(records))
	}
}

func TestAStoreIsNotRebuiltWithoutTheFirstEvents(t *testing.T) {
	t.Parallel()
	source := newDrill(t).start()
	source.fill(2)
	d := &drill{t: t, database: drillDatabase(t), data: t.TempDir(), kafka: publish(t, source.all(), 1)}
	err := d.open().operation(nil, storeFromKafka)
	if domain.KindOf(err) != domain.Unavailable || !strings.Contains(err.Error(), "HISHAMOS_LOG_RETAIN=all") {
		t.Fatalf("store-from-kafka without the first event: %v", err)
	}
}

func TestAStoreThatHoldsEventsIsNotRebuilt(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start()
	p.fill(1)
	if err := p.operation(nil, storeFromKafka); !errors.Is(err, errStoreNotEmpty) {
		t.Fatalf("store-from-kafka on a store with events: %v", err)
	}
}

func TestDifferentHistoriesAreRefusedWithThePosition(t *testing.T) {
	t.Parallel()
	for name, runs := range map[string]int{"the store is as long": 20, "the store is shorter": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := newDrill(t).start()
			source.fill(20)
			d := newDrill(t) // of the same log: its database is another copy of the template
			p := d.start()
			p.fill(runs)
			head := p.head()
			p.stop()
			d.kafka = publish(t, source.all())
			p = d.open()
			err := p.connect(t.Context())
			if !errors.Is(err, relay.ErrDiverged) || !strings.Contains(err.Error(), "position ") {
				t.Fatalf("start on another history: %v", err)
			}
			if got := p.head(); got != head {
				t.Errorf("head is %+v, was %+v", got, head)
			}
		})
	}
}

func TestAnOldCopyOfPostgresCatchesUpFromKafka(t *testing.T) {
	t.Parallel()
	data, err := dataFolder(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load([]string{"HISHAMOS_DATA=" + data, "HISHAMOS_LOG_RETAIN=all", "HISHAMOS_LISTEN=127.0.0.1:0", express()})
	if err != nil {
		t.Fatal(err)
	}
	start := func() *process {
		p := openDrill(t, cfg)
		p.must(p.connect(t.Context()))
		p.run((*node).runRelay, (*node).runProjections)
		return p
	}
	p := start()
	p.fill(20)
	p.quiesce()
	old := p.position()
	p.stop()
	live, copied := filepath.Join(data, "postgres"), filepath.Join(data, "copy")
	copyFolder(t, live, copied)

	p = start()
	p.fill(500) // two commands each
	want, head := p.quiesce(), p.head()
	p.stop()
	if err := errors.Join(os.RemoveAll(live), os.Rename(copied, live)); err != nil {
		t.Fatal(err)
	}

	p = openDrill(t, cfg)
	if at := p.position(); at != old {
		t.Fatalf("the copy ends at %d, not %d", at, old)
	}
	p.must(p.connect(t.Context()))
	if got := p.head(); got.Position != head.Position || got.Hash != head.Hash {
		t.Errorf("caught up to %+v, want %+v", got, head)
	}
	p.run((*node).runRelay, (*node).runProjections)
	same(t, "digests", p.quiesce(), want)
	p.fill(5)
	p.quiesce()
	p.verifyAll()
	p.onKafkaAsInStore()
}

// fallBack makes the database under running processes what it was at a position,
// as a failover to an old copy does, and cuts all connections.
func (p *process) fallBack(to domain.Position) {
	p.t.Helper()
	for _, sql := range []string{
		`update log set (position, hash, recorded) = (select position, hash, recorded from events where position = $1)`,
		`delete from commands where first > $1`,
		`delete from stream_heads h where not exists (select 1 from events e where e.stream = h.stream and e.position <= $1)`,
		`update stream_heads h set version = (select max(sequence) from events e where e.stream = h.stream and e.position <= $1)`,
		`delete from events where position > $1`,
	} {
		_, err := p.owner().Exec(p.t.Context(), sql, int64(to))
		p.must(err)
	}
	_, err := p.owner().Exec(p.t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
		and application_name = 'hishamos append'`)
	p.must(err)
}

func TestAFailoverToAnOldCopyUnderARunningProcessUsesNoPositionTwice(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay, (*node).runProjections)
	p.fill(20)
	p.quiesce()
	records := p.all()
	p.fallBack(wholeAppend(records, 40) - 1)
	// The first command may find its connection cut in the middle.
	c := startDrill(drillRun())
	p.eventually("commands are accepted again", func() bool {
		_, err := p.dispatcher.Do(t.Context(), commands.Request{ID: "after the failover", Principal: system("drill"), Command: c})
		return err == nil
	})
	for i, r := range p.all()[:len(records)] {
		if r.Hash != records[i].Hash {
			t.Fatalf("position %d was used twice", r.Position)
		}
	}
	p.quiesce()
	p.verifyAll()
	p.onKafkaAsInStore()
}
