package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/telemetry"
)

// Node is a process that owns runs.
type Node struct{ ID, Address, Secret string }

// Remote is the office of a worker in a process of its own: it takes leases
// from every node there is.
type Remote struct {
	Nodes  func(context.Context) ([]Node, error)
	Holder string
	Slots  int
	Logger *slog.Logger
	Client *http.Client // nil: one of its own

	mu     sync.Mutex
	links  map[string]*link
	leases chan lease.Lease
	owners map[attempt]*link
	joined int           // links that are up
	alone  chan struct{} // receives when the last of them has ended
}

// How often a worker looks for new nodes: often while it has none, for then nothing
// is done at all.
const (
	lookForNodes     = 500 * time.Millisecond
	lookForFirstNode = 50 * time.Millisecond
)

// link is the connection to one node.
type link struct {
	r       *Remote
	node    Node
	mu      sync.Mutex
	held    map[attempt]chan struct{}
	freed   int
	reports chan report
	kick    chan struct{} // a slot is free without a result
}

type report struct {
	command     commands.Run
	traceParent string
	done        chan error
}

// Run keeps links to all nodes until the context ends.
func (r *Remote) Run(ctx context.Context) {
	if r.Client == nil {
		r.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	}
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-r.alone:
		case <-ctx.Done():
			return
		}
		nodes, err := r.Nodes(ctx)
		if err != nil && ctx.Err() == nil {
			r.Logger.Warn("look for nodes", "error", err)
		}
		for _, n := range nodes {
			r.link(ctx, n, len(nodes))
		}
		next.Reset(r.patience(err))
	}
}

// patience is how long to wait before nodes are looked for again, given what came
// of the last time.
func (r *Remote) patience(err error) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.joined == 0 && err == nil {
		return lookForFirstNode
	}
	return lookForNodes
}

// join notes that a node gives work here; leave that it does not any more.
func (r *Remote) join() (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.joined--; r.joined > 0 {
			return
		}
		select {
		case r.alone <- struct{}{}:
		default:
		}
	}
}

// NewRemote returns an office whose Run must be started.
func NewRemote(nodes func(context.Context) ([]Node, error), holder string, slots int, logger *slog.Logger) *Remote {
	return &Remote{
		Nodes: nodes, Holder: holder, Slots: slots, Logger: logger,
		links: make(map[string]*link), leases: make(chan lease.Lease), owners: make(map[attempt]*link), alone: make(chan struct{}, 1),
	}
}

func (r *Remote) link(ctx context.Context, n Node, nodes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.links[n.ID]; ok {
		return
	}
	l := &link{r: r, node: n, held: make(map[attempt]chan struct{}), reports: make(chan report, 1024), kick: make(chan struct{}, 1)}
	r.links[n.ID] = l
	slots := max(1, (r.Slots+nodes-1)/nodes)
	go func() {
		ctx, cancel := context.WithCancel(ctx)
		for range postsAtOnce {
			go l.send(ctx)
		}
		err := l.receive(ctx, slots)
		cancel()
		r.unlink(l)
		if ctx.Err() == nil || err != nil {
			r.Logger.Debug("link ended", "node", n.Address, "error", err)
		}
	}()
}

// unlink withdraws everything the node had given out.
func (r *Remote) unlink(l *link) {
	r.mu.Lock()
	delete(r.links, l.node.ID)
	for a, owner := range r.owners {
		if owner == l {
			delete(r.owners, a)
		}
	}
	r.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, withdrawn := range l.held {
		close(withdrawn)
	}
	l.held = nil
}

