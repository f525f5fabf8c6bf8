package worker

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// Server lets workers in other processes take leases from this node's board and
// report results to it.
type Server struct {
	Office Local
	Secret string
	Logger *slog.Logger
	// Done ends all lease streams when it is closed.
	Done <-chan struct{}

	hands chan func() // of those who have carried out a result

	mu      sync.Mutex
	streams map[string]*stream // by holder
}

// maxBatch bounds a batch of results.
const maxBatch = 16 << 20

// Handler returns the endpoints.
func (s *Server) Handler() http.Handler {
	s.hands = make(chan func())
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+leasesPath, s.leases)
	mux.HandleFunc("POST "+resultsPath, s.results)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.Secret)) != 1 {
			http.Error(w, "the node's secret is missing or wrong", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// leases streams work to one holder until either side ends.
func (s *Server) leases(w http.ResponseWriter, r *http.Request) {
	holder := r.URL.Query().Get("holder")
	slots, err := strconv.Atoi(r.URL.Query().Get("slots"))
	if holder == "" || err != nil || slots < 1 {
		http.Error(w, "holder and slots (at least 1) are required", http.StatusBadRequest)
		return
	}
	out := newStream(w)
	if !s.register(holder, out) {
		http.Error(w, "holder "+holder+" has a stream already", http.StatusConflict)
		return
	}
	defer s.unregister(holder)
	ctx := r.Context()
	defer out.end() // nothing may be written once this function has returned
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	heard := time.Now()
	for {
		offered := s.Office.Board.Offered()
		if slots > 0 {
			leases := s.Office.Board.Claim(holder, slots, 0)
			failpoint.Hit("office.after_claim")
			slots -= len(leases)
			if out.give(ctx, leases) != nil {
				return
			}
		}
		select {
		case n := <-out.freed:
			slots += n
			heard = time.Now()
		case <-offered:
		case <-tick.C:
			if time.Since(heard) > deadAfter {
				s.Logger.Warn("worker fell silent", "worker", holder)
				return
			}
			if out.send(frame{}) != nil {
				return
			}
		case <-ctx.Done():
			return
		case <-s.Done:
			return
		}
	}
}

func (s *Server) register(holder string, out *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		s.streams = make(map[string]*stream)
	}
	if s.streams[holder] != nil {
		return false
	}
	s.streams[holder] = out
	return true
}

// unregister lapses what the holder held. Each lapse is tried until it is an
// event or the node ends: then the next owner of the run finds it open.
func (s *Server) unregister(holder string) {
	s.mu.Lock()
	delete(s.streams, holder)
	s.mu.Unlock()
	for _, l := range s.Office.Board.Drop(holder) {
		go func() {
			for {
				failpoint.Hit("office.before_lapse")
				err := s.Office.Lapse(context.Background(), l)
				failpoint.Hit("office.after_lapse")
				if err == nil || !passing(err) {
					return
				}
				s.Logger.Warn("lapse lease", "stream", l.Stream, "step", l.Path, "attempt", l.Attempt, "error", err)
				select {
				case <-s.Done:
					return
				case <-time.After(retryPause):
				}
			}
		}()
	}
}

// results carries out a batch side by side, so that its appends share a commit.
func (s *Server) results(w http.ResponseWriter, r *http.Request) {
	var b batch
	if err := jsonv2.UnmarshalRead(http.MaxBytesReader(w, r.Body, maxBatch), &b, lenient); err != nil {
		http.Error(w, "not a batch of results: "+err.Error(), http.StatusBadRequest)
		return
	}
	failpoint.Hit("office.before_results")
	s.mu.Lock()
	out := s.streams[b.Holder]
	s.mu.Unlock()
	answers := make([]answer, len(b.Results))
	var all sync.WaitGroup
	for i, res := range b.Results {
		all.Add(1)
		s.beside(func() {
			defer all.Done()
			answers[i] = s.report(r.Context(), out, res)
		})
	}
	all.Wait()
	failpoint.Hit("office.after_results")
	if out != nil {
		select {
		case out.freed <- b.Freed:
		case <-r.Context().Done():
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answers); err != nil {
		s.Logger.Debug("answer results", "worker", b.Holder, "error", err)
	}
}

// beside begins something and does not wait for its end. Whoever has done one such
// thing does the next: its stack has grown, which took as long as the thing.
func (s *Server) beside(f func()) {
	select {
	case s.hands <- f:
		return
	default:
	}
	go func() {
		for {
			f()
			select {
			case f = <-s.hands:
			case <-s.Done:
				return
			}
		}
	}()
}

// report carries out a result. Its stream, if the holder has one, says no more
// about the attempt.
func (s *Server) report(ctx context.Context, out *stream, res result) answer {
	c, err := decodeResult(res)
	if err != nil {
		return answer{&domain.Error{Kind: domain.Invalid, Code: "worker.bad_result", Message: err.Error()}}
	}
	if _, begins := c.(commands.BeginStep); out != nil && !begins {
		out.settle(attemptOf(c))
	}
	err = s.Office.Report(telemetry.WithTraceParent(ctx, res.TraceParent), c)
	if err == nil {
		return answer{}
	}
	var known *domain.Error
	if errors.As(err, &known) {
		return answer{known}
	}
	s.Logger.Error("report result", "stream", c.Target(), "error", err)
	return answer{&domain.Error{Kind: domain.Internal, Code: "internal", Message: fmt.Sprintf("report %s failed", c.CommandName())}}
}
