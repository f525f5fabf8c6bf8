package kafka

import (
	"context"
	"time"

	"github.com/hishamos/hishamos/internal/log"
)

// reader reads a partition from the tail that it shares with others, or from a
// stream of its own as long as it is elsewhere in the partition.
type reader struct {
	log       *Log
	partition log.Partition
	ready     chan struct{}
	next      int64 // the offset to go on from

	tail   *tail
	own    *stream
	opened chan opening // not nil: a stream of its own is being opened
	err    error
}

type opening struct {
	stream *stream
	err    error
}

var _ log.Reader = (*reader)(nil)

// Open implements log.Log.
func (l *Log) Open(ctx context.Context, p log.Partition, offset int64) (log.Reader, error) {
	r := &reader{log: l, partition: p, next: offset, ready: make(chan struct{}, 1)}
	if offset >= 0 && r.join() {
		return r, nil
	}
	var err error
	if r.own, err = l.stream(ctx, p, offset, r.ready); err != nil {
		return nil, err
	}
	return r, nil
}

// join goes over to the tail if that holds what comes next. Where there is no
// tail, its own stream becomes it.
func (r *reader) join() bool {
	t := r.log.tailOf(r)
	if t == nil {
		return false
	}
	r.tail, r.own = t, nil
	return true
}

// Poll implements log.Reader.
func (r *reader) Poll(limit int) ([]log.Message, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.tail != nil:
		return r.pollTail(limit)
	case r.opened != nil:
		select {
		case o := <-r.opened:
			r.own, r.err, r.opened = o.stream, o.err, nil
			return r.Poll(limit)
		default:
			return nil, nil
		}
	}
	out, err := r.own.poll(limit)
	if err != nil {
		return nil, err
	}
	if len(out) > 0 {
		r.next = out[len(out)-1].Offset + 1
	} else if r.next >= 0 && r.join() {
		return r.pollTail(limit)
	}
	return out, nil
}

func (r *reader) pollTail(limit int) ([]log.Message, error) {
	out, left, err := r.tail.poll(r, limit)
	switch {
	case err != nil:
		r.err = err
		return nil, err
	case left:
		r.tail = nil
		r.reopen()
		return nil, nil
	case len(out) > 0:
		r.next = out[len(out)-1].Offset + 1
	}
	return out, nil
}

// reopenTimeout is how long a reader that was left behind may take to get a
// stream of its own.
const reopenTimeout = 15 * time.Second

// reopen gets a stream of its own without waiting for it.
func (r *reader) reopen() {
	opened := make(chan opening, 1)
	r.opened = opened
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), reopenTimeout)
		defer cancel()
		s, err := r.log.stream(ctx, r.partition, r.next, r.ready)
		opened <- opening{s, err}
		tell(r.ready)
	}()
}

// Ready implements log.Reader.
func (r *reader) Ready() <-chan struct{} { return r.ready }

// Close implements log.Reader.
func (r *reader) Close() error {
	switch {
	case r.tail != nil:
		r.tail.leave(r)
	case r.opened != nil:
		go func(opened <-chan opening) {
			if o := <-opened; o.stream != nil {
				o.stream.close()
			}
		}(r.opened)
	case r.own != nil:
		r.own.close()
	}
	r.tail, r.own, r.opened, r.err = nil, nil, nil, errClosed
	return nil
}
