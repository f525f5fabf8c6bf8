// Package sim runs actors one after another in virtual time, from a seed, with
// planned faults: the scheduler under which the real engine is tested.
//
// One seed is one order of events: nothing here has a goroutine, reads a clock
// or depends on the order of a map. It must not know what the actors are; it has
// no decider, store or projector of its own. It imports the standard library
// only.
//
// Start reading at Sim.Run; faults.go plans what goes wrong, and shrinks it.
package sim

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Pause says when an actor wants its next step: after exactly that long, or one
// of those below.
type Pause time.Duration

// The pauses that are not a length of time.
const (
	Again Pause = 0  // there is more to do: soon
	Idle  Pause = -1 // nothing to do: later, or when woken
	Gone  Pause = -2 // never again
)

// The rhythm of actors.
const (
	soonest  = 100 * time.Microsecond
	soon     = 8 * time.Millisecond
	firstNap = 4 * time.Millisecond
)

// Epoch is when virtual time begins.
func Epoch() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

// Sim is one simulation. It is not safe for concurrent use; several run side by
// side.
type Sim struct {
	Rand *rand.Rand // the only source of chance
	// Nap bounds how long an idle actor sleeps before it looks again.
	Nap time.Duration

	now    time.Duration
	order  uint64
	queue  queue
	actors []*actor // those with a name to be stalled by, in the order of Add
	hits   map[string]int
	steps  int
	ids    uint64
	hash   uint64
	trace  func(string)
}

// actor is what the scheduler knows of one.
type actor struct {
	name    string
	step    func() Pause
	next    time.Duration
	order   uint64 // among those with the same next
	nap     time.Duration
	idle    bool // it may be woken
	stalled time.Duration
	index   int // in the queue; -1: running or gone
}

// New begins a simulation. With a trace, everything that is noted is told.
func New(seed uint64, trace func(string)) *Sim {
	return &Sim{Rand: rand.New(rand.NewPCG(seed, 1)), Nap: time.Second, trace: trace, hits: make(map[string]int), hash: fnvOffset}
}

// Add schedules an actor for its first step after a delay.
func (s *Sim) Add(name string, after time.Duration, step func() Pause) {
	s.order++
	a := &actor{name: name, step: step, next: s.now + after, order: s.order, nap: firstNap}
	s.actors = append(s.actors, a)
	heap.Push(&s.queue, a)
}

// After does something once.
func (s *Sim) After(d time.Duration, name string, do func()) {
	s.order++
	heap.Push(&s.queue, &actor{name: name, next: s.now + d, order: s.order, step: func() Pause { do(); return Gone }})
}

// Actors are the names given to Add, in order.
func (s *Sim) Actors() []string {
	out := make([]string, len(s.actors))
	for i, a := range s.actors {
		out[i] = a.name
	}
	return out
}

// Stall keeps an actor from its steps for a while, as a stopped process is.
func (s *Sim) Stall(name string, d time.Duration) {
	for _, a := range s.actors {
		if a.name == name && a.index >= 0 {
			a.stalled = s.now + d
			s.move(a, max(a.next, a.stalled))
		}
	}
}

// Resume ends all stalls.
func (s *Sim) Resume() {
	for _, a := range s.actors {
		if a.stalled > s.now && a.index >= 0 {
			a.stalled = 0
			s.move(a, s.now+s.Between(soonest, soon))
		}
	}
}

// Wake lets idle actors look soon, as a notification does.
func (s *Sim) Wake() {
	for _, a := range s.actors {
		if a.nap = firstNap; a.idle && a.index >= 0 && a.stalled <= s.now && a.next > s.now+soon {
			a.idle = false
			s.move(a, s.now+s.Between(soonest, soon))
		}
	}
}

func (s *Sim) move(a *actor, at time.Duration) {
	s.order++
	a.next, a.order = at, s.order
	heap.Fix(&s.queue, a.index)
}

