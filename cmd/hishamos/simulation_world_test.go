package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	eventmemory "github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/keys"
	keysmemory "github.com/hishamos/hishamos/internal/keys/memory"
	"github.com/hishamos/hishamos/internal/log"
	logmemory "github.com/hishamos/hishamos/internal/log/memory"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/relay"
	"github.com/hishamos/hishamos/internal/sim"
	"github.com/hishamos/hishamos/projections"
)

// simPartitions is the number of partitions of each topic.
const simPartitions = 3

// simPlant is how a planted bug gets in: every field stands in for a part, and
// all are nil in the real system.
type simPlant struct {
	aggregates   []dispatch.Aggregate
	beforeCommit func(*simWorld, eventstore.Append)
	appended     func(eventstore.Receipt, error) (eventstore.Receipt, error)
	record       func(*events.Record)
	request      func(commands.Request) commands.Request
	publish      func(*simWorld, []log.Message) []log.Message
	commit       func(projection.Store, projection.Changes) error
	fire         func(*simWorld, domain.Timer) bool // false: the timer is lost
	react        func(reaction.Reaction) reaction.Reaction
	from         func(domain.Position) domain.Position
	doubt        func()
	destroy      func(ctx context.Context, order domain.StreamID, ids []string) error
	sealer       func(dispatch.Sealer) dispatch.Sealer
	project      func(*simWorld) *projection.Definition // one read model more
}

// simWorld is the whole system under one scheduler: the real deciders, stores,
// relay, projections and reactions, and people and machines around them.
type simWorld struct {
	*sim.Sim
	seed    uint64
	express bool
	plant   simPlant
	clock   *sim.Clock // of the machine the store is on

	memory   *eventmemory.Store
	ring     *keys.Ring // the key store is always there
	store    eventstore.Store
	broker   *simBroker
	epoch    int
	mark     log.Mark // the relay's published mark, as it is kept in a table
	resumes  *reaction.MemoryResumes
	owners   map[log.Partition]*simNode    // partition locks of the reactions
	holders  map[log.Partition][]simHolder // all who ever had them, in order
	nodes    []*simNode
	relays   []*simRelay
	relayer  *simRelay // who holds the relay lock
	tables   *simTables
	views    *simViews
	clients  []*simClient
	workers  []*simWorker
	erasures []*simErasure
	ledger   map[simAttempt]*simSpending
	history  *simHistory

	armed     map[string]int // faults that wait for their moment
	unnoticed int            // losses of the broker that no relay knows of
	broken    error          // the first promise that was seen broken on the way
}

// simCrash is the panic of a process that dies in the middle of something.
type simCrash struct{}

func newSimWorld(seed uint64, plant simPlant, trace func(string)) *simWorld {
	w := &simWorld{
		Sim: sim.New(seed, trace), seed: seed, express: seed%2 == 1 && !expressIsOff(), plant: plant,
		epoch: 1, resumes: &reaction.MemoryResumes{}, owners: make(map[log.Partition]*simNode), holders: make(map[log.Partition][]simHolder),
		ledger: make(map[simAttempt]*simSpending), history: newSimHistory(), armed: make(map[string]int),
	}
	w.clock = &sim.Clock{Sim: w.Sim}
	w.memory = eventmemory.New(eventmemory.Options{
		Clock:  w.clock,
		Faults: eventmemory.Faults{BeforeCommit: w.beforeCommit, AfterCommit: w.afterCommit},
	})
	w.store = simStore{w.memory, w}
	w.ring = simRing(w)
	w.broker = &simBroker{Log: logmemory.New(), w: w}
	w.tables = newSimTables(w)
	w.views = &simViews{w: w}
	for i := range 2 {
		w.nodes = append(w.nodes, &simNode{w: w, name: fmt.Sprintf("node%d", i), clock: &sim.Clock{Sim: w.Sim}})
		w.relays = append(w.relays, &simRelay{w: w, name: fmt.Sprintf("relay%d", i)})
	}
	return w
}

// begin brings everything up for the first time, before anything goes wrong.
func (w *simWorld) begin() error {
	if err := relay.New(w.store, w.broker, relay.Options{Partitions: simPartitions, Epoch: w.epoch, Logger: simLogger()}).Resume(context.Background()); err != nil {
		return err
	}
	for i, n := range w.nodes {
		n.start()
		w.Add(n.name, w.Between(0, time.Second), w.alive(n, n.react))
		w.Add(n.name+".timers", w.Between(0, time.Second), w.alive(n, n.fireTimers))
		w.Add(w.relays[i].name, w.Between(0, time.Second), w.alive(w.relays[i], w.relays[i].step))
		w.addWorker(n)
		w.addWorker(nil)
	}
	if err := w.views.start(); err != nil {
		return err
	}
	w.Add("views", w.Between(0, time.Second), w.alive(w.views, w.views.step))
	for i := range 2 + w.Rand.IntN(3) {
		w.addClient(i)
	}
	w.addErasures()
	return nil
}

