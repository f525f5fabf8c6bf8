package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/sim"
)

// The kinds of fault. Most wait for their moment; those marked happen at once.
const (
	crashNode          = "node crashes" // at once
	crashBeforeCommit  = "node crashes before a commit"
	crashAfterCommit   = "node crashes after a commit"
	commitLost         = "commit fails, outcome unknown"
	commitUnknown      = "commit succeeds, outcome unknown"
	storeBusy          = "store is busy"
	crashBeforePublish = "relay crashes before publishing"
	crashAfterPublish  = "relay crashes after publishing"
	publishCut         = "publish fails after a prefix"
	publishTwice       = "publish writes twice"
	brokerCut          = "broker loses its newest"        // at once
	brokerWiped        = "broker is wiped"                // at once
	brokerRedelivers   = "broker delivers once more"      // at once
	relayRevived       = "relay goes on without its lock" // at once
	viewCrashBefore    = "views crash before a commit"
	viewCrashAfter     = "views crash after a commit"
	viewRewound        = "view's offset is rewound"
	viewPoisoned       = "view parks a stream"
	viewRebuilt        = "view is rebuilt"                // at once
	viewStolen         = "view's partition is taken over" // at once
	resumesLost        = "resume points are lost"         // at once
	sessionLost        = "lock session is lost"           // at once
	partitionsReturn   = "partitions go and come back"
	handlerFails       = "handler fails"
	expressLost        = "express lane loses a commit"
	workerDiesBefore   = "worker dies before its call"
	workerDiesAfter    = "worker dies after its call"
	reportLate         = "report comes late"
	reportTwice        = "report comes twice"
	reportOld          = "report of an old attempt"
	clockForward       = "clock jumps forward"          // at once
	clockBack          = "clock jumps backward"         // at once
	delay              = "actor is stopped for a while" // at once
)

func simFaults() []string {
	return []string{
		crashNode, crashBeforeCommit, crashAfterCommit, commitLost, commitUnknown, storeBusy, crashBeforePublish,
		crashAfterPublish, publishCut, publishTwice, brokerCut, brokerWiped, brokerRedelivers, relayRevived, viewCrashBefore,
		viewCrashAfter, viewRewound, viewPoisoned, viewRebuilt, viewStolen, resumesLost, sessionLost, partitionsReturn,
		handlerFails, expressLost, workerDiesBefore, workerDiesAfter, reportLate, reportTwice, reportOld, clockForward,
		clockBack, delay,
	}
}

// inject makes one planned fault happen, or arms it.
func (w *simWorld) inject(f sim.Fault) {
	pick := func(n int) int { return int(f.Arg % uint64(n)) }
	node := w.nodes[pick(len(w.nodes))]
	partition := log.Partition{Topic: "hishamos.run.events", ID: int32(f.Arg >> 8 % simPartitions)}
	switch f.Kind {
	case crashNode:
		if node.up {
			w.Hit(f.Kind)
			node.crash()
		}
	case brokerCut:
		if err := w.broker.CutTail(partition, 1+pick(6)); err == nil {
			w.Hit(f.Kind)
			w.restartBroker(f)
		}
	case brokerWiped:
		w.Hit(f.Kind)
		w.broker.Wipe()
		w.restartBroker(f)
		if f.Arg>>16%2 == 0 { // an operator sees it, and has the topics made anew
			w.epoch++
		}
	case brokerRedelivers:
		w.Hit(f.Kind)
		w.broker.Redeliver(partition, 1+pick(6))
	case relayRevived:
		if w.relayer != nil {
			w.Hit(f.Kind)
			w.relayer.blind, w.relayer = true, w.relays[pick(len(w.relays))]
			w.Wake()
		}
	case viewPoisoned: // it is hit when a stream is parked
		if len(w.clients) > 0 {
			run := w.clients[pick(len(w.clients))]
			if len(run.todo) > 0 {
				w.tables.refused[run.todo[0].Command.Target().Entity()] = true
			}
		}
	case viewRebuilt:
		names := w.definitions()
		w.views.rebuild(names[pick(len(names))].Name)
	case viewStolen:
		w.views.steal(w.views.keys[pick(len(w.views.keys))])
	case resumesLost:
		w.Hit(f.Kind)
		w.resumes = &reaction.MemoryResumes{}
	case sessionLost:
		if node.lose(f) {
			w.Hit(f.Kind)
		}
	case partitionsReturn: // it is hit when one is taken back
		other := w.nodes[1-pick(len(w.nodes))]
		if node.lose(f) {
			w.After(time.Duration(f.Arg>>24%12000)*time.Millisecond, "fault", func() {
				if w.Elapsed() < simTrouble { // else all is healed
					other.lose(f)
				}
			})
		}
	case clockForward, clockBack:
		by := time.Duration(1+f.Arg>>8%300) * time.Second
		if f.Kind == clockBack {
			by = -by
		}
		w.Hit(f.Kind)
		for _, c := range [][]*sim.Clock{{w.nodes[0].clock}, {w.nodes[1].clock}, {w.clock}, {w.nodes[0].clock, w.nodes[1].clock, w.clock}}[pick(4)] {
			c.Skew += by
		}
	case delay:
		w.Hit(f.Kind)
		names := w.Actors()
		w.Stall(names[pick(len(names))], time.Duration(1+f.Arg>>8%15000)*time.Millisecond)
	default:
		w.armed[f.Kind]++
	}
}

