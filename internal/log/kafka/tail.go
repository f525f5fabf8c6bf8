package kafka

import (
	"cmp"
	"slices"
	"sync"

	"github.com/hishamos/hishamos/internal/log"
)

// tail is the newest part of a partition, fetched and decoded once for all of
// its readers. One that falls too far behind while others wait is left to a
// stream of its own.
type tail struct {
	log       *Log
	partition log.Partition
	stream    *stream
	ready     chan struct{} // of the stream

	mu      sync.Mutex
	room    sync.Cond // a reader went on, or the tail has ended
	records []log.Message
	next    int64             // the offset behind the last record
	readers map[*reader]int64 // the offset that each goes on from
	err     error
	ended   bool
}

// tailOf enters a reader into the tail of its partition, if there is one that
// holds what the reader needs next. Without any, the reader's own stream becomes
// the tail. Otherwise it returns nil.
func (l *Log) tailOf(r *reader) *tail {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.tails[r.partition]; t != nil {
		if t.enter(r) {
			return t
		}
		return nil
	}
	if r.own == nil || l.closed {
		return nil
	}
	t := &tail{
		log: l, partition: r.partition, stream: r.own, ready: make(chan struct{}, 1),
		next: r.next, readers: map[*reader]int64{r: r.next},
	}
	t.room.L = &t.mu
	l.tails[r.partition] = t
	t.stream.redirect(t.ready)
	go t.pump()
	return t
}

// enter takes a reader in if everything from its offset on is here.
func (t *tail) enter(r *reader) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || t.err != nil || r.next > t.next || r.next < t.first() {
		return false
	}
	t.readers[r] = r.next
	if r.next < t.next {
		tell(r.ready)
	}
	return true
}

// first is the offset from which on nothing is missing.
func (t *tail) first() int64 {
	if len(t.records) == 0 {
		return t.next
	}
	return t.records[0].Offset
}

// leave takes a reader out; the last one ends the tail.
func (t *tail) leave(r *reader) {
	t.log.mu.Lock()
	t.mu.Lock()
	delete(t.readers, r)
	last := len(t.readers) == 0 && !t.ended
	if last {
		t.ended = true
		if t.log.tails[t.partition] == t {
			delete(t.log.tails, t.partition)
		}
	}
	t.room.Broadcast()
	t.mu.Unlock()
	t.log.mu.Unlock()
	if last {
		t.stream.close()
		tell(t.ready)
	}
}

// poll returns what a reader has not had; left says that the reader fell behind
// and is no longer of the tail.
func (t *tail) poll(r *reader, limit int) (out []log.Message, left bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next, in := t.readers[r]
	if !in { // what ended the tail since is not what the reader would meet next
		return nil, true, nil
	}
	from := t.index(next)
	to := min(from+limit, len(t.records))
	out = t.records[from:to:to]
	if len(out) == 0 {
		return nil, false, t.err
	}
	t.readers[r] = out[len(out)-1].Offset + 1
	if from+len(out) < len(t.records) || t.err != nil {
		tell(r.ready)
	}
	t.room.Signal()
	return out, false, nil
}

func (t *tail) pump() {
	for range t.ready {
		for {
			records, err := t.stream.poll(t.log.opts.ReadBuffer)
			if err != nil {
				t.fail(err)
				return
			}
			if len(records) == 0 {
				break
			}
			if !t.add(log.Memorable(records)) {
				return
			}
		}
	}
}

// kept is how many records that all readers have had stay for those who join.
const kept = 256

// add takes records in once there is room, and reports whether the tail goes on.
func (t *tail) add(records []log.Message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		t.forget()
		if t.ended || len(t.records) <= kept || len(t.records)+len(records) <= t.log.opts.ReadBuffer {
			break
		}
		if !t.leaveBehind() {
			t.room.Wait()
		}
	}
	if t.ended {
		return false
	}
	t.records = append(t.records, records...)
	t.next = records[len(records)-1].Offset + 1
	for r := range t.readers {
		tell(r.ready)
	}
	return true
}

// forget drops what all readers have had, but for the newest of it. What was
// handed out stays where it is: nothing is ever written over.
func (t *tail) forget() {
	slowest := t.next
	for _, next := range t.readers {
		slowest = min(slowest, next)
	}
	if had := t.index(slowest); had > kept {
		t.records = t.records[had-kept:]
	}
}

// leaveBehind takes the readers in the older half out, if somebody waits for more
// than they have had: until then there is no hurry. It reports whether it did.
func (t *tail) leaveBehind() bool {
	edge := t.records[len(t.records)/2].Offset
	starving, left := false, false
	for _, next := range t.readers {
		starving = starving || next == t.next
	}
	for r, next := range t.readers {
		if starving && next < edge {
			delete(t.readers, r)
			tell(r.ready)
			left = true
		}
	}
	return left
}

// index is where the record with an offset is, or the first behind it.
func (t *tail) index(offset int64) int {
	i, _ := slices.BinarySearchFunc(t.records, offset, func(m log.Message, offset int64) int { return cmp.Compare(m.Offset, offset) })
	return i
}

// end lets go of whoever waits for room; the log is closed.
func (t *tail) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.room.Broadcast()
}

// fail ends the tail with an error that every reader gets once it has had what
// came before.
func (t *tail) fail(err error) {
	t.log.mu.Lock()
	if t.log.tails[t.partition] == t {
		delete(t.log.tails, t.partition)
	}
	t.log.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
	for r := range t.readers {
		tell(r.ready)
	}
}
