// Package dispatch carries out commands: authorise, load, fold, decide, append.
//
// Commands to one stream are decided one after another against state in memory,
// and the next is decided before the one before it has committed. It must not
// know what a command means, nor which store it appends to. It imports domain,
// commands, events and the eventstore contract.
//
// Start reading at Dispatcher.Do; queue.go holds the state of one stream.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/failpoint"
)

// Options are the settings of a Dispatcher; the zero value of each is usable.
type Options struct {
	Clock domain.Clock // nil: the machine's
	// CacheStreams bounds the streams whose state is kept in memory; 0: 8192. Of
	// those that are closed, a sixteenth as many are.
	CacheStreams int
	// Level is the highest level of event types that may be written now; nil:
	// the build's own.
	Level func() int
	// Limits bound the new work that is let in.
	Limits Limits
	// Sealer protects what has a class; nil: nothing is protected.
	Sealer Sealer
	// Watch, if not nil, is told what was decided and the state that it leads to,
	// which it must not keep. What it returns is called once that has committed.
	Watch func(state any, decided []events.Event) (committed func(at time.Time, r eventstore.Receipt))
}

// Dispatcher implements commands.Dispatcher.
type Dispatcher struct {
	store      eventstore.Store
	opts       Options
	aggregates map[string]Aggregate
	cache      *cache
	gate       *gate
	doubts     atomic.Uint64 // calls of Doubt
}

var _ commands.Dispatcher = (*Dispatcher)(nil)

// ErrForbidden says which permission is missing.
var ErrForbidden = &domain.Error{
	Kind: domain.Forbidden, Code: "permission.missing", Message: "permission is missing",
	Fix: "ask an administrator for it",
}

// ErrStale says that the stream has moved on from the version the caller saw.
var ErrStale = &domain.Error{
	Kind: domain.Stale, Code: "version.stale", Field: "If-Match",
	Message: "it was changed since you read it", Fix: "read it again and send its new version",
}

// ErrNotFound hides streams of other tenants as if they were not there.
var ErrNotFound = &domain.Error{Kind: domain.NotFound, Code: "stream.not_found", Message: "not found"}

// ErrContended says that other processes kept changing the stream.
var ErrContended = &domain.Error{
	Kind: domain.Unavailable, Code: "stream.contended",
	Message: "too many others are changing it", Fix: "try again",
}

// New returns a dispatcher over a store for the given aggregates.
func New(store eventstore.Store, opts Options, aggregates ...Aggregate) *Dispatcher {
	if opts.Clock == nil {
		opts.Clock = systemClock{}
	}
	if opts.CacheStreams == 0 {
		opts.CacheStreams = 8192
	}
	if opts.Level == nil {
		opts.Level = func() int { return events.Level }
	}
	if opts.Sealer == nil {
		opts.Sealer = plain{}
	}
	if opts.Watch == nil {
		opts.Watch = func(any, []events.Event) func(time.Time, eventstore.Receipt) { return nil }
	}
	d := &Dispatcher{store: store, opts: opts, aggregates: make(map[string]Aggregate, len(aggregates)), cache: newCache(opts.CacheStreams), gate: newGate(opts.Limits)}
	for _, a := range aggregates {
		d.aggregates[a.kind()] = a
	}
	return d
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now().UTC() }

// maxTries bounds how often a command is decided again because other processes
// changed its stream in between.
const maxTries = 64

// Do carries out one request. Errors are *domain.Error values, or internal.
func (d *Dispatcher) Do(ctx context.Context, r commands.Request) (commands.Receipt, error) {
	a, err := d.admit(r)
	if err != nil {
		return commands.Receipt{}, err
	}
	leave, err := d.enter(ctx, r)
	if err != nil {
		return commands.Receipt{}, err
	}
	defer leave()
	q := d.cache.acquire(r.Command.Target())
	defer d.cache.release(q)
	if d.isNew(r) && !q.mayChange(d.opts.Limits.StreamRate, d.opts.Clock.Now()) {
		return commands.Receipt{}, ErrStreamRate
	}
	if r.Fresh {
		q.begin(a, d.doubts.Load())
	}
	for range maxTries {
		receipt, again, err := d.try(ctx, q, a, r)
		if !again {
			return receipt, err
		}
		if ctx.Err() != nil {
			return commands.Receipt{}, context.Cause(ctx)
		}
	}
	return commands.Receipt{}, ErrContended
}

// isNew says that a request is for new work, which is let in within limits: it
// does not end what has begun, and is not the program's own.
func (d *Dispatcher) isNew(r commands.Request) bool {
	_, urgent := r.Command.(commands.Urgent)
	return !urgent && r.Principal.Tenant != domain.SystemTenant
}

// enter lets a request in; leave must be called when it has been carried out.
func (d *Dispatcher) enter(ctx context.Context, r commands.Request) (leave func(), err error) {
	if !d.isNew(r) {
		return func() {}, nil
	}
	t := r.Principal.Tenant
	if err := d.gate.enter(ctx, t, d.opts.Clock.Now()); err != nil {
		return nil, err
	}
	return func() { d.gate.leave(t) }, nil
}

// admit checks everything that does not need the stream's state.
func (d *Dispatcher) admit(r commands.Request) (Aggregate, error) {
	c := r.Command
	a, ok := d.aggregates[c.Target().Kind()]
	if !ok || !a.accepts(c) {
		return nil, fmt.Errorf("dispatch %s: no decider for %s", c.CommandName(), c.Target())
	}
	if r.ID == "" {
		return nil, fmt.Errorf("dispatch %s: request has no id", c.CommandName())
	}
	if !r.Principal.May(c.Needs()) {
		return nil, ErrForbidden.With("permission %s is missing", c.Needs())
	}
	if t := r.Principal.Tenant; t != c.Target().Tenant() && t != domain.SystemTenant {
		return nil, ErrNotFound
	}
	return a, c.Validate()
}

