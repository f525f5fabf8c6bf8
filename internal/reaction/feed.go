package reaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/log"
)

// Resume is where a reaction goes on in a partition: everything up to Position
// has been handled. Offset is a hint that holds within Epoch only.
type Resume struct {
	Position domain.Position
	Epoch    int
	Offset   int64
}

// feed puts the events of one partition in the hands of a reaction: in order
// per stream, streams side by side, each event once as far as memory reaches.
// It has no goroutine and is not safe for concurrent use.
type feed struct {
	partition  log.Partition
	partitions int
	from       domain.Position // events up to here never reach the reaction
	types      map[string]bool
	only       bool // the last events of appends
	bare       bool // their envelopes
	store      eventstore.Reader

	last    domain.Position // of the newest record taken from the partition
	resume  Resume
	lanes   map[domain.StreamID]*lane
	done    map[domain.StreamID]domain.Sequence // newest handled version, of streams seen lately
	pending []mark                              // taken and not yet resumable, in order of position
	ready   []events.Recorded[events.Event]     // to hand out, in order of arrival
}

// lane holds the events of a stream that has one being handled.
type lane struct {
	current domain.Sequence
	alone   bool // it failed beside others
	waiting []events.Recorded[events.Event]
}

// mark remembers a record until everything before it has been handled.
type mark struct {
	position domain.Position
	offset   int64
	epoch    int
	handled  bool
}

// seenStreams bounds the memory of handled versions per partition.
const seenStreams = 4096

func newFeed(p log.Partition, partitions int, of Reaction, from domain.Position, at Resume, store eventstore.Reader) *feed {
	f := &feed{
		partition: p, partitions: partitions, only: of.Last, bare: of.Bare, from: from, store: store, last: at.Position, resume: at,
		types: make(map[string]bool, len(of.Types)), lanes: make(map[domain.StreamID]*lane), done: make(map[domain.StreamID]domain.Sequence),
	}
	for _, t := range of.Types {
		f.types[t] = true
	}
	return f
}

// PausedError says that a partition holds an event this build does not know.
type PausedError struct {
	Partition log.Partition
	Position  domain.Position
	Type      string
}

func (e *PausedError) Error() string {
	return fmt.Sprintf("%s paused at position %d: event %s is newer than this build; upgrade this process", e.Partition, e.Position, e.Type)
}

// PoisonError says that an event of a known type cannot be decoded.
type PoisonError struct {
	Record events.Record
	Err    error
}

func (e *PoisonError) Error() string { return fmt.Sprintf("poison %s: %v", e.Record.ID(), e.Err) }
func (e *PoisonError) Unwrap() error { return e.Err }

// take accepts the next record of the partition. A *PoisonError was skipped and
// must be dead-lettered; after a *PausedError the record must be offered again.
func (f *feed) take(ctx context.Context, m log.Message) error {
	p, err := log.Decode(m)
	if err != nil {
		return err
	}
	if p.Position <= f.last { // a repeat, or handled before this start
		return nil
	}
	if p.PrevPos != f.last && p.PrevPos > f.last { // a hole: what lies between is in the store
		if err := f.backfill(ctx, p); err != nil {
			return err
		}
	}
	return f.accept(&p.Record, mark{p.Position, m.Offset, p.Epoch, false})
}

// backfillPage is how many events are read at once to fill a hole.
const backfillPage = 1000

func (f *feed) backfill(ctx context.Context, until *log.Published) error {
	for after := f.last; ; {
		page, err := f.store.ReadAll(ctx, after, backfillPage)
		if err != nil {
			return fmt.Errorf("backfill %s: %w", f.partition, err)
		}
		for i := range page {
			r := &page[i]
			if r.Position >= until.Position {
				return nil
			}
			after = r.Position
			if log.TopicOf(r.Type) != f.partition.Topic || log.PartitionOf(string(r.Stream), f.partitions) != f.partition.ID {
				continue
			}
			// The offset is unknown, so it is the one the next record has.
			err := f.accept(r, mark{r.Position, -1, until.Epoch, false})
			if poison := (*PoisonError)(nil); err != nil && !errors.As(err, &poison) {
				return err
			}
		}
		if len(page) < backfillPage {
			return nil
		}
	}
}

func (f *feed) accept(r *events.Record, m mark) error {
	if _, known := events.Lookup(r.Type); !known {
		return &PausedError{f.partition, r.Position, r.Type}
	}
	if !f.wants(r) || r.Position <= f.from {
		f.pass(r, m)
		return nil
	}
	if r.Sequence <= f.done[r.Stream] { // came by the express lane
		if f.inHand(r) {
			f.last = r.Position
			f.pending = append(f.pending, m)
			return nil
		}
		f.pass(r, m)
		return nil
	}
	e, err := f.decode(r)
	switch {
	case errors.Is(err, events.ErrUnknownType):
		return &PausedError{f.partition, r.Position, r.Type}
	case err != nil:
		f.pass(r, m)
		return &PoisonError{*r, err}
	}
	f.last = r.Position
	f.pending = append(f.pending, m)
	f.enqueue(e)
	return nil
}

