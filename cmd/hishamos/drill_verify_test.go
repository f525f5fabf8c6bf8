package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/log"
)

func TestVerifyNamesThePositionThatWasTamperedWith(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sql   string
		wrong domain.Position
	}{
		"a flipped byte": {`update events set data = set_byte(data, 3, get_byte(data, 3) # 1) where position = 5`, 5},
		"a dropped row":  {`delete from events where position = 6`, 7},
		"a cut end":      {`delete from events where position > 9`, 10},
		"two rows in another order": {`update events set position = case position when 8 then 4999999 else 8 end where position in (8, 9);
			update events set position = 9 where position = 4999999`, 8},
		"an inserted row": {`update events set position = position + 1000000 where position > 5;
			update events set position = position - 1000000 + 1 where position > 1000000;
			insert into events select 6, log_id, generation, stream, sequence, tenant, type, version, time, recorded, correlation, causation,
				command, index, count, claims, actor, decidedby, forkedfrom, traceparent, keyids, data, prevhash, hash from events where position = 5`, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newDrill(t).open()
			p.fill(3)
			p.verifyAll()
			_, err := p.owner().Exec(t.Context(), c.sql)
			p.must(err)
			var v verified
			err = p.operation(&v, func(o *operation, ctx context.Context) error { return o.verify(ctx, verification{full: true}) })
			if err == nil || v.OK || v.Wrong != c.wrong || v.Anchors != selfAnchored {
				t.Errorf("verify: %+v, %v; want position %d", v, err, c.wrong)
			}
		})
	}
}

func TestVerifySaysThatItKnowsNotWhatNewerEventsName(t *testing.T) {
	t.Parallel()
	p := newDrill(t).open()
	p.fill(1)
	p.raw(drillRun(), "run.dreamt", 1, `{}`)
	p.raw(drillRun(), (events.RunStarted{}).EventType(), 99, `{}`)
	v := p.verifyAll()
	if v.Unknown != 2 || v.Position != p.position() {
		t.Errorf("verified %+v", v)
	}
}

// The chain was found whole; what is gone when keys and blobs are looked up was
// taken away meanwhile.
func TestVerifyLooksUpTheKeysAndBlobsOfEveryEvent(t *testing.T) {
	t.Parallel()
	p := newDrill(t).open()
	p.fill(1)
	head := p.position()
	_, err := p.owner().Exec(t.Context(), `delete from events where position > 2`)
	p.must(err)
	var wrong *events.ChainError
	err = p.operation(nil, func(o *operation, ctx context.Context) error {
		_, err := o.verifyKeys(ctx, 0, head)
		return err
	})
	if !errors.As(err, &wrong) || wrong.Position != 3 {
		t.Errorf("the log ends at position 2 of %d: %v", head, err)
	}
}

func TestVerifyGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	p := newDrill(t).open()
	p.fill(3)
	p.verifyAll()
	before := p.position()
	p.fill(2)
	_, err := p.owner().Exec(t.Context(), `update events set actor = '' where position = 2`)
	p.must(err)
	var v verified
	p.must(p.operation(&v, func(o *operation, ctx context.Context) error { return o.verify(ctx, verification{}) }))
	if v.From != before || v.Position != p.position() {
		t.Errorf("verified %+v, want from %d to %d", v, before, p.position())
	}
	if err := p.operation(nil, func(o *operation, ctx context.Context) error { return o.verify(ctx, verification{full: true}) }); err == nil {
		t.Error("--full did not begin at the first event")
	}
}

