package main

import (
	"context"
	"errors"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/sim"
	"github.com/hishamos/hishamos/internal/timer"
)

// simNode is a process that decides, and reacts for the partitions it owns.
type simNode struct {
	w     *simWorld
	name  string
	clock *sim.Clock

	life       int // raised by each start
	up         bool
	dispatcher *dispatch.Dispatcher
	ports      handlers.Ports
	reaction   reaction.Reaction
	from       domain.Position
	steppers   map[log.Partition]*reaction.Stepper
	owned      []log.Partition
	turn       int
	fresh      []events.Record // by the express lane, not taken yet
	lost       time.Duration   // when it will notice that its lock session ended; 0: it has one
	lapses     []lease.Lapsed  // on their way to become events
}

// start brings the process up with an empty memory.
func (n *simNode) start() {
	n.life++
	n.up = true
	sealer := dispatch.Sealer(n.w.ring)
	if n.w.plant.sealer != nil {
		sealer = n.w.plant.sealer(sealer)
	}
	n.dispatcher = dispatch.New(simHanding{n.w.store, n}, dispatch.Options{Clock: n.clock, CacheStreams: 2, Sealer: sealer}, n.w.aggregates()...)
	n.ports = portsOf(n.w.store, n.dispatcher, n.w.ring, lease.NewBoard(n.clock), timer.NewWheel())
	n.ports.Dispatcher = simDoor{n}
	if n.w.plant.destroy != nil {
		n.ports.Destroy = n.w.plant.destroy
	}
	n.reaction = handlers.All(n.ports)[0]
	if n.w.plant.react != nil {
		n.reaction = n.w.plant.react(n.reaction)
	}
	handle := n.reaction.Handle
	n.reaction.Handle = func(ctx context.Context, e events.Recorded[events.Event]) error {
		if n.w.strike(handlerFails) {
			return errors.New("planned")
		}
		n.w.Note(n.name, "reacts to", e.Type, uint64(e.Position))
		return handle(ctx, e)
	}
	n.steppers, n.owned, n.fresh, n.lost, n.lapses = make(map[log.Partition]*reaction.Stepper), nil, nil, 0, nil
	n.w.Note(n.name, "starts")
	n.w.within(n, n.deploy)
}

func (w *simWorld) aggregates() []dispatch.Aggregate {
	if w.plant.aggregates != nil {
		return w.plant.aggregates
	}
	return aggregates()
}

// deploy finds out where the reaction begins; the first start ever says so.
func (n *simNode) deploy() {
	ctx := context.Background()
	from, fresh, err := deployedFrom(ctx, n.w.store, n.dispatcher, n.reaction.Name)
	if err != nil { // as the program does: the part ends, and starts again
		panic(simCrash{})
	}
	n.from = from
	for _, p := range n.partitions() {
		if fresh {
			n.save(p, reaction.Resume{Position: from})
		}
	}
}

func (n *simNode) save(p log.Partition, at reaction.Resume) {
	if err := n.w.resumes.Save(context.Background(), n.reaction.Name, p, at); err != nil {
		n.w.breaks("simulation", "save resume point: %v", err)
	}
}

func (n *simNode) partitions() []log.Partition {
	var out []log.Partition
	for _, t := range n.reaction.Topics() {
		for id := range simPartitions {
			out = append(out, log.Partition{Topic: t, ID: int32(id)})
		}
	}
	return out
}

// crash implements mortal. Locks end with the connection.
func (n *simNode) crash() {
	if !n.up {
		return
	}
	n.w.Note(n.name, "crashes")
	n.up = false
	n.close()
	n.unlock()
	for _, x := range n.w.workers {
		if x.node == n {
			x.job, x.pending = nil, nil
		}
	}
	life := n.life
	n.w.After(n.w.Between(10*time.Millisecond, 3*time.Second), n.name, func() {
		if n.life == life && !n.up {
			n.start()
		}
	})
}

func (n *simNode) close() {
	for _, p := range n.owned {
		if err := n.steppers[p].Close(); err != nil {
			n.w.breaks("simulation", "close reader: %v", err)
		}
	}
	n.steppers, n.owned = make(map[log.Partition]*reaction.Stepper), nil
}

func (n *simNode) unlock() {
	for p, owner := range n.w.owners {
		if owner == n {
			delete(n.w.owners, p)
		}
	}
}

// simHanding is the store of a process that is handed its own commits.
type simHanding struct {
	eventstore.Store
	node *simNode
}

// Submit implements eventstore.Store.
func (s simHanding) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	r, err := s.Store.Submit(ctx, a).Wait()
	if err == nil && !r.Replayed {
		s.node.committed(r.Records)
	}
	return simPending{r, err}
}

