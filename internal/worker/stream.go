package worker

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/hishamos/hishamos/internal/lease"
)

// stream is the server's side of a lease stream.
type stream struct {
	freed chan int // slots that became free; also the holder's heartbeat

	mu    sync.Mutex
	enc   *json.Encoder
	flush *http.ResponseController
	ended bool
	given map[attempt]chan struct{} // closed when the holder has reported
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{
		freed: make(chan int, 1024),
		enc:   json.NewEncoder(w), flush: http.NewResponseController(w), given: make(map[attempt]chan struct{}),
	}
}

// send writes lines together.
func (s *stream) send(lines ...frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return http.ErrServerClosed
	}
	var err error
	for i := 0; i < len(lines) && err == nil; i++ {
		err = s.enc.Encode(lines[i])
	}
	if err == nil {
		err = s.flush.Flush()
	}
	s.ended = err != nil
	return err
}

// give sends leases, and tells the holder when one is withdrawn before it has
// reported.
func (s *stream) give(ctx context.Context, leases []lease.Lease) error {
	if len(leases) == 0 {
		return nil
	}
	lines := make([]frame, len(leases))
	reported := make([]chan struct{}, len(leases))
	s.mu.Lock()
	for i := range leases {
		l := &leases[i]
		lines[i].Work, reported[i] = &l.Work, make(chan struct{})
		s.given[attempt{l.Stream, l.Path, l.Attempt}] = reported[i]
	}
	s.mu.Unlock()
	if err := s.send(lines...); err != nil {
		return err
	}
	for i := range leases {
		go s.watch(ctx, leases[i], reported[i])
	}
	return nil
}

// watch tells the holder when a lease is withdrawn. A failure to send ends the
// stream at its next frame.
func (s *stream) watch(ctx context.Context, l lease.Lease, reported <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-reported: // the end of the work withdraws the lease, too: that is no news
	case <-l.Withdrawn:
		a := attempt{l.Stream, l.Path, l.Attempt}
		if s.settle(a) {
			_ = s.send(frame{Withdrawn: &a}) // see above
		}
	}
}

// settle says that an attempt is over for its holder; false: it was already.
func (s *stream) settle(a attempt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	reported, ok := s.given[a]
	if ok {
		close(reported)
		delete(s.given, a)
	}
	return ok
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}