// try decides once and waits for the outcome. Again says that the stream was
// changed by somebody else in between.
func (d *Dispatcher) try(ctx context.Context, q *queue, a Aggregate, r commands.Request) (receipt commands.Receipt, again bool, err error) {
	if err := q.lock(ctx); err != nil {
		return receipt, false, err
	}
	if err := q.load(ctx, d, a); err != nil {
		q.unlock()
		return receipt, false, err
	}
	if r.Expected != nil && *r.Expected != q.version {
		current, err := q.current(ctx, d.store)
		q.unlock()
		if err != nil || !current {
			return receipt, err == nil, err
		}
		return d.repeated(ctx, r, ErrStale)
	}
	now := d.opts.Clock.Now().UTC().Truncate(time.Microsecond)
	decided, refusal := a.decide(q.state, r.Command, now)
	content := q.content
	written, err := events.At(d.opts.Level(), decided, func(e events.Event) (sealed events.Event, keyIDs string, err error) {
		sealed, keyIDs, content, err = d.opts.Sealer.Seal(ctx, q.stream, content, e)
		return sealed, keyIDs, err
	})
	// A refusal before anything is written, as of who seals, is a refusal like the
	// decider's: it too may rest on a state that is not current.
	var no *domain.Error
	if errors.As(err, &no) && no.Kind == domain.Conflict {
		err, refusal, written = nil, no, nil
	}
	if err != nil {
		q.unlock()
		return receipt, false, err
	}
	if refusal != nil || len(written) == 0 {
		// Nothing is appended, so the store does not check what it was decided on.
		version := q.version
		current, err := q.current(ctx, d.store)
		q.unlock()
		if err != nil || !current {
			return receipt, err == nil, err
		}
		receipt, again, err = d.repeated(ctx, r, refusal)
		if err == nil && !receipt.Replayed {
			receipt.Version = version
		}
		return receipt, again, err
	}
	write := proposed(r.Command.Target(), written, now)
	write.Expected, write.Chain, write.Link = int64(q.version), q.chain, q.links
	failpoint.Hit("dispatch.before_submit")
	pending := d.store.Submit(ctx, appendOf(r, write))
	ticket := q.advance(a, written)
	q.content = content
	committed := d.opts.Watch(q.state, decided)
	q.unlock()

	got, err := pending.Wait()
	failpoint.Hit("dispatch.after_commit")
	fresh := err == nil && !got.Replayed
	q.done(ticket, fresh)
	if fresh && committed != nil {
		committed(now, got)
	}
	var conflict *eventstore.ConflictError
	switch {
	case errors.As(err, &conflict): // also of what was decided on an append that failed
		return receipt, true, nil
	case err != nil:
		return receipt, false, err
	}
	return receiptOf(got, r.Command.Target()), false, nil
}

// repeated answers a request that leads to nothing new: with the first answer
// if its id was carried out before, else with the refusal.
func (d *Dispatcher) repeated(ctx context.Context, r commands.Request, refusal error) (commands.Receipt, bool, error) {
	got, body, ok, err := d.store.Committed(ctx, r.Command.Target().Tenant(), r.ID)
	if err != nil {
		return commands.Receipt{}, false, err
	}
	if !ok {
		return commands.Receipt{Stream: r.Command.Target()}, false, refusal
	}
	if body != nil && r.Body != nil && string(body) != string(r.Body) {
		return commands.Receipt{}, false, eventstore.ErrBodyMismatch
	}
	got.Replayed = true
	return receiptOf(got, r.Command.Target()), false, nil
}

func proposed(stream domain.StreamID, written []events.Written, now time.Time) eventstore.Write {
	w := eventstore.Write{Stream: stream, Events: make([]eventstore.Proposed, len(written))}
	for i, e := range written {
		w.Events[i] = eventstore.Proposed{Type: e.Type.Name, Version: e.Version, Time: now, Data: e.Data, Known: e.Known, KeyIDs: e.KeyIDs}
		w.Closes = w.Closes || e.Type.Closes
	}
	return w
}

func appendOf(r commands.Request, w eventstore.Write) eventstore.Append {
	correlation := r.Correlation
	if correlation == "" {
		correlation = string(r.ID)
	}
	_, urgent := r.Command.(commands.Urgent)
	return eventstore.Append{
		Command: r.ID, Tenant: w.Stream.Tenant(), Body: r.Body, Writes: []eventstore.Write{w},
		Actor: r.Principal.ActorJSON(), Correlation: correlation, Causation: r.Causation, TraceParent: r.TraceParent,
		Urgent: urgent,
	}
}

func receiptOf(r eventstore.Receipt, target domain.StreamID) commands.Receipt {
	out := commands.Receipt{Stream: target, First: r.First, Last: r.Last, Recorded: r.Recorded, Replayed: r.Replayed}
	if len(r.Streams) > 0 {
		out.Stream, out.Version = r.Streams[0].Stream, r.Streams[0].Version
	}
	return out
}

// Doubt has Observe compare each state in memory with the store once more, whatever
// version its caller has seen. Whoever takes over what another process looked after
// calls it first: streams that are known from before may have gone on there, and
// what is handled again from the log is older than that.
func (d *Dispatcher) Doubt() { d.doubts.Add(1) }

// Cached returns how many streams' states are in memory.
func (d *Dispatcher) Cached() int {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	return len(d.cache.byID)
}
