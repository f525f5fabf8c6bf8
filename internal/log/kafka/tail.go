package kafka

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hishamos/hishamos/internal/log"
)

// tail is the newest part of a partition, fetched and decoded once for all of
// its readers. One that falls too far behind while others wait is left to a
// stream of its own.
//
// What this process writes comes from its writer once all replicas have it, at the
// offset that the broker gave it. While nothing else comes, nothing is fetched.
type tail struct {
	log       *Log
	partition log.Partition

	mu      sync.Mutex
	room    sync.Cond // a reader went on, the stream was closed, or the tail has ended
	stream  *stream   // nil: what is written here is all there is
	records []log.Message
	next    int64             // the offset behind the last record
	readers map[*reader]int64 // the offset that each goes on from
	err     error
	ended   bool

	fed     int         // records that the writer gave, one behind the other
	silent  *time.Timer // goes off when it has given none for a while
	opening bool        // of a stream
}

// tailOf enters a reader into the tail of its partition, if there is one that
// holds what the reader needs next. Without any, the reader's own stream becomes
// the tail. Otherwise it returns nil.
func (l *Log) tailOf(r *reader) *tail {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.tails[r.partition]; t != nil {
		if !t.enter(r) {
			return nil
		}
		if r.own != nil {
			go r.own.close()
		}
		return t
	}
	if r.own == nil || l.closed {
		return nil
	}
	t := &tail{log: l, partition: r.partition, next: r.next, readers: map[*reader]int64{r: r.next}}
	t.room.L = &t.mu
	l.tails[r.partition] = t
	t.follow(r.own)
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
	var s *stream
	if last {
		t.ended, s = true, t.stream
		if t.log.tails[t.partition] == t {
			delete(t.log.tails, t.partition)
		}
	}
	t.room.Broadcast()
	t.mu.Unlock()
	t.log.mu.Unlock()
	if s != nil {
		s.close()
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

// follow takes in what a stream brings. Called with mu held, or before others
// have the tail.
func (t *tail) follow(s *stream) {
	t.stream = s
	ready := make(chan struct{}, 1)
	s.redirect(ready)
	go t.pump(s, ready)
}

// unfollow lets go of the stream, if there is one, and closes it. Called with mu
// held.
func (t *tail) unfollow() {
	if t.stream != nil {
		go t.stream.close() // waits for its pump
	}
	t.stream = nil
	t.room.Broadcast()
}

func (t *tail) pump(s *stream, ready <-chan struct{}) {
	for range ready {
		for {
			records, err := s.poll(t.log.opts.ReadBuffer)
			if err != nil {
				t.fail(s, err)
				return
			}
			if len(records) == 0 {
				break
			}
			if !t.add(s, log.Memorable(records)) {
				return
			}
		}
	}
}

// kept is how many records that all readers have had stay for those who join.
const kept = 256

// add takes records of a stream in once there is room, and reports whether the
// tail still follows it.
func (t *tail) add(s *stream, records []log.Message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.ended && t.stream == s && !t.fits(len(records)) {
		if !t.leaveBehind() {
			t.room.Wait()
		}
	}
	if t.ended || t.stream != s {
		return false
	}
	t.take(records)
	return true
}

// fits reports whether there is room for more.
func (t *tail) fits(n int) bool {
	t.forget()
	return len(t.records) <= kept || len(t.records)+n <= t.log.opts.ReadBuffer
}

// take keeps what is not here yet, and tells the readers.
func (t *tail) take(records []log.Message) {
	for len(records) > 0 && records[0].Offset < t.next {
		records = records[1:]
	}
	if len(records) == 0 {
		return
	}
	t.records = append(t.records, records...)
	t.next = records[len(records)-1].Offset + 1
	for r := range t.readers {
		tell(r.ready)
	}
}

// A tail that was given this many records in a row closes its stream. Once it is
// given none for this long, others may be writing, and it opens one again.
const (
	feedsItself = 64
	silence     = 100 * time.Millisecond
)

// reopenPause is how long a tail waits at most before it tries to open a stream
// again.
const reopenPause = 500 * time.Millisecond

// written gives the tail of a partition what this process wrote there, once it is
// acknowledged.
func (l *Log) written(p log.Partition, first int64, entries []entry) {
	l.mu.Lock()
	t := l.tails[p]
	l.mu.Unlock()
	if t == nil {
		return
	}
	records := make([]log.Message, len(entries))
	for i, e := range entries {
		records[i] = e.message
		records[i].Offset = first + int64(i)
	}
	t.feed(log.Memorable(records))
}

// feed takes in records without waiting. What does not follow on from what is
// here, or finds no room, a stream brings instead.
func (t *tail) feed(records []log.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := records[0].Offset
	follows := first == t.next || first < t.next && t.stream != nil
	for follows && !t.fits(len(records)) {
		follows = t.leaveBehind()
	}
	if !follows {
		t.listen()
		return
	}
	t.take(records)
	if t.fed += len(records); t.fed < feedsItself || t.ended {
		return
	}
	t.unfollow()
	if t.silent == nil {
		t.silent = time.AfterFunc(silence, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.listen()
		})
	}
	t.silent.Reset(silence)
}

// listen has a stream opened where there is none. Called with mu held.
func (t *tail) listen() {
	t.fed = 0
	if t.stream == nil && !t.opening && !t.ended && t.err == nil {
		t.opening = true
		go t.open()
	}
}

// open opens a stream, for as long as it takes.
func (t *tail) open() {
	for pause := retryDelay; ; pause = min(2*pause, reopenPause) {
		t.mu.Lock()
		next, ended := t.next, t.ended
		t.mu.Unlock()
		if ended {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), reopenTimeout)
		s, err := t.log.stream(ctx, t.partition, next, make(chan struct{}, 1))
		cancel()
		switch {
		case errors.Is(err, ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
			if pause == retryDelay {
				t.log.opts.Logger.Warn("reading from Kafka is interrupted", "partition", t.partition.String(), "error", err)
			}
			time.Sleep(pause)
		case err != nil:
			t.fail(nil, err)
			return
		default:
			t.mu.Lock()
			t.opening, ended = false, t.ended
			if !ended {
				t.follow(s)
			}
			t.mu.Unlock()
			if ended {
				s.close()
			}
			return
		}
	}
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

// leaveBehind takes the slowest reader and all in the older half out, if somebody
// waits for more than they have had: until then there is no hurry. It reports
// whether it did.
func (t *tail) leaveBehind() bool {
	slowest, starving := t.next, false
	for _, next := range t.readers {
		slowest = min(slowest, next)
		starving = starving || next == t.next
	}
	if !starving || slowest == t.next {
		return false
	}
	edge := max(slowest+1, t.records[len(t.records)/2].Offset)
	for r, next := range t.readers {
		if next < edge {
			delete(t.readers, r)
			tell(r.ready)
		}
	}
	return true
}

// index is where the record with an offset is, or the first behind it.
func (t *tail) index(offset int64) int {
	i, _ := slices.BinarySearchFunc(t.records, offset, func(m log.Message, offset int64) int { return cmp.Compare(m.Offset, offset) })
	return i
}

// end tells all readers that the log is closed.
func (t *tail) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.over(errClosed)
}

// fail ends the tail with an error of its stream that every reader gets once it
// has had what came before.
func (t *tail) fail(s *stream, err error) {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if s != t.stream { // it was let go of
		return
	}
	if t.log.tails[t.partition] == t {
		delete(t.log.tails, t.partition)
	}
	t.over(err)
}

// over tells the readers of an error. Called with mu held.
func (t *tail) over(err error) {
	t.err = cmp.Or(t.err, err)
	t.room.Broadcast()
	for r := range t.readers {
		tell(r.ready)
	}
}
