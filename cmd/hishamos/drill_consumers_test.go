package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	projectionpg "github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/projections"
)

// loseResumePoints empties Postgres's, and Kafka's too if asked.
func (p *process) loseResumePoints(kafkaToo bool) {
	p.t.Helper()
	_, err := p.owner().Exec(p.t.Context(), `delete from reaction_resume`)
	p.must(err)
	if !kafkaToo {
		return
	}
	blank := make(map[log.Partition]log.Resume)
	for id := range int32(4) {
		blank[log.Partition{Topic: log.TopicOf("run.started"), ID: id}] = log.Resume{}
	}
	p.must(p.log.(log.Offsets).CommitOffsets(p.t.Context(), "hishamos.reaction.advance_run", blank))
}

func TestWithoutResumePointsOpenIntentsAreHandledAndNothingIsDoneTwice(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	first := &performer{}
	p := d.start((*node).runRelay, (*node).runProjections, (*node).runReactions, first.run)
	p.fill(10)
	p.allEnded()
	p.quiesce()
	p.stop()
	p = d.start((*node).runRelay, (*node).runProjections)
	open := p.fill(10) // nobody reacts
	p.quiesce()
	p.loseResumePoints(true)
	p.stop()

	second := &performer{}
	p = d.start((*node).runRelay, (*node).runProjections, (*node).runReactions, second.run)
	p.eventually("open intents are handled", func() bool { return second.attempts() == len(open) })
	p.fill(1) // whatever was wrongly offered came before this
	p.allEnded()
	p.quiesce()
	if n := second.attempts(); n != len(open)+1 {
		t.Errorf("%d attempts, want %d", n, len(open)+1)
	}
	first.once(t)
	second.once(t)
	p.verifyAll()
}

func TestResumePointsLostInPostgresAreFoundInKafka(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay, (*node).runProjections, (*node).runReactions)
	p.fill(20)
	p.quiesce()
	at := func() map[log.Partition]reaction.Resume {
		resumes, done, err := p.resumes(t.Context())
		p.must(err)
		defer done()
		out := make(map[log.Partition]reaction.Resume)
		for id := range int32(4) {
			partition := log.Partition{Topic: log.TopicOf("run.started"), ID: id}
			r, ok, err := resumes.Load(t.Context(), "advance_run", partition)
			p.must(err)
			if ok {
				out[partition] = r
			}
		}
		return out
	}
	p.stop()
	p = d.start()
	want := at()
	p.loseResumePoints(false)
	same(t, "resume points", at(), want)
	if len(want) != 4 {
		t.Errorf("%d resume points", len(want))
	}
	_, err := p.store.NewEpoch(t.Context()) // a copy holds within its epoch
	p.must(err)
	settings, err := p.store.Settings(t.Context())
	p.must(err)
	p.follow(settings)
	if got := at(); len(got) != 0 {
		t.Errorf("copies of an older epoch are used: %v", got)
	}
}

// rotations appends rotations of one token, up to a thousand in one append.
func (p *process) rotations(token domain.StreamID, n int) {
	p.t.Helper()
	for n > 0 {
		k := min(n, 1000)
		p.rawMany(token, "token.rotated", 1, slices.Repeat([]string{`{"secret_hash":"sha256:00"}`}, k))
		n -= k
	}
}

func TestANewReactionSeesNothingOfWhatWasBeforeIt(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay)
	token := domain.NamedStreamID(domain.DefaultTenant, "token", "drill")
	p.rotations(token, 10_000)
	var seen seenEvents
	r := reaction.Reaction{Name: "drill_new", Types: []string{"token.rotated"}, Handle: seen.handle}
	p.run(func(n *node, ctx context.Context) error { return n.react(ctx, r) })
	p.eventually("it is deployed", func() bool { return p.position() > 10_000 })
	deployed := p.position()
	p.rotations(token, 1)
	p.eventually("the new event is handled", func() bool { return seen.count() > 0 })
	if got := seen.positions(); len(got) != 1 || got[0] <= deployed {
		t.Errorf("it saw %d events, from %d; it was deployed at %d", len(got), got[0], deployed)
	}
}

// seenEvents is what a reaction was given, in order.
type seenEvents struct {
	mu   sync.Mutex
	list []events.Envelope
}

func (s *seenEvents) handle(_ context.Context, e events.Recorded[events.Event]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e.Envelope)
	return nil
}

func (s *seenEvents) count() int { return len(s.positions()) }

func (s *seenEvents) positions() []domain.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []domain.Position
	for _, e := range s.list {
		out = append(out, e.Position)
	}
	return out
}

