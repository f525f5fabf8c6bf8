package main

import (
	"context"
	"errors"
	"slices"
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
	reactions  []simReaction // each of topics of its own
	steppers   map[log.Partition]*reaction.Stepper
	owned      []log.Partition
	turn       int
	fresh      []events.Record // by the express lane, not taken yet
	lost       time.Duration   // when it will notice that its lock session ended; 0: it has one
	lapses     []lease.Lapsed  // on their way to become events
}

// simReaction is a reaction, and where it begins.
type simReaction struct {
	reaction.Reaction
	from domain.Position
}

// simHolder is a process for as long as it has its memory: from a start to a crash.
type simHolder struct {
	node *simNode
	life int
}

// start brings the process up with an empty memory.
func (n *simNode) start() {
	n.life++
	n.up = true
	sealer := dispatch.Sealer(n.w.ring)
	if n.w.plant.sealer != nil {
		sealer = n.w.plant.sealer(sealer)
	}
	cached := 2 // so streams are loaded again and again
	if n.w.Chance(0.5) {
		cached = 0 // as many as in the program, so what is known of some is old
	}
	n.dispatcher = dispatch.New(simHanding{n.w.store, n}, dispatch.Options{Clock: n.clock, CacheStreams: cached, Sealer: sealer}, n.w.aggregates()...)
	n.ports = portsOf(n.w.store, n.dispatcher, n.w.ring, lease.NewBoard(n.clock), timer.NewWheel())
	n.ports.Dispatcher = simDoor{n}
	if n.w.plant.doubt != nil {
		n.ports.Doubt = n.w.plant.doubt
	}
	if n.w.plant.destroy != nil {
		n.ports.Destroy = n.w.plant.destroy
	}
	n.reactions = nil
	for _, r := range handlers.All(n.ports)[:2] { // runs and erasures; there are no blobs
		n.reactions = append(n.reactions, simReaction{Reaction: n.watched(r)})
	}
	n.steppers, n.owned, n.fresh, n.lost, n.lapses = make(map[log.Partition]*reaction.Stepper), nil, nil, 0, nil
	n.w.Note(n.name, "starts")
	n.w.within(n, n.deploy)
}

// watched is a reaction as the world has it.
func (n *simNode) watched(r reaction.Reaction) reaction.Reaction {
	if n.w.plant.react != nil {
		r = n.w.plant.react(r)
	}
	handle := r.Handle
	r.Handle = func(ctx context.Context, e events.Recorded[events.Event]) error {
		if n.w.strike(handlerFails) {
			return errors.New("planned")
		}
		n.w.Note(n.name, "reacts to", e.Type, uint64(e.Position))
		offered := n.ports.Board.Offered()
		err := handle(ctx, e)
		select {
		case <-offered: // workers wait for it
			n.w.Wake()
		default:
		}
		return err
	}
	return r
}

func (w *simWorld) aggregates() []dispatch.Aggregate {
	if w.plant.aggregates != nil {
		return w.plant.aggregates
	}
	return aggregates()
}

// deploy finds out where the reactions begin; the first start ever says so.
func (n *simNode) deploy() {
	for i := range n.reactions {
		r := &n.reactions[i]
		from, fresh, err := deployedFrom(context.Background(), n.w.store, n.dispatcher, r.Name)
		if err != nil { // as the program does: the part ends, and starts again
			panic(simCrash{})
		}
		r.from = from
		for _, p := range r.partitions() {
			if fresh {
				n.save(p, reaction.Resume{Position: from})
			}
		}
	}
}

func (n *simNode) save(p log.Partition, at reaction.Resume) {
	if err := n.w.resumes.Save(context.Background(), n.of(p).Name, p, at); err != nil {
		n.w.breaks("simulation", "save resume point: %v", err)
	}
}

// of is the reaction that reads a partition.
func (n *simNode) of(p log.Partition) simReaction {
	return n.reactions[slices.IndexFunc(n.reactions, func(r simReaction) bool { return slices.Contains(r.Topics(), p.Topic) })]
}

func (r simReaction) partitions() []log.Partition {
	var out []log.Partition
	for _, t := range r.Topics() {
		for id := range simPartitions {
			out = append(out, log.Partition{Topic: t, ID: int32(id)})
		}
	}
	return out
}

func (n *simNode) partitions() (all []log.Partition) {
	for _, r := range n.reactions {
		all = append(all, r.partitions()...)
	}
	return all
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
		if s := n.steppers[simPartition(r.Stream)]; s != nil {
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

// lose ends the lock session of the process, which goes on and notices it after a
// while; it reports whether there was anything to lose.
func (n *simNode) lose(f sim.Fault) bool {
	if !n.up || len(n.owned) == 0 || n.lost > 0 {
		return false
	}
	n.unlock()
	n.lost = n.w.Elapsed() + time.Duration(f.Arg>>8%3000)*time.Millisecond
	return true
}

// release gives back all partitions. It may save their resume points, as a process
// does that has not noticed yet: over those of whoever took them and has gone on.
func (n *simNode) release(why string) {
	n.w.Note(n.name, "releases", why)
	owned := n.owned
	for _, p := range owned {
		if n.w.Chance(0.7) {
			n.save(p, n.steppers[p].Resume())
		}
	}
	n.close()
	for _, r := range n.reactions {
		if r.Forget != nil {
			r.Forget(simIn(owned))
		}
	}
}

func simIn(ps []log.Partition) func(domain.StreamID) bool {
	return func(s domain.StreamID) bool { return slices.Contains(ps, simPartition(s)) }
}

// simPartition is where the events of a stream are.
func simPartition(s domain.StreamID) log.Partition {
	return log.Partition{Topic: log.TopicOf(s.Kind()), ID: log.PartitionOf(string(s), simPartitions)}
}

// take locks one partition nobody has, recovers what its runs wait for, and
// follows it from its resume point.
func (n *simNode) take(ctx context.Context) bool {
	for _, p := range n.partitions() {
		if n.w.owners[p] != nil || len(n.owned) > 0 && n.w.Chance(0.7) {
			continue
		}
		n.w.owners[p] = n
		r := n.of(p)
		at, ok, err := n.w.resumes.Load(ctx, r.Name, p)
		if err == nil && !ok {
			var head eventstore.Head
			head, err = n.w.store.Head(ctx)
			at = reaction.Resume{Position: head.Position}
		}
		if err == nil && r.Recover != nil {
			err = r.Recover(ctx, simIn([]log.Partition{p}))
		}
		var s *reaction.Stepper
		if err == nil {
			s, err = reaction.NewStepper(ctx, r.Reaction, p, simPartitions, r.from, at, n.w.epoch, n.w.store, n.w.broker)
		}
		if err != nil {
			if r.Forget != nil {
				r.Forget(simIn([]log.Partition{p}))
			}
			delete(n.w.owners, p)
			n.w.Note(n.name, "cannot take", p, err.Error())
			return false
		}
		n.steppers[p], n.owned = s, append(n.owned, p)
		n.w.Note(n.name, "takes", p, uint64(at.Position))
		h, past := simHolder{n, n.life}, n.w.holders[p]
		if slices.Contains(past, h) && past[len(past)-1] != h {
			n.w.Hit(partitionsReturn)
		}
		n.w.holders[p] = append(past, h)
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