// restartBroker breaks the relays' connections, sooner or later: a broker that
// lost something was away. Publishing may notice it first.
func (w *simWorld) restartBroker(f sim.Fault) {
	w.unnoticed++
	w.After(time.Duration(f.Arg>>24%3000)*time.Millisecond, "broker", func() {
		w.unnoticed--
		for _, r := range w.relays {
			r.relay = nil
		}
		w.Wake()
	})
}

// heal ends all trouble: what is down comes up, and nothing more goes wrong.
func (w *simWorld) heal() {
	w.Note("heal")
	clear(w.armed)
	clear(w.tables.refused)
	for _, n := range w.nodes {
		n.clock.Skew = 0
		if !n.up {
			n.start()
		}
	}
	w.clock.Skew = 0
	w.Resume()
	w.Nap = 5 * time.Second
	w.Wake()
}

// requeue asks for every parked stream to be replayed, as an operator does.
func (w *simWorld) requeue() (left int) {
	for _, d := range w.definitions() {
		status, err := w.views.runner.Status(context.Background(), d.Name)
		if err != nil {
			return 1
		}
		for _, p := range status.Parked {
			left++
			if err := w.views.runner.Requeue(context.Background(), d.Name, p.Stream); err != nil {
				w.breaks("simulation", "requeue %s: %v", p.Stream, err)
			}
		}
	}
	return left
}

// simSorted puts lapses in an order that repeats.
func simSorted(ls []lease.Lapsed) []lease.Lapsed {
	slices.SortFunc(ls, func(a, b lease.Lapsed) int {
		return strings.Compare(string(a.Stream)+string(a.Path), string(b.Stream)+string(b.Path))
	})
	return ls
}

// quiet reports whether nothing is left to do.
func (w *simWorld) quiet() bool {
	if w.unnoticed > 0 {
		return false
	}
	for _, c := range w.clients {
		if !c.done {
			return false
		}
	}
	for _, e := range w.erasures {
		if !e.done {
			return false
		}
	}
	for _, x := range w.workers {
		if x.job != nil || len(x.pending) > 0 || x.down {
			return false
		}
	}
	ctx := context.Background()
	open, err := w.memory.OpenStreams(ctx, "run", "", 1)
	if err != nil || len(open) > 0 {
		return false
	}
	head, err := w.memory.Head(ctx)
	if err != nil || w.mark.Position != head.Position || w.relayer == nil || w.relayer.relay == nil || w.relayer.relay.Published() != head.Position {
		return false
	}
	if w.requeue() > 0 {
		return false
	}
	for _, d := range w.definitions() {
		if at, err := w.views.runner.Position(ctx, d.Name); err != nil || at < head.Position {
			return false
		}
	}
	return true
}