// committed takes fresh commits to where they save a detour.
func (n *simNode) committed(records []events.Record) {
	if n.w.Chance(0.7) {
		for _, r := range n.w.relays {
			if r.relay != nil && r.name[len(r.name)-1] == n.name[len(n.name)-1] {
				r.relay.Feed(records)
			}
		}
	}
	switch {
	case !n.w.express:
	case n.w.strike(expressLost):
	default:
		n.fresh = append(n.fresh, records...)
	}
}

// react is one step of the reactions: take a partition, or handle an event.
func (n *simNode) react() sim.Pause {
	ctx := context.Background()
	if !n.up {
		return sim.Idle
	}
	if n.lost > 0 && n.w.Elapsed() >= n.lost {
		n.release("noticed that it lost its partitions")
		n.lost = 0
		return sim.Again
	}
	n.lapse()
	if n.lost == 0 && n.take(ctx) {
		return sim.Again
	}
	for _, r := range n.fresh {
		p := log.Partition{Topic: log.TopicOf(r.Type), ID: log.PartitionOf(string(r.Stream), simPartitions)}
		if s := n.steppers[p]; s != nil {
			if expressIsOff() {
				n.w.breaks("simulation", "position %d took the express lane, which is off", r.Position)
			}
			s.Express(r)
		}
	}
	n.fresh = nil
	for range len(n.owned) {
		n.turn++
		p := n.owned[n.turn%len(n.owned)]
		did, err := n.steppers[p].Step(ctx, 1+n.w.Rand.IntN(20))
		if err != nil && !did { // the log failed: the part gives all up and starts again
			n.release(err.Error())
			n.unlock()
			return sim.Pause(n.w.Between(time.Millisecond, time.Second))
		}
		if did {
			if n.w.Chance(0.2) {
				n.save(p, n.steppers[p].Resume())
			}
			return sim.Again
		}
	}
	return sim.Idle
}

// release gives back all partitions.
func (n *simNode) release(why string) {
	n.w.Note(n.name, "releases", why)
	owned := n.owned
	n.close()
	n.reaction.Forget(simIn(owned))
}

func simIn(ps []log.Partition) func(domain.StreamID) bool {
	return func(s domain.StreamID) bool {
		for _, p := range ps {
			if p.Topic == log.TopicOf(s.Kind()) && p.ID == log.PartitionOf(string(s), simPartitions) {
				return true
			}
		}
		return false
	}
}

// take locks one partition nobody has, recovers what its runs wait for, and
// follows it from its resume point.
func (n *simNode) take(ctx context.Context) bool {
	for _, p := range n.partitions() {
		if n.w.owners[p] != nil || len(n.owned) > 0 && n.w.Chance(0.7) {
			continue
		}
		n.w.owners[p] = n
		at, ok, err := n.w.resumes.Load(ctx, n.reaction.Name, p)
		if err == nil && !ok {
			var head eventstore.Head
			head, err = n.w.store.Head(ctx)
			at = reaction.Resume{Position: head.Position}
		}
		if err == nil && n.reaction.Recover != nil {
			err = n.reaction.Recover(ctx, simIn([]log.Partition{p}))
		}
		var s *reaction.Stepper
		if err == nil {
			s, err = reaction.NewStepper(ctx, n.reaction, p, simPartitions, n.from, at, n.w.epoch, n.w.store, n.w.broker)
		}
		if err != nil {
			delete(n.w.owners, p)
			n.w.Note(n.name, "cannot take", p, err.Error())
			return false
		}
		n.steppers[p], n.owned = s, append(n.owned, p)
		n.w.Note(n.name, "takes", p, uint64(at.Position))
		return true
	}
	return false
}

// fireTimers is one look at the wheel.
func (n *simNode) fireTimers() sim.Pause {
	if !n.up {
		return sim.Idle
	}
	fired := n.ports.Timers.Fire(context.Background(), n.clock.Now(), func(ctx context.Context, t domain.Timer) error {
		if n.w.plant.fire != nil && !n.w.plant.fire(n.w, t) {
			return nil
		}
		n.w.Note(n.name, "fires", t.ID)
		return n.ports.FireTimer(ctx, t)
	})
	if fired > 0 {
		return sim.Again
	}
	if next, ok := n.ports.Timers.Next(); ok {
		if wait := next.Sub(n.clock.Now()); wait < n.w.Nap {
			return sim.Pause(max(wait, time.Millisecond))
		}
	}
	return sim.Idle
}