func TestTheNextVersionOfAReadModelIsBuiltBesideTheLiveOneUnderLoad(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay, (*node).runProjections)
	p.fill(100)
	p.quiesce()
	stop := p.beside(context.Background(), "load", func(ctx context.Context) error {
		for ctx.Err() == nil {
			p.fill(2)
		}
		return nil
	})
	q := d.start()
	session, err := q.session(t.Context())
	q.must(err)
	var next []*projection.Definition
	for _, def := range projections.All() {
		raised := *def
		raised.Version++
		next = append(next, &raised)
	}
	r, err := projection.New(projection.Config{
		Definitions: next, Store: projectionpg.New(q.writer), Events: q.store, Log: q.log,
		Mark: q.mark, Locks: session, Process: q.id, Logger: q.logger,
	})
	q.must(err)
	q.run(func(_ *node, ctx context.Context) error { return r.Run(ctx) })
	for _, def := range next {
		q.eventually(def.Name+" is built", func() bool { _, err := r.Digest(t.Context(), def.Name); return err == nil })
	}
	_, err = p.asking.Digest(t.Context(), "runs") // the live one answers all the while
	q.must(err)
	stop()
	live := p.quiesce()
	for _, def := range next {
		q.must(r.WaitFor(t.Context(), def.Name, p.position()))
		digest, err := r.Digest(t.Context(), def.Name)
		q.must(err)
		same(t, "digests of "+def.Name, digest, live[def.Name])
	}
}

// otherwise is Kafka as a process sees it to which some records mean something
// else: one of an older or a faulty build.
type otherwise struct {
	log.Log
	change func(*log.Message)
}

type otherwiseReader struct {
	log.Reader
	change func(*log.Message)
}

func (o otherwise) Open(ctx context.Context, p log.Partition, offset int64) (log.Reader, error) {
	r, err := o.Log.Open(ctx, p, offset)
	if err != nil {
		return nil, err
	}
	return otherwiseReader{r, o.change}, nil
}

func (r otherwiseReader) Poll(max int) ([]log.Message, error) {
	list, err := r.Reader.Poll(max)
	own := make([]log.Message, len(list)) // others read the list, and what it was decoded to
	for i, m := range list {
		own[i] = log.Message{Partition: m.Partition, Offset: m.Offset, Key: m.Key, Headers: slices.Clone(m.Headers), Value: slices.Clone(m.Value)}
		r.change(&own[i])
	}
	return own, err
}

// typeOf changes an event type on Kafka.
func typeOf(from, to string) func(*log.Message) {
	return func(m *log.Message) {
		for i, h := range m.Headers {
			switch {
			case h.Key == "ce_type" && h.Value == from:
				m.Headers[i].Value = to
			case h.Key == "ce_dataschema" && strings.Contains(h.Value, "/"+from+".v"):
				m.Headers[i].Value = strings.Replace(h.Value, from, to, 1)
			}
		}
	}
}

// reacting waits until the reactions have all their partitions.
func (p *process) reacting() {
	p.t.Helper()
	all := 0
	for _, r := range handlers.All(p.ports()) {
		all += p.cfg.KafkaPartitions * len(r.Topics())
	}
	p.eventually("the reactions have their partitions", func() bool {
		r := p.reactions.Load()
		return r != nil && r.Partitions() == all
	})
}

func TestAnEventTypeOfTheNextBuildPausesItsPartitionUntilTheUpgrade(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	relaying := d.start((*node).runRelay)
	work := &performer{}
	old := d.open()
	old.must(old.connect(t.Context()))
	old.log = otherwise{old.log, typeOf("run.cancelled", "run.postponed")}
	old.run((*node).runProjections, (*node).runReactions, work.run)
	old.quiesce()
	// Whoever takes a partition finds the open runs in the store, paused or not.
	old.reacting()

	cancelled := drillRun()
	work.mu.Lock() // no step is made before the run is cancelled
	relaying.do(startDrill(cancelled))
	relaying.do(commands.CancelRun{Run: cancelled, Reason: "drill"})
	work.mu.Unlock()
	paused := log.PartitionOf(string(cancelled), 4)
	old.eventually("the pause is reported", func() bool {
		for _, s := range old.status("runs").Partitions {
			if s.Paused != "" {
				return s.Partition.ID == paused && old.status("runs").Degraded
			}
		}
		return false
	})
	runs, elsewhere := relaying.fill(24), 0
	for _, r := range runs {
		if log.PartitionOf(string(r), 4) != paused {
			elsewhere++
		}
	}
	old.eventually("the other partitions go on", func() bool { return work.attempts() >= elsewhere })
	letters, err := reaction.Letters(t.Context(), old.log, "advance_run")
	if err != nil || len(letters) > 0 {
		t.Errorf("%d dead letters, %v", len(letters), err)
	}
	if n := work.attempts(); n != elsewhere {
		t.Errorf("%d runs went on, %d are in other partitions", n, elsewhere)
	}
	old.stop()

	upgraded := d.start((*node).runProjections, (*node).runReactions, work.run)
	upgraded.allEnded()
	digests := upgraded.quiesce()
	upgraded.must(upgraded.operation(nil, rebuildAll))
	same(t, "digests after a rebuild", upgraded.quiesce(), digests)
	if s := upgraded.status("runs"); s.Degraded {
		t.Errorf("still degraded: %+v", s)
	}
	work.once(t)
}

