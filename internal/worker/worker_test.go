package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/worker"
)

type clock struct{}

func (clock) Now() time.Time { return time.Now() }

// register notes the commands it carries out, and answers from a script.
type register struct {
	mu     sync.Mutex
	seen   []commands.Request
	arrive chan commands.Run
	answer func(commands.Run) error
}

func newRegister() *register { return &register{arrive: make(chan commands.Run, 100)} }

func (r *register) Do(_ context.Context, q commands.Request) (commands.Receipt, error) {
	r.mu.Lock()
	r.seen = append(r.seen, q)
	answer := r.answer
	r.mu.Unlock()
	c := q.Command.(commands.Run)
	if answer != nil {
		if err := answer(c); err != nil {
			return commands.Receipt{}, err
		}
	}
	r.arrive <- c
	return commands.Receipt{}, nil
}

func stream(i int) domain.StreamID {
	return domain.NamedStreamID(domain.DefaultTenant, "run", fmt.Sprint(i))
}

func offer(b *lease.Board, i int) {
	b.Reconcile(stream(i), []domain.Work{{Stream: stream(i), Path: "a", Attempt: 1, Kind: domain.NoopStep, Input: json.RawMessage(`{}`)}})
}

func complete(_ context.Context, w domain.Work) commands.Run {
	return commands.CompleteStep{StepResult: commands.StepResult{Run: w.Stream, Path: w.Path, Attempt: w.Attempt}, Output: json.RawMessage(`{}`)}
}

// site is a node that owns runs and a pool in another process, joined by HTTP.
type site struct {
	board    *lease.Board
	register *register
	end      context.CancelFunc // ends the pool as a kill would end its connection
	ended    chan struct{}
}

func newSite(t *testing.T, slots int, perform worker.Perform) *site {
	t.Helper()
	s := &site{board: lease.NewBoard(clock{}), register: newRegister(), ended: make(chan struct{})}
	server := &worker.Server{Office: worker.Local{Board: s.board, Dispatcher: s.register}, Secret: "secret", Logger: slog.New(slog.DiscardHandler), Done: t.Context().Done()}
	web := httptest.NewServer(server.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	s.end = cancel
	nodes := func(context.Context) ([]worker.Node, error) {
		return []worker.Node{{ID: "n", Address: web.URL, Secret: "secret"}}, nil
	}
	remote := worker.NewRemote(nodes, "holder", slots, slog.New(slog.DiscardHandler))
	go remote.Run(ctx)
	pool := &worker.Pool{Office: remote, Perform: perform, Holder: "holder", Slots: slots, Logger: slog.New(slog.DiscardHandler)}
	go func() { defer close(s.ended); pool.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-s.ended; web.CloseClientConnections(); web.Close() })
	return s
}

func TestAWorkerElsewhereDoesMoreWorkThanItHasSlotsAndReportsAllOfIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2, complete)
	for i := range 20 {
		offer(s.board, i)
	}
	done := make(map[domain.StreamID]bool)
	for len(done) < 20 {
		c := <-s.register.arrive
		done[c.Target()] = true
	}
}

// transport answers requests in memory.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

func TestAWorkerThatLostItsOnlyNodeLooksForAnotherAtOnceAndOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var asked []time.Duration
		nodes := func(context.Context) ([]worker.Node, error) {
			asked = append(asked, time.Since(began))
			if len(asked) == 7 { // the database is away too: no hurry then
				return nil, io.ErrUnexpectedEOF
			}
			return []worker.Node{{ID: "n", Address: "http://node", Secret: "secret"}}, nil
		}
		leases, node := io.Pipe()
		remote := worker.NewRemote(nodes, "holder", 1, slog.New(slog.DiscardHandler))
		remote.Client = &http.Client{Transport: transport(func(q *http.Request) (*http.Response, error) {
			if time.Since(began) > time.Second {
				return nil, io.ErrUnexpectedEOF
			}
			return &http.Response{StatusCode: http.StatusOK, Body: leases, Request: q}, nil
		})}
		ctx, cancel := context.WithCancel(t.Context())
		go remote.Run(ctx)
		time.Sleep(1200 * time.Millisecond)
		if err := node.CloseWithError(io.ErrUnexpectedEOF); err != nil { // it was killed
			t.Error(err)
		}
		time.Sleep(610 * time.Millisecond)
		cancel()
		synctest.Wait()
		var want []time.Duration
		for _, ms := range []time.Duration{0, 50, 550, 1050, 1200, 1250, 1300, 1800} {
			want = append(want, ms*time.Millisecond)
		}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("when it looked for nodes (-want +got): %s", diff)
		}
	})
}

