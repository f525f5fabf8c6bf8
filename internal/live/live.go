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

// Reader is the part of the event store that is followed. It sees what a tenant
// may see, so that no fault of a filter here can show more.
type Reader = eventstore.TenantReader

// Everyone is the tenant of a filter that wants the events of all.
const Everyone = eventstore.Everyone

// Head is the end of the log.
type Head = eventstore.Head

// Options are the settings of a Hub; zero values are usable.
type Options struct {
	Buffer int           // events kept for one reader before it falls back to the log; 0: 512
	Batch  int           // events per query; 0: 256
	Poll   time.Duration // how often to look without having been woken; 0: one second
	Pause  time.Duration // between two looks at a busy log, which so share a query; 0: 10 ms
	Log    *slog.Logger  // nil: discard
}

// Hub reads fresh events once for every tenant that has feeds, and hands them to
// those that want them. While there are no feeds it reads nothing.
type Hub struct {
	Reader
	opts Options
	kick chan struct{}

	mu     sync.Mutex
	groups map[domain.Tenant]*group
}

// group is the feeds of one tenant. Those of one stream are found by it, so that
// many of them cost nothing while their streams rest.
type group struct {
	feeds   map[*Feed]struct{}                     // of more than a stream
	streams map[domain.StreamID]map[*Feed]struct{} // of one
	tail    domain.Position                        // events up to it were offered to every feed
}

func newGroup(tail domain.Position) *group {
	return &group{feeds: make(map[*Feed]struct{}), streams: make(map[domain.StreamID]map[*Feed]struct{}), tail: tail}
}

func (g *group) add(f *Feed) {
	s := f.filter.Stream
	switch {
	case s == "":
		g.feeds[f] = struct{}{}
	case g.streams[s] == nil:
		g.streams[s] = map[*Feed]struct{}{f: {}}
	default:
		g.streams[s][f] = struct{}{}
	}
}

func (g *group) drop(f *Feed) {
	delete(g.feeds, f)
	if s := g.streams[f.filter.Stream]; s != nil {
		if delete(s, f); len(s) == 0 {
			delete(g.streams, f.filter.Stream)
		}
	}
}

func (g *group) empty() bool { return len(g.feeds)+len(g.streams) == 0 }

// offer hands a page to whom it concerns: to feeds of a stream only what is of
// it.
func (g *group) offer(page eventstore.Page, limit int) {
	g.tail = page.Reached
	for f := range g.feeds {
		f.offer(page, limit)
	}
	if len(g.streams) == 0 {
		return
	}
	for i := range page.Records {
		r := &page.Records[i]
		for f := range g.streams[r.Stream] {
			f.offer(eventstore.Page{Records: page.Records[i : i+1], Reached: r.Position}, limit)
		}
	}
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
	if opts.Pause == 0 {
		opts.Pause = 10 * time.Millisecond
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Hub{Reader: r, opts: opts, kick: make(chan struct{}, 1), groups: make(map[domain.Tenant]*group)}
}

// Run hands out fresh events until the context ends. Wake is the store's hint
// that something was committed; polling is the net. The first look after a pause
// is taken at once.
func (h *Hub) Run(ctx context.Context, wake <-chan struct{}) {
	poll := time.NewTicker(h.opts.Poll)
	defer poll.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
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
		pause.Reset(h.opts.Pause)
	}
}

// pump reads one batch for every tenant that is behind the end of the log, and
// offers it. More says that there may be another.
func (h *Hub) pump(ctx context.Context) (more bool, err error) {
	h.mu.Lock()
	tails := make(map[domain.Tenant]domain.Position, len(h.groups))
	for t, g := range h.groups {
		tails[t] = g.tail
	}
	h.mu.Unlock()
	if len(tails) == 0 {
		return false, nil
	}
	head, err := h.Head(ctx)
	if err != nil {
		return false, err
	}
	for t, from := range tails {
		if from >= head.Position {
			continue
		}
		page, err := h.ReadAll(ctx, t, from, head.Position, h.opts.Batch)
		if err != nil {
			return false, err
		}
		h.offer(t, from, page)
		more = more || page.Reached < head.Position
	}
	return more, nil
}

func (h *Hub) offer(t domain.Tenant, from domain.Position, page eventstore.Page) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[t]
	if g == nil || g.tail != from { // all feeds went, and perhaps others came meanwhile
		return
	}
	g.offer(page, h.opts.Buffer)
}

// join adds a feed and returns the position after which every event will be
// offered to it.
func (h *Hub) join(ctx context.Context, f *Feed) (domain.Position, error) {
	t := f.filter.Tenant
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.groups[t] == nil {
		h.mu.Unlock()
		head, err := h.Head(ctx)
		h.mu.Lock()
		if err != nil {
			return 0, err
		}
		if h.groups[t] == nil {
			h.groups[t] = newGroup(head.Position)
			h.look() // something may have been committed after Head and before this
		}
	}
	g := h.groups[t]
	g.add(f)
	return g.tail, nil
}

// look makes Run look at the log.
func (h *Hub) look() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// Committed hands out fresh commits of this process, in their order, without
// reading them back. What does not follow on what was offered before is left to
// Run.
func (h *Hub) Committed(records []events.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for t, g := range h.groups {
		fresh := after(records, g.tail)
		if len(fresh) == 0 {
			continue
		}
		if fresh[0].Position != g.tail+1 {
			h.look()
			continue
		}
		g.offer(eventstore.Page{Records: visible(t, fresh), Reached: fresh[len(fresh)-1].Position}, h.opts.Buffer)
	}
}

// after leaves out the records up to a position.
func after(records []events.Record, p domain.Position) []events.Record {
	for len(records) > 0 && records[0].Position <= p {
		records = records[1:]
	}
	return records
}

// visible are the records that a tenant's group may be handed at all. These come
// from no database that would have kept the others back.
func visible(t domain.Tenant, records []events.Record) []events.Record {
	others := func(r events.Record) bool { return t == "" || r.Stream.Tenant() != t }
	if t == Everyone || !slices.ContainsFunc(records, others) {
		return records
	}
	return slices.DeleteFunc(slices.Clone(records), others)
}

func (h *Hub) leave(f *Feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.groups[f.filter.Tenant]
	if g == nil {
		return
	}
	if g.drop(f); g.empty() {
		delete(h.groups, f.filter.Tenant)
	}
}

// Filter says which events a feed wants. Stream and Types, if empty, want all;
// Tenant is a tenant or Everyone, and nobody if empty.
type Filter struct {
	Tenant domain.Tenant
	Stream domain.StreamID
	Types  []string // wire names, or contexts such as `run`
}

// Wants reports whether an event passes the filter.
func (f Filter) Wants(r *events.Record) bool {
	if f.Stream != "" && r.Stream != f.Stream || f.Tenant != Everyone && r.Stream.Tenant() != f.Tenant {
		return false
	}
	return len(f.Types) == 0 || slices.ContainsFunc(f.Types, func(t string) bool {
		return r.Type == t || len(r.Type) > len(t) && r.Type[:len(t)] == t && r.Type[len(t)] == '.'
	})
}