func TestEveryProcessFollowsTheLevelOfTheLog(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	old, p := d.start((*node).follower), d.start()
	_, err := p.owner().Exec(t.Context(), `update log set level = 0`)
	p.must(err)
	old.eventually("the level is followed down", func() bool { return old.level.Load() == 0 })
	if err := old.startRun(); err == nil {
		t.Error("an event type above the level was written")
	}
	p.must(p.setLevel(t.Context(), events.Level))
	old.eventually("the level is followed up", func() bool { return old.level.Load() == events.Level })
	old.must(old.startRun())
	if level, err := p.recordedLevel(t.Context()); level != events.Level || err != nil {
		t.Errorf("the log says level %d, %v", level, err)
	}
	if err := p.setLevel(t.Context(), events.Level+1); domain.KindOf(err) != domain.Invalid {
		t.Errorf("a level beyond the build: %v", err)
	}
}

func (p *process) startRun() error {
	_, err := p.dispatcher.Do(p.t.Context(), commands.Request{ID: domain.CommandID(uuid.NewString()), Principal: system("drill"), Command: startDrill(drillRun())})
	return err
}

// follower is a process that does nothing but follow the log's settings.
func (n *node) follower(ctx context.Context) error { n.watchSettings(ctx); return nil }

func TestTheEmbeddedLogKeepsItsSizeAndTheNewestRecords(t *testing.T) {
	t.Parallel()
	d := newDrill(t, "HISHAMOS_LOG_RETAIN=2MB")
	d.kafka = "" // the embedded one, in a folder
	cfg := d.config()
	p := openDrill(t, cfg)
	p.must(p.connect(t.Context()))
	p.run((*node).runRelay, (*node).runProjections)
	token := func(i int) domain.StreamID {
		return domain.NamedStreamID(domain.DefaultTenant, "token", fmt.Sprint(i))
	}
	for i := range 60 {
		p.rotations(token(i%8), 1000)
	}
	digests, ends := p.quiesce(), p.ends()
	size := func() (n int64) {
		segments, err := p.broker.Segments()
		p.must(err)
		for _, s := range segments {
			n += s.Bytes
		}
		return n
	}
	if size() < 3<<20 {
		t.Fatalf("the log holds %d bytes, too few to trim", size())
	}
	p.must(p.trim(t.Context()))
	if size() > 2<<20 {
		t.Errorf("the log holds %d bytes after trimming", size())
	}
	same(t, "newest records", p.ends(), ends)
	p.stop()

	p = openDrill(t, cfg)
	p.must(p.connect(t.Context()))
	p.run((*node).runRelay, (*node).runProjections)
	p.rotations(token(0), 1)
	p.quiesce()
	same(t, "read models of runs", p.quiesce()["runs"], digests["runs"])
}

// ends are the positions of the newest records.
func (p *process) ends() map[log.Partition]domain.Position {
	p.t.Helper()
	out := make(map[log.Partition]domain.Position)
	for id := range int32(4) {
		at := log.Partition{Topic: log.TopicOf("token.rotated"), ID: id}
		m, ok, err := p.log.Last(p.t.Context(), at)
		p.must(err)
		if ok {
			r, err := log.Decode(m)
			p.must(err)
			out[at] = r.Position
		}
	}
	return out
}

func TestTrimmingTakesTheOldestFilesOfTheLargestPartitions(t *testing.T) {
	t.Parallel()
	segments := []embedded.Segment{
		{Topic: "a", Partition: 0, Base: 0, Bytes: 50},
		{Topic: "a", Partition: 0, Base: 10, Bytes: 50},
		{Topic: "a", Partition: 0, Base: 20, Bytes: 5},
		{Topic: "a", Partition: 1, Base: 0, Bytes: 60},
		{Topic: "a", Partition: 1, Base: 7, Bytes: 1},
		{Topic: "b", Partition: 0, Base: 0, Bytes: 500}, // the file it writes to
	}
	before, freed := cut(segments, 600)
	same(t, "cuts", before, map[log.Partition]int64{{Topic: "a", ID: 0}: 10, {Topic: "a", ID: 1}: 7})
	if freed != 110 {
		t.Errorf("freed %d", freed)
	}
	if before, _ := cut(segments, 0); before[log.Partition{Topic: "b"}] != 0 {
		t.Error("a file that is written to was trimmed")
	}
}