func TestAWorkerThatGoesAwayLapsesWhatItHeld(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	s := newSite(t, 1, func(ctx context.Context, w domain.Work) commands.Run {
		close(begun)
		<-ctx.Done()
		return complete(ctx, w)
	})
	offer(s.board, 1)
	<-begun
	s.end()
	c := <-s.register.arrive
	if l, ok := c.(commands.LapseStep); !ok || l.Attempt != 1 || l.Worker != "holder" {
		t.Errorf("after the end of the worker came %#v, want a lapse of attempt 1", c)
	}
}

func TestAWithdrawnLeaseCancelsTheWorkElsewhere(t *testing.T) {
	t.Parallel()
	begun, cause := make(chan struct{}), make(chan error, 1)
	s := newSite(t, 1, func(ctx context.Context, w domain.Work) commands.Run {
		close(begun)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return complete(ctx, w)
	})
	offer(s.board, 1)
	<-begun
	s.board.Reconcile(stream(1), nil)
	if err := <-cause; err != worker.ErrWithdrawn {
		t.Errorf("cancelled because of %v, want %v", err, worker.ErrWithdrawn)
	}
}

func TestAResultElsewhereDoesNotWaitForOneThatTakesLong(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2, complete)
	reached, second := make(chan struct{}), make(chan struct{})
	s.register.mu.Lock()
	s.register.answer = func(c commands.Run) error {
		if _, completes := c.(commands.CompleteStep); !completes { // at the end it lapses
			return nil
		}
		if c.Target() == stream(2) {
			close(second)
			return nil
		}
		close(reached)
		select {
		case <-second:
		case <-time.After(5 * time.Second):
			t.Error("the second result waited for the first")
		}
		return nil
	}
	s.register.mu.Unlock()
	offer(s.board, 1)
	<-reached
	offer(s.board, 2)
	<-s.register.arrive
	<-s.register.arrive
}

func TestAResultThatCouldNotBeCarriedOutIsReportedAgainUnderTheSameId(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, complete)
	refusals := 1
	s.register.mu.Lock()
	s.register.answer = func(commands.Run) error {
		if refusals--; refusals >= 0 {
			return &domain.Error{Kind: domain.Unavailable, Code: "x", Message: "down"}
		}
		return nil
	}
	s.register.mu.Unlock()
	offer(s.board, 1)
	<-s.register.arrive
	s.register.mu.Lock()
	defer s.register.mu.Unlock()
	if n := len(s.register.seen); n != 2 || s.register.seen[0].ID != s.register.seen[1].ID {
		t.Errorf("%d reports, want two under one id", n)
	}
}

func TestAPanicIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, func(context.Context, domain.Work) commands.Run { panic("boom") })
	offer(s.board, 1)
	c := <-s.register.arrive
	if f, ok := c.(commands.FailStep); !ok || f.Fault.Code != "worker.panic" {
		t.Errorf("came %#v, want a failed attempt", c)
	}
}

func TestAGuardedEffectIsPerformedOnlyAfterItsBeginningWasRecorded(t *testing.T) {
	t.Parallel()
	for _, refused := range []bool{false, true} {
		performed := make(chan struct{}, 1)
		s := newSite(t, 1, func(ctx context.Context, w domain.Work) commands.Run {
			performed <- struct{}{}
			return complete(ctx, w)
		})
		asked := make(chan struct{}, 1)
		s.register.mu.Lock()
		s.register.answer = func(c commands.Run) error {
			if _, begins := c.(commands.BeginStep); begins {
				if len(performed) > 0 {
					t.Error("performed before its beginning was recorded")
				}
				asked <- struct{}{}
				if refused {
					return &domain.Error{Kind: domain.Conflict, Code: "run.begun_by_another", Message: "begun"}
				}
			}
			return nil
		}
		s.register.mu.Unlock()
		w := domain.Work{Stream: stream(1), Path: "a", Attempt: 1, Kind: domain.NoopStep, Effect: domain.AtMostOnce}
		s.board.Reconcile(stream(1), []domain.Work{w})
		<-asked
		if refused {
			offer(s.board, 2) // the slot is free again, without a result
			if c := <-s.register.arrive; c.Target() != stream(2) {
				t.Errorf("came %#v, want only the other step's result", c)
			}
			continue
		}
		<-performed
	}
}

func TestAStrangerGetsNoWork(t *testing.T) {
	t.Parallel()
	server := &worker.Server{Office: worker.Local{Board: lease.NewBoard(clock{}), Dispatcher: newRegister()}, Secret: "secret", Logger: slog.New(slog.DiscardHandler)}
	for _, authorization := range []string{"", "Bearer ", "Bearer wrong"} {
		r := httptest.NewRequest("GET", "/work/v1/leases?holder=h&slots=1", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		if w.Code != 401 {
			t.Errorf("authorization %q answered %d", authorization, w.Code)
		}
	}
}
