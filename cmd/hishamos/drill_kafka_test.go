package main

import (
	"context"
	"errors"
	"testing"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/relay"
)

func TestWhenKafkaIsWipedItIsMadeAnewFromTheStoreAndConsumersGoOn(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	work := &performer{}
	p := d.start((*node).runRelay, (*node).runProjections, (*node).runReactions, work.run)
	p.fill(50)
	p.allEnded()
	before := p.quiesce()
	head := p.head()
	p.stop()

	// The wipe; then the drill, while a process consumes and must cause nothing.
	p = d.open()
	p.must(p.reach(t.Context()))
	topics, err := p.eventTopics(t.Context())
	p.must(err)
	p.must(p.log.Delete(t.Context(), topics...))
	watching := &performer{}
	q := d.start((*node).runProjections, (*node).runReactions, watching.run)
	var done refilled
	p.must(p.operation(&done, func(o *operation, ctx context.Context) error { return o.kafkaFromStore(ctx, false) }))
	if done.Epoch != 2 || done.Events != uint64(head.Position) {
		t.Errorf("refilled %+v, want %d events under epoch 2", done, head.Position)
	}
	t.Logf("kafka-from-store: %s", done.pace)
	p.stop()

	same(t, "digests", q.quiesceWith(d), before)
	if n := watching.attempts(); n != 0 {
		t.Errorf("%d steps were made again", n)
	}
	if q.position() != head.Position {
		t.Errorf("commands were given: position %d, was %d", q.position(), head.Position)
	}
	// What comes now is handled as ever, also by a process of before the refill.
	q.run((*node).runRelay)
	q.fill(3)
	q.allEnded()
	after := q.quiesce()
	q.must(q.operation(nil, rebuildAll))
	same(t, "digests after a rebuild", q.quiesce(), after)
	work.once(t)
	watching.once(t)
	q.verifyAll()
}

func rebuildAll(o *operation, ctx context.Context) error { return o.rebuild(ctx) }

// quiesceWith waits like quiesce, with a relay that runs for that long.
func (p *process) quiesceWith(d *drill) map[string]string {
	p.t.Helper()
	r := d.start((*node).runRelay)
	defer r.stop()
	return p.quiesce()
}

func TestKafkaIsNotRefilledWhileARelayRuns(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay)
	p.fill(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.must(waiter{p.node}.Logged(ctx, p.position()))
	other := d.open()
	err := other.operation(nil, func(o *operation, ctx context.Context) error { return o.kafkaFromStore(ctx, true) })
	if domain.KindOf(err) != domain.Conflict {
		t.Fatalf("kafka-from-store beside a relay: %v", err)
	}
}

func TestEventsThatOnlyKafkaHoldsAreNotDeletedUnasked(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay, (*node).runProjections)
	p.fill(5)
	p.quiesce()
	p.stop()
	d.database = drillDatabase(t) // an empty one
	lost := d.open()
	err := lost.operation(nil, func(o *operation, ctx context.Context) error { return o.kafkaFromStore(ctx, false) })
	if !errors.Is(err, relay.ErrForeign) {
		t.Fatalf("kafka-from-store from an empty store: %v", err)
	}
	if err := lost.connect(t.Context()); domain.KindOf(err) != domain.Conflict {
		t.Fatalf("start on an empty store beside a full Kafka: %v", err)
	}
}

func TestReadModelsAreBuiltAnewUnderLoadBesideTheLiveOnes(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay, (*node).runProjections)
	p.fill(200)
	p.quiesce()
	builds := p.builds()
	stop := p.beside(context.Background(), "load", func(ctx context.Context) error {
		for ctx.Err() == nil {
			p.fill(4)
		}
		return nil
	})
	var done []rebuilt
	other := d.open()
	other.must(other.operation(&done, rebuildAll))
	for name, build := range p.builds() {
		if build == builds[name] {
			t.Errorf("%s was not switched", name)
		}
	}
	stop()
	t.Logf("rebuild: %v", done)
	live := p.quiesce()
	other.must(other.operation(nil, rebuildAll))
	same(t, "digests", p.quiesce(), live)
	p.do(commands.CancelRun{Run: p.fill(1)[0], Reason: "drill"})
	p.quiesce()
}

// builds are the numbers of the live builds.
func (p *process) builds() map[string]int {
	p.t.Helper()
	out := make(map[string]int)
	all, err := p.digests(p.t.Context())
	p.must(err)
	for name := range all {
		out[name] = p.status(name).Build.Number
	}
	return out
}
