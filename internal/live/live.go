// Package live lets many readers follow the log as it grows, without a gap and
// with one query per batch for all of them together.
//
// It must not know what events mean, nor how they reach a browser. It imports
// domain, events and the eventstore contract.
//
// Start reading at Hub.Follow; feed.go is one reader's side.
package live

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// Reader is the part of the event store that is followed.
type Reader interface {
	ReadStream(ctx context.Context, stream domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error)
	ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error)
	Head(ctx context.Context) (eventstore.Head, error)
}

// Head is the end of the log.
type Head = eventstore.Head

// Options are the settings of a Hub; zero values are usable.
type Options struct {
	Buffer int           // events kept for one reader before it falls back to the log; 0: 512
	Batch  int           // events per query; 0: 256
	Poll   time.Duration // how often to look without having been woken; 0: one second
	Log    *slog.Logger  // nil: discard
}

// Hub reads fresh events once and hands them to every feed that wants them.
// While there are no feeds it reads nothing.
type Hub struct {
	Reader
	opts Options
	kick chan struct{}

	mu    sync.Mutex
	feeds map[*Feed]struct{}
	tail  domain.Position // events up to it were offered to every feed
}

// New returns a hub. Feeds move once Run does.
func New(r Reader, opts Options) *Hub {
	if opts.Buffer == 0 {
		opts.Buffer = 512
	}
	if opts.Batch == 0 {
		opts.Batch = 256
	}
	if opts.Poll == 0 {
		opts.Poll = time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Hub{Reader: r, opts: opts, kick: make(chan struct{}, 1), feeds: make(map[*Feed]struct{})}
}

// Run hands out fresh events until the context ends. Wake is the store's hint
// that something was committed; polling is the net.
func (h *Hub) Run(ctx context.Context, wake <-chan struct{}) {
	poll := time.NewTicker(h.opts.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-h.kick:
		case <-poll.C:
		}
		for {
			more, err := h.pump(ctx)
			if err != nil && ctx.Err() == nil {
				h.opts.Log.WarnContext(ctx, "read the log for live feeds", "error", err)
			}
			if !more {
				break
			}
		}
	}
}

// pump reads one batch and offers it. More says that there may be another.
func (h *Hub) pump(ctx context.Context) (more bool, err error) {
	h.mu.Lock()
	from, idle := h.tail, len(h.feeds) == 0
	h.mu.Unlock()
	if idle {
		return false, nil
	}
	batch, err := h.ReadAll(ctx, from, h.opts.Batch)
	if err != nil || len(batch) == 0 {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tail != from { // all feeds went and others came meanwhile
		return true, nil
	}
	h.tail = batch[len(batch)-1].Position
	for f := range h.feeds {
		f.offer(batch, h.opts.Buffer)
	}
	return len(batch) == h.opts.Batch, nil
}

// join adds a feed and returns the position after which every event will be
// offered to it.
func (h *Hub) join(ctx context.Context, f *Feed) (domain.Position, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.feeds) == 0 {
		h.mu.Unlock()
		head, err := h.Head(ctx)
		h.mu.Lock()
		if err != nil {
			return 0, err
		}
		if len(h.feeds) == 0 {
			h.tail = head.Position
		}
	}
	h.feeds[f] = struct{}{}
	select { // something may have been committed after Head and before this
	case h.kick <- struct{}{}:
	default:
	}
	return h.tail, nil
}

// Committed hands out fresh commits of this process without reading them back. It
// only spares the hub reads: what does not follow on what was offered before is
// left to Run.
func (h *Hub) Committed(records []events.Record) {
	if len(records) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.feeds) == 0 || records[0].Position != h.tail+1 {
		return
	}
	h.tail = records[len(records)-1].Position
	for f := range h.feeds {
		f.offer(records, h.opts.Buffer)
	}
}

func (h *Hub) leave(f *Feed) {
	h.mu.Lock()
	delete(h.feeds, f)
	h.mu.Unlock()
}

// Filter says which events a feed wants; empty fields want all.
type Filter struct {
	Tenant domain.Tenant
	Stream domain.StreamID
	Types  []string // wire names, or contexts such as `run`
}

// Wants reports whether an event passes the filter.
func (f Filter) Wants(r events.Record) bool {
	if f.Stream != "" && r.Stream != f.Stream || f.Tenant != "" && r.Stream.Tenant() != f.Tenant {
		return false
	}
	return len(f.Types) == 0 || slices.ContainsFunc(f.Types, func(t string) bool {
		return r.Type == t || len(r.Type) > len(t) && r.Type[:len(t)] == t && r.Type[len(t)] == '.'
	})
}