// mortal is a process: what it has in memory is gone when it crashes.
type mortal interface{ crash() }

// alive is an actor's step that may end in a crash of its process.
func (w *simWorld) alive(p mortal, step func() sim.Pause) func() sim.Pause {
	return func() sim.Pause {
		pause := sim.Idle
		w.within(p, func() { pause = step() })
		return pause
	}
}

// within does something in a process, and reports whether the process lived.
func (w *simWorld) within(p mortal, do func()) (lived bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, planned := r.(simCrash); !planned {
				panic(r)
			}
			p.crash()
			lived = false
		}
	}()
	do()
	return true
}

// strike uses up an armed fault of a kind, if there is one.
func (w *simWorld) strike(kind string) bool {
	if w.armed[kind] == 0 {
		return false
	}
	w.armed[kind]--
	w.Hit(kind)
	return true
}

// breaks notes that a promise is broken; the first counts.
func (w *simWorld) breaks(promise, format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf("%s: %s", promise, fmt.Sprintf(format, args...))
		w.Note("BROKEN", w.broken.Error())
	}
}

func (w *simWorld) beforeCommit(a eventstore.Append) error {
	if w.plant.beforeCommit != nil {
		w.plant.beforeCommit(w, a)
	}
	switch {
	case w.strike(crashBeforeCommit):
		panic(simCrash{})
	case w.strike(commitLost):
		return eventstore.ErrUnknown
	case w.strike(storeBusy):
		return eventstore.ErrBusy
	}
	return nil
}

func (w *simWorld) afterCommit(a eventstore.Append) error {
	w.Wake()
	switch {
	case w.strike(crashAfterCommit):
		panic(simCrash{})
	case w.strike(commitUnknown):
		return eventstore.ErrUnknown
	}
	return nil
}

// definitions are the read models.
func (w *simWorld) definitions() []*projection.Definition {
	all := projections.All()
	if w.plant.project != nil {
		all = append(all, w.plant.project(w))
	}
	return all
}

// simStore is the store as the system sees it: the real one, but for plants.
type simStore struct {
	*eventmemory.Store
	w *simWorld
}

// Append implements eventstore.Store.
func (s simStore) Append(ctx context.Context, a eventstore.Append) (eventstore.Receipt, error) {
	r, err := s.Store.Append(ctx, a)
	if s.w.plant.appended != nil {
		r, err = s.w.plant.appended(r, err)
	}
	return r, err
}

// Submit implements eventstore.Store.
func (s simStore) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	r, err := s.Append(ctx, a)
	return simPending{r, err}
}

// ReadAll implements eventstore.Reader.
func (s simStore) ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error) {
	records, err := s.Store.ReadAll(ctx, after, limit)
	if s.w.plant.record != nil {
		for i := range records {
			s.w.plant.record(&records[i])
		}
	}
	return records, err
}

type simPending struct {
	receipt eventstore.Receipt
	err     error
}

func (p simPending) Wait() (eventstore.Receipt, error) { return p.receipt, p.err }

// simBroker is the log with crashes of the publisher.
type simBroker struct {
	*logmemory.Log
	w *simWorld
}

// Publish implements log.Log.
func (b *simBroker) Publish(ctx context.Context, messages []log.Message) error {
	if len(messages) == 0 { // the topics had it all
		return b.Log.Publish(ctx, messages)
	}
	if b.w.strike(crashBeforePublish) {
		panic(simCrash{})
	}
	if b.w.plant.publish != nil {
		messages = b.w.plant.publish(b.w, messages)
	}
	switch {
	case b.w.strike(publishCut):
		b.FailPublish(b.w.Rand.IntN(6))
	case b.w.strike(publishTwice):
		b.RepeatPublish()
	}
	err := b.Log.Publish(ctx, messages)
	if b.w.strike(crashAfterPublish) {
		panic(simCrash{})
	}
	return err
}

// simRing seals with keys that follow from the seed, as every trace must.
func simRing(w *simWorld) *keys.Ring {
	chance := rand.NewChaCha8(sha256.Sum256(binary.BigEndian.AppendUint64([]byte("keys"), w.seed)))
	ring, err := keys.Open(context.Background(), &keysmemory.Store{}, make([]byte, 32), keys.Options{Clock: w.clock, Random: chance, Block: 16, Ordered: orderedIn(w.memory)})
	if err != nil {
		panic(err)
	}
	return ring
}

func simLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
