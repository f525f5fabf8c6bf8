package projection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/log"
)

// What callers are told.
var (
	// ErrNotReady: the read model has no live build yet.
	ErrNotReady = &domain.Error{
		Kind: domain.Unavailable, Code: "projection.not_ready",
		Message: "the read model is being built", Fix: "try again shortly",
	}
	// ErrNotParked: there is nothing to requeue.
	ErrNotParked = &domain.Error{Kind: domain.NotFound, Code: "projection.not_parked", Message: "the stream is not parked"}
	// ErrWaited: the position was not reached in time.
	ErrWaited = &domain.Error{
		Kind: domain.Unavailable, Code: "projection.behind",
		Message: "the read model has not reached the position yet", Fix: "ask again, or ask without a position",
	}
)

// Locks are held until the process ends; internal/lock has them on Postgres.
type Locks interface {
	Try(ctx context.Context, name string) (bool, error)
	Release(ctx context.Context, name string) error
	Lost() <-chan struct{}
}

// Observer is told what happens, for metrics. It must not block.
type Observer interface {
	Applied(projection string, p log.Partition, records int)
	Parked(projection string, p log.Partition)
	Paused(projection string, p log.Partition)
}

// Config is what a runner needs. Log, Events, Mark and Locks may be nil in a
// process that only asks for positions and waits for them.
type Config struct {
	Definitions []*Definition
	Store       Store
	Log         log.Log
	Events      eventstore.Reader
	// Mark returns the relay's published mark R: the log has every event up to it.
	Mark  func(context.Context) (log.Mark, error)
	Locks Locks
	Clock domain.Clock
	// Process names this process among those that share partitions.
	Process   string
	Batch     int           // records per step; 0: 2000
	Linger    time.Duration // between transactions of a partition under load, so that a row that changes often is written less often; 0: 250 ms
	CacheRows int           // rows of a projection kept in a generation of the cache, of all partitions or a rebuild; 0: 4096
	Logger    *slog.Logger
	Observer  Observer
}

// Runner keeps projections up to date and answers how far they are.
type Runner struct {
	defs      map[string]*Definition
	order     []string
	store     Store
	log       log.Log
	events    eventstore.Reader
	mark      func(context.Context) (log.Mark, error)
	locks     Locks
	clock     domain.Clock
	process   string
	batch     int
	linger    time.Duration
	cacheRows int
	logger    *slog.Logger
	observe   Observer

	waiting atomic.Int64 // calls of WaitFor

	mu       sync.Mutex
	feeds    map[feedKey]*Feed
	saved    map[feedKey]domain.Position // marks as stored
	changed  chan struct{}               // closed and replaced when a mark rises
	errs     map[feedKey]error
	building map[string]bool
	editions map[string]*edition
}

type feedKey struct {
	projection string
	partition  log.Partition
}

// New checks the definitions and returns a runner that does nothing yet.
func New(c Config) (*Runner, error) {
	r := &Runner{
		defs: make(map[string]*Definition), store: c.Store, log: c.Log, events: c.Events, mark: c.Mark, locks: c.Locks,
		clock: c.Clock, process: c.Process, batch: c.Batch, linger: c.Linger, cacheRows: c.CacheRows, logger: c.Logger, observe: c.Observer,
		feeds: make(map[feedKey]*Feed), saved: make(map[feedKey]domain.Position), errs: make(map[feedKey]error),
		changed: make(chan struct{}), building: make(map[string]bool), editions: make(map[string]*edition),
	}
	for _, d := range c.Definitions {
		if err := d.Check(); err != nil {
			return nil, err
		}
		if r.defs[d.Name] != nil {
			return nil, fmt.Errorf("projection %s is defined twice", d.Name)
		}
		r.defs[d.Name] = d
		r.order = append(r.order, d.Name)
		r.editions[d.Name] = &edition{}
	}
	if r.batch == 0 {
		r.batch = 2000
	}
	if r.linger == 0 {
		r.linger = 250 * time.Millisecond
	}
	if r.cacheRows == 0 {
		r.cacheRows = 4096
	}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	if r.observe == nil {
		r.observe = silent{}
	}
	if r.clock == nil {
		r.clock = systemClock{}
	}
	return r, nil
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now().UTC() }

type silent struct{}

func (silent) Applied(string, log.Partition, int) {}
func (silent) Parked(string, log.Partition)       {}
func (silent) Paused(string, log.Partition)       {}

// live returns the build that queries see.
func (r *Runner) live(ctx context.Context, projection string) (Build, error) {
	d, ok := r.defs[projection]
	if !ok {
		return Build{}, fmt.Errorf("projection %q is not defined", projection)
	}
	b, ok, err := r.store.Live(ctx, d.Name, d.Version)
	if err != nil {
		return Build{}, fmt.Errorf("find the live build of %s: %w", projection, err)
	}
	if !ok {
		return Build{}, ErrNotReady.With("%s is being built", projection)
	}
	return b, nil
}

// Built reports whether every projection has a live build. Once they have, they
// keep one.
func (r *Runner) Built(ctx context.Context) (bool, error) {
	for _, name := range r.order {
		if _, err := r.live(ctx, name); errors.Is(err, ErrNotReady) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// partitions lists the partitions of a projection's topics.
func (r *Runner) partitions(ctx context.Context, d *Definition) ([]log.Partition, error) {
	topics, err := r.log.Topics(ctx, log.Prefix)
	if err != nil {
		return nil, fmt.Errorf("list topics of %s: %w", d.Name, err)
	}
	return d.partitions(topics)
}

// partitions lists the partitions of its topics, given how many each topic has.
func (d *Definition) partitions(topics map[string]int) ([]log.Partition, error) {
	var all []log.Partition
	for _, t := range d.Topics() {
		if topics[t] == 0 {
			return nil, fmt.Errorf("list topics of %s: %s is missing", d.Name, t)
		}
		for id := range topics[t] {
			all = append(all, log.Partition{Topic: t, ID: int32(id)})
		}
	}
	return all, nil
}

// Prepare makes sure that every projection has a live build that fits the
// topics: a missing one, or one for other numbers of partitions, is filled from
// the store.
func (r *Runner) Prepare(ctx context.Context) error {
	for _, name := range r.order {
		d := r.defs[name]
		for {
			fits, err := r.fits(ctx, d)
			if err != nil {
				return err
			}
			if fits {
				break
			}
			if err := r.Rebuild(ctx, name); err != nil && !errors.Is(err, ErrBuilding) {
				return err
			} else if err != nil { // another process is at it
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(200 * time.Millisecond):
				}
			}
		}
	}
	return nil
}

func (r *Runner) fits(ctx context.Context, d *Definition) (bool, error) {
	build, ok, err := r.store.Live(ctx, d.Name, d.Version)
	if err != nil || !ok {
		return false, err
	}
	want, err := r.partitions(ctx, d)
	if err != nil {
		return false, err
	}
	have, err := r.store.Checkpoints(ctx, build)
	if err != nil {
		return false, fmt.Errorf("read checkpoints of %s: %w", d.Name, err)
	}
	if len(have) != len(want) {
		return false, nil
	}
	for _, c := range have {
		if !slices.Contains(want, c.Partition) {
			return false, nil
		}
	}
	return true, nil
}