// wants reports whether a record is for the reaction.
func (f *feed) wants(r *events.Record) bool {
	return f.types[r.Type] && (!f.only || r.Index == r.Count-1)
}

// pass takes a record that needs no handling.
func (f *feed) pass(r *events.Record, m mark) {
	f.last = r.Position
	m.handled = true
	f.pending = append(f.pending, m)
	f.settle()
}

// inHand reports whether an event came by the express lane and is not handled
// yet: the resume point must not pass its Kafka copy.
func (f *feed) inHand(r *events.Record) bool {
	l, ok := f.lanes[r.Stream]
	return ok && r.Sequence >= l.current
}

// express accepts fresh commits of streams in this partition before their
// Kafka copies arrive. It takes a stream's event only directly after the last
// one it knows of; anything else comes from Kafka.
func (f *feed) express(r *events.Record) {
	if r.Sequence != f.done[r.Stream]+1 || r.Position <= f.from {
		return
	}
	if !f.wants(r) {
		f.done[r.Stream] = r.Sequence
		return
	}
	if e, err := f.decode(r); err == nil { // if not, the Kafka copy reports it
		f.enqueue(e)
	}
}

// decode is what the reaction is given of a record.
func (f *feed) decode(r *events.Record) (events.Recorded[events.Event], error) {
	t, known := events.Lookup(r.Type)
	switch {
	case !f.bare:
		return r.Decode()
	case !known || r.Version > t.Version:
		return events.Recorded[events.Event]{}, events.ErrUnknownType
	}
	return events.Recorded[events.Event]{Envelope: r.Envelope}, nil
}

func (f *feed) enqueue(e events.Recorded[events.Event]) {
	l, busy := f.lanes[e.Stream]
	if !busy {
		f.lanes[e.Stream] = &lane{current: e.Sequence}
		f.ready = append(f.ready, e)
	} else {
		l.waiting = append(l.waiting, e)
	}
	if len(f.done) > seenStreams {
		f.forgetSeen()
	}
	f.done[e.Stream] = max(f.done[e.Stream], e.Sequence)
}

// forgetSeen drops the memory of streams that have nothing in flight; at worst
// their express copies are handled again from Kafka, which counts once anyway.
func (f *feed) forgetSeen() {
	for s := range f.done {
		if _, busy := f.lanes[s]; !busy {
			delete(f.done, s)
		}
	}
}

// redeliver hands an event that was handled long ago out once more, unless its
// stream has one being handled.
func (f *feed) redeliver(e events.Recorded[events.Event]) bool {
	if _, busy := f.lanes[e.Stream]; busy {
		return false
	}
	f.lanes[e.Stream] = &lane{current: f.done[e.Stream] + 1} // nothing of Kafka's is in hand
	f.ready = append(f.ready, e)
	return true
}

// next hands out an event whose stream has none being handled.
func (f *feed) next() (events.Recorded[events.Event], bool) {
	if len(f.ready) == 0 {
		return events.Recorded[events.Event]{}, false
	}
	e := f.ready[0]
	f.ready = f.ready[1:]
	return e, true
}

// batch hands out up to max events of as many streams. One that has failed goes by
// itself.
func (f *feed) batch(max int) []events.Recorded[events.Event] {
	n := 0
	for n < min(max, len(f.ready)) && !f.lanes[f.ready[n].Stream].alone {
		n++
	}
	if n == 0 {
		n = min(1, len(f.ready))
	}
	out := f.ready[:n:n]
	f.ready = f.ready[n:]
	return out
}

// again hands an event out once more, by itself, because handling it failed.
func (f *feed) again(e events.Recorded[events.Event]) {
	f.lanes[e.Stream].alone = true
	f.ready = append(f.ready, e)
}

// ack records that an event was handled, and lets the next of its stream go.
func (f *feed) ack(e events.Recorded[events.Event]) {
	i, ok := slices.BinarySearchFunc(f.pending, e.Position, func(m mark, p domain.Position) int { return cmp.Compare(m.position, p) })
	if ok { // else its Kafka copy is still to come
		f.pending[i].handled = true
	}
	if l := f.lanes[e.Stream]; l != nil {
		if len(l.waiting) > 0 {
			f.ready = append(f.ready, l.waiting[0])
			l.current, l.waiting, l.alone = l.waiting[0].Sequence, l.waiting[1:], false
		} else {
			delete(f.lanes, e.Stream)
		}
	}
	f.settle()
}

// settle moves the resume point over everything handled without a gap.
func (f *feed) settle() {
	n := 0
	for n < len(f.pending) && f.pending[n].handled {
		m := f.pending[n]
		f.resume.Position, f.resume.Epoch = m.position, m.epoch
		if m.offset >= 0 {
			f.resume.Offset = m.offset + 1
		}
		n++
	}
	f.pending = f.pending[n:]
}

// load is how much is taken and not handled.
func (f *feed) load() int { return len(f.pending) }