// Run takes steps until the condition holds, which it asks now and then, or
// virtual time or steps run out; it reports whether the condition holds.
func (s *Sim) Run(until func() bool, limit time.Duration, steps int) bool {
	for n := 0; len(s.queue) > 0; n++ {
		if n%ask == 0 && until() {
			return true
		}
		if s.now > limit || n > steps {
			break
		}
		a := heap.Pop(&s.queue).(*actor)
		s.now = max(s.now+time.Microsecond, a.next) // no two steps at one instant
		s.steps++
		s.plan(a, a.step())
	}
	return until()
}

// ask is the number of steps between two looks at Run's condition.
const ask = 32

func (s *Sim) plan(a *actor, p Pause) {
	s.mix(uint64(s.now))
	s.mix(uint64(p))
	a.idle = false
	switch {
	case p == Gone:
		s.actors = slices.DeleteFunc(s.actors, func(b *actor) bool { return b == a })
		return
	case p == Idle:
		a.idle = true
		a.nap = min(2*a.nap, s.Nap)
		a.next = s.now + s.Between(a.nap/2, a.nap)
	case p == Again:
		a.nap = firstNap
		a.next = s.now + s.Between(soonest, soon)
	default:
		a.next = s.now + time.Duration(p)
	}
	a.next = max(a.next, a.stalled)
	s.order++
	a.order = s.order
	heap.Push(&s.queue, a)
}

// Elapsed is the virtual time since the beginning.
func (s *Sim) Elapsed() time.Duration { return s.now }

// Steps is how many steps were taken.
func (s *Sim) Steps() int { return s.steps }

// Between draws a length of time.
func (s *Sim) Between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.Rand.Int64N(int64(most-least)+1))
}

// Chance is true with a probability.
func (s *Sim) Chance(p float64) bool { return s.Rand.Float64() < p }

// NewID returns ids that repeat with the seed, in the form of UUIDs of version 7.
func (s *Sim) NewID() string {
	s.ids++
	r := s.Rand.Uint64()
	return fmt.Sprintf("%08x-%04x-7%03x-a%03x-%012x", s.ids, r>>48, r>>36&0xfff, r>>24&0xfff, r&0xffffff)
}

// Hit counts that a fault of a kind happened.
func (s *Sim) Hit(kind string) {
	s.hits[kind]++
	s.Note("FAULT", kind)
}

// Hits are the faults that happened.
func (s *Sim) Hits() map[string]int { return s.hits }

// Note adds to the trace, and to its hash.
func (s *Sim) Note(who string, what ...any) {
	s.mixText(who)
	for _, w := range what {
		switch w := w.(type) {
		case string:
			s.mixText(w)
		case int:
			s.mix(uint64(w))
		case uint64:
			s.mix(w)
		case time.Duration:
			s.mix(uint64(w))
		default:
			s.mixText(fmt.Sprint(w))
		}
	}
	if s.trace != nil {
		s.trace(fmt.Sprintf("%12s %-12s %s", s.now, who, fmt.Sprintln(what...)))
	}
}

// Tracing reports whether anybody reads what is noted.
func (s *Sim) Tracing() bool { return s.trace != nil }

// Hash is that of the trace: of every step's time and everything noted.
func (s *Sim) Hash() uint64 { return s.hash }

// The constants of FNV-1a.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func (s *Sim) mix(v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	for _, c := range b {
		s.hash = (s.hash ^ uint64(c)) * fnvPrime
	}
}

func (s *Sim) mixText(t string) {
	for i := range len(t) {
		s.hash = (s.hash ^ uint64(t[i])) * fnvPrime
	}
	s.mix(uint64(len(t)))
}

// Clock tells virtual time, as one machine sees it.
type Clock struct {
	Sim  *Sim
	Skew time.Duration
}

// Now implements domain.Clock.
func (c *Clock) Now() time.Time { return Epoch().Add(c.Sim.now + c.Skew) }

// queue is a heap by time.
type queue []*actor

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].next != q[j].next {
		return q[i].next < q[j].next
	}
	return q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i]; q[i].index, q[j].index = i, j }
func (q *queue) Push(x any)   { a := x.(*actor); a.index = len(*q); *q = append(*q, a) }
func (q *queue) Pop() any {
	old := *q
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	a.index = -1
	return a
}