func TestAParkedStreamIsRequeuedInOrder(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	relaying := d.start((*node).runRelay)
	faulty := d.open()
	faulty.must(faulty.connect(t.Context()))
	var victim atomic.Value
	victim.Store("")
	faulty.log = otherwise{faulty.log, func(m *log.Message) {
		if kind, _ := m.Header("ce_type"); m.Key == victim.Load() && kind == "run.step_completed" {
			m.Value = bytes.ToUpper(m.Value[:1])
		}
	}}
	faulty.run((*node).runProjections)
	faulty.quiesce()
	run := drillRun()
	victim.Store(string(run))
	relaying.do(startDrill(run))
	relaying.do(completeDrill(run, "one"))
	relaying.do(completeDrill(run, "two"))
	relaying.fill(10)
	faulty.quiesce()
	if s := faulty.status("runs"); len(s.Parked) != 1 || s.Parked[0].Stream != run || !s.Degraded {
		t.Fatalf("parked: %+v", s.Parked)
	}
	requeue := func(stream domain.StreamID) error {
		return d.open().operation(nil, func(o *operation, ctx context.Context) error { return o.requeue(ctx, "runs", stream) })
	}
	relaying.must(requeue(run))
	relaying.must(d.open().operation(nil, func(o *operation, ctx context.Context) error { return o.requeue(ctx, "usage", run) }))
	if s := faulty.status("runs"); len(s.Parked) != 0 || s.Degraded {
		t.Errorf("still parked: %+v", s.Parked)
	}
	digests := faulty.quiesce()
	relaying.must(relaying.operation(nil, rebuildAll))
	same(t, "digests after a rebuild", faulty.quiesce(), digests)

	if err := requeue(run); !errors.Is(err, projection.ErrNotParked) {
		t.Errorf("requeue a stream that is not parked: %v", err)
	}
	// What is poison in the store itself stays parked, and the answer says why.
	broken := drillRun()
	at := relaying.raw(broken, "run.started", 1, `{"definition": 5}`)
	faulty.eventually("it is parked", func() bool { return len(faulty.status("runs").Parked) == 1 })
	if err := requeue(broken); !errors.Is(err, errStillPoison) || !strings.Contains(err.Error(), fmt.Sprint("position ", at)) {
		t.Errorf("requeue what is still poison: %v", err)
	}
}

func TestDeadLettersAreHandledAgainInOrderAndCountOnce(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	p := d.start((*node).runRelay)
	var broken atomic.Bool
	broken.Store(true)
	var seen seenEvents
	source := domain.NamedStreamID(domain.DefaultTenant, "token", "source")
	r := reaction.Reaction{Name: "drill_letters", Types: []string{"token.rotated"}, Handle: func(ctx context.Context, e events.Recorded[events.Event]) error {
		if broken.Load() && e.Sequence%2 == 0 {
			return domain.InvalidField("drill", "cannot be handled", "mend it")
		}
		_, err := p.dispatcher.Do(ctx, commands.Request{
			ID: domain.DerivedCommandID("drill_letters", e.ID()), Principal: system("drill"),
			Command: commands.IssueToken{
				Token: domain.NamedStreamID(domain.DefaultTenant, "token", string(e.ID())), Tenant: domain.DefaultTenant,
				Actor: domain.Actor{Kind: domain.Operator, ID: "drill"}, Permissions: []domain.Permission{domain.AllPermissions}, SecretHash: fmt.Sprintf("sha256:%064d", e.Sequence),
			},
		})
		if err != nil {
			return err
		}
		return seen.handle(ctx, e)
	}}
	p.run(func(n *node, ctx context.Context) error { return n.react(ctx, r) })
	p.eventually("it is deployed", func() bool { return p.position() > 0 })
	p.rotations(source, 9)
	letters := func() []reaction.Letter {
		list, err := reaction.Letters(t.Context(), p.log, r.Name)
		p.must(err)
		return list
	}
	p.eventually("the odd ones are handled, the even ones are dead", func() bool { return seen.count() == 5 && len(letters()) == 4 })
	requeue := func() error {
		return d.start().operation(nil, func(o *operation, ctx context.Context) error { return o.requeueLetters(ctx, r.Name) })
	}
	if err := requeue(); err == nil || len(letters()) != 4 {
		t.Fatalf("requeue while it is still broken: %v; %d letters", err, len(letters()))
	}
	broken.Store(false)
	p.must(requeue())
	if n := len(letters()); n != 0 {
		t.Errorf("%d letters are left", n)
	}
	var order []domain.Sequence
	for _, e := range seen.list {
		order = append(order, e.Sequence)
	}
	same(t, "sequences in the order of handling", order, []domain.Sequence{1, 3, 5, 7, 9, 2, 4, 6, 8})
	p.must(requeue()) // there is nothing left to do
	issued := 0
	for _, e := range p.all() {
		if e.Type == "token.issued" {
			issued++
		}
	}
	if issued != 9 {
		t.Errorf("%d tokens were issued, want 9", issued)
	}
}
