package memory

import (
	"errors"
	"fmt"

	"github.com/hishamos/hishamos/internal/log"
)

var errClosed = errors.New("log is closed")

// reader reads the partition where it is; nothing is copied ahead.
type reader struct {
	log    *Log
	id     log.Partition
	next   int64
	again  int // records to be delivered once more; see Redeliver
	ready  chan struct{}
	closed bool
}

// Poll implements log.Reader.
func (r *reader) Poll(limit int) ([]log.Message, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.closed || r.log.closed {
		return nil, errClosed
	}
	p, err := r.log.find(r.id)
	if err != nil {
		return nil, fmt.Errorf("poll: %w", err)
	}
	if r.again > 0 {
		r.next = max(p.first, r.next-int64(r.again))
		r.again = 0
	}
	if r.next < p.first || r.next > p.end() {
		return nil, fmt.Errorf("poll %s at %d: %w", r.id, r.next, log.ErrOffsetOutOfRange)
	}
	from := r.next - p.first
	n := min(int64(limit), int64(len(p.records))-from)
	out := append([]log.Message(nil), p.records[from:from+n]...)
	r.next += n
	if r.next < p.end() {
		r.signal()
	}
	return out, nil
}

// Ready implements log.Reader.
func (r *reader) Ready() <-chan struct{} { return r.ready }

// Close implements log.Reader.
func (r *reader) Close() error {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.closed = true
	delete(r.log.readers, r)
	return nil
}

func (r *reader) signal() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}