// Take implements Office.
func (r *Remote) Take(ctx context.Context, _ string, max int) ([]lease.Lease, error) {
	var out []lease.Lease
	select {
	case l := <-r.leases:
		out = append(out, l)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for len(out) < max {
		select {
		case l := <-r.leases:
			out = append(out, l)
		default:
			return out, nil
		}
	}
	return out, nil
}

// Report implements Office: to the node that gave the lease, or, if it is gone,
// to any other, for any node may append.
func (r *Remote) Report(ctx context.Context, c commands.Run) error {
	l := r.reporterOf(c)
	if l == nil {
		return &domain.Error{Kind: domain.Unavailable, Code: "worker.no_node", Message: "no node can be reached"}
	}
	rep := report{c, telemetry.TraceParent(ctx), make(chan error, 1)}
	select {
	case l.reports <- rep:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-rep.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(10 * time.Second):
		return &domain.Error{Kind: domain.Unknown, Code: "worker.no_answer", Message: "the node did not answer"}
	}
}

func (r *Remote) reporterOf(c commands.Run) *link {
	a := attemptOf(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.owners[a]; l != nil {
		return l
	}
	for _, l := range r.links {
		return l
	}
	return nil
}

func attemptOf(c commands.Run) attempt {
	switch c := c.(type) {
	case commands.BeginStep:
		return attempt{c.Run, c.Path, c.Attempt}
	case commands.CompleteStep:
		return attempt{c.Run, c.Path, c.Attempt}
	case commands.FailStep:
		return attempt{c.Run, c.Path, c.Attempt}
	case commands.LapseStep:
		return attempt{c.Run, c.Path, c.Attempt}
	case commands.StartRun, commands.FireTimer, commands.CancelRun: // of the run, not of an attempt
	}
	return attempt{Stream: c.Target()}
}

// receive reads the lease stream until it ends or falls silent.
func (l *link) receive(ctx context.Context, slots int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := url.Values{"holder": {l.r.Holder}, "slots": {strconv.Itoa(slots)}}
	resp, err := l.do(ctx, http.MethodGet, leasesPath+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // the stream is over
	defer l.r.join()()
	silence := time.AfterFunc(deadAfter, cancel)
	defer silence.Stop()
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		silence.Reset(deadAfter)
		var f frame
		if err := jsonv2.Unmarshal(line, &f, lenient); err != nil {
			return fmt.Errorf("lease stream: %w", err)
		}
		switch {
		case f.Work != nil:
			if !l.hold(ctx, *f.Work) {
				return context.Cause(ctx)
			}
		case f.Withdrawn != nil:
			l.withdraw(*f.Withdrawn)
		}
	}
}

func (l *link) hold(ctx context.Context, w domain.Work) bool {
	a := attempt{w.Stream, w.Path, w.Attempt}
	withdrawn := make(chan struct{})
	l.mu.Lock()
	l.held[a] = withdrawn
	l.mu.Unlock()
	l.r.mu.Lock()
	l.r.owners[a] = l
	l.r.mu.Unlock()
	select {
	case l.r.leases <- lease.Lease{Work: w, Holder: l.r.Holder, Withdrawn: withdrawn}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *link) withdraw(a attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if withdrawn, ok := l.held[a]; ok {
		close(withdrawn)
		delete(l.held, a)
	}
}

// settle forgets an attempt that is over and counts its slot as free, once.
func (l *link) settle(a attempt) {
	l.r.mu.Lock()
	mine := l.r.owners[a] == l
	delete(l.r.owners, a)
	l.r.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, a)
	if mine {
		l.freed++
	}
}

// Release implements Office.
func (r *Remote) Release(w lease.Lease) {
	a := attempt{w.Stream, w.Path, w.Attempt}
	r.mu.Lock()
	l := r.owners[a]
	r.mu.Unlock()
	if l == nil { // settled with its result, or the node is gone
		return
	}
	l.settle(a)
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// postsAtOnce is how many batches of results are on their way to a node. With one,
// a result waits until all of the batch before have committed; with many, batches
// are small.
const postsAtOnce = 3

// send reports results in batches: whatever gathered while the batches before were
// on their way, or nothing, as a heartbeat.
func (l *link) send(ctx context.Context) {
	beat := time.NewTicker(keepAlive)
	defer beat.Stop()
	for {
		var waiting []report
		select {
		case first := <-l.reports:
			waiting = append(waiting, first)
		case <-beat.C: // an empty batch says that the worker lives
		case <-l.kick:
		case <-ctx.Done():
			l.refuse(nil)
			return
		}
	more:
		for len(waiting) < 512 {
			select {
			case next := <-l.reports:
				waiting = append(waiting, next)
			default:
				break more
			}
		}
		answers, err := l.post(ctx, waiting)
		if err != nil {
			l.refuse(waiting)
			continue
		}
		for i, rep := range waiting {
			if answers[i].Error != nil {
				rep.done <- answers[i].Error
				continue
			}
			rep.done <- nil
		}
	}
}

// refuse lets waiting reports be tried again, elsewhere if need be.
func (l *link) refuse(waiting []report) {
	for {
		for _, rep := range waiting {
			rep.done <- &domain.Error{Kind: domain.Unknown, Code: "worker.no_answer", Message: "the node did not answer"}
		}
		select {
		case next := <-l.reports:
			waiting = []report{next}
		default:
			return
		}
	}
}

func (l *link) post(ctx context.Context, reports []report) ([]answer, error) {
	b := batch{Holder: l.r.Holder}
	for _, rep := range reports {
		res, err := encodeResult(rep.command)
		if err != nil {
			return nil, err
		}
		res.TraceParent = rep.traceParent
		b.Results = append(b.Results, res)
		if _, begins := rep.command.(commands.BeginStep); !begins {
			l.settle(attemptOf(rep.command)) // its slot is free when the result arrives
		}
	}
	l.mu.Lock()
	b.Freed, l.freed = l.freed, 0
	l.mu.Unlock()
	body, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	resp, err := l.do(ctx, http.MethodPost, resultsPath, bytes.NewReader(body))
	if err != nil {
		l.mu.Lock()
		l.freed += b.Freed
		l.mu.Unlock()
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to the end below
	var answers []answer
	if err := json.NewDecoder(resp.Body).Decode(&answers); err != nil {
		return nil, err
	}
	if len(answers) != len(reports) {
		return nil, errors.New("the node answered another number of results")
	}
	return answers, nil
}

func (l *link) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, l.node.Address+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.node.Secret)
	resp, err := l.r.Client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // the status alone says enough
		resp.Body.Close()                                      //nolint:errcheck // nothing was kept
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return resp, nil
}
