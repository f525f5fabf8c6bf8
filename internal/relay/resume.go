package relay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/log"
)

// Resume learns from the topics what is published: it reads the last record of
// every partition, compares it with the store, and goes on at the smallest
// position that may be missing somewhere. From there each partition gets only
// what lies behind its own last record, so one that lost its tail is repaired
// and the others are left alone.
func (r *Relay) Resume(ctx context.Context) error {
	r.abandon()
	failpoint.Hit("relay.before_resume")
	if err := r.createAll(ctx); err != nil {
		return err
	}
	ends, err := r.ends(ctx)
	if err != nil {
		return err
	}
	// After the ends: others append and publish meanwhile, and what they publish
	// is in the store first.
	head, err := r.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	if err := r.compare(ctx, head, ends); err != nil {
		return err
	}
	if err := r.ownEpoch(ends); err != nil {
		return err
	}
	h, err := r.loadHint(ctx, head.LogID, ends)
	if err != nil {
		return err
	}
	r.tails = make(map[log.Partition]domain.Position, len(ends))
	from := h.Position // nothing up to here is missing where the hint holds
	for p, e := range ends {
		r.tails[p] = e.position()
		if !e.held && h.keeps(p, e) { // all trimmed away, none lost
			r.tails[p] = h.tails[p].Position
		}
		if !h.keeps(p, e) {
			if known := h.tails[p].Position; known > r.tails[p] {
				r.opts.Logger.Warn("a partition has lost its newest events; they are published again from the store",
					"partition", p.String(), "position", r.tails[p], "from", known)
			}
			from = min(from, r.tails[p])
		}
	}
	from = min(from, head.Position) // a hint may be older than the store's last restore
	r.next, r.hash = from+1, nil
	r.hint = newHint(head.LogID, from, r.tails)
	if r.writer, err = log.NewWriter(ctx, r.log); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	expected := make(map[log.Partition]int64, len(ends))
	for p, e := range ends {
		expected[p] = e.End
	}
	r.writer.Expect(expected)
	r.resumed = true
	failpoint.Hit("relay.after_resume")
	r.mark(from, r.tails, true)
	r.opts.Logger.Info("relay goes on", "position", from+1, "head", head.Position)
	return nil
}

// Epochs are the lowest and the highest at the ends of the topics; both are 0
// when the topics are empty. They differ where a refill was interrupted.
type Epochs struct{ Low, High int }

// Compare holds the store against the ends of the topics, whatever their epoch,
// and changes nothing. A difference is an *AheadError, a *DivergedError or a
// *ForeignError.
func (r *Relay) Compare(ctx context.Context) (Epochs, error) {
	if r.topics == nil {
		r.topics = make(map[string]bool)
	}
	ends, err := r.ends(ctx)
	if err != nil {
		return Epochs{}, err
	}
	// After the ends, for the same reason as in Resume.
	head, err := r.store.Head(ctx)
	if err != nil {
		return Epochs{}, fmt.Errorf("compare: %w", err)
	}
	var at Epochs
	for _, e := range ends {
		if e.held {
			at.High = max(at.High, e.last.Epoch)
			if at.Low == 0 || e.last.Epoch < at.Low {
				at.Low = e.last.Epoch
			}
		}
	}
	return at, r.compare(ctx, head, ends)
}

// end is what a partition holds at its end.
type end struct {
	log.Bounds
	held bool // there is a last record
	last log.Published
	at   int64 // its offset
}

func (e end) position() domain.Position {
	if !e.held {
		return 0
	}
	return e.last.Position
}

// ends reads the last record of every partition of every context topic.
func (r *Relay) ends(ctx context.Context) (map[log.Partition]end, error) {
	partitions, err := contextPartitions(ctx, r.log)
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	bounds, err := r.log.Bounds(ctx, partitions...)
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	out := make(map[log.Partition]end, len(partitions))
	for _, p := range partitions {
		r.topics[p.Topic] = true
		e := end{Bounds: bounds[p]}
		if e.First < e.End {
			m, ok, err := r.log.Last(ctx, p)
			if err != nil {
				return nil, fmt.Errorf("resume: %w", err)
			}
			if ok {
				last, err := log.Decode(m)
				if err != nil {
					return nil, &ForeignError{p, m.Offset, err.Error()}
				}
				e.last = *last
				e.held, e.at = true, m.Offset
			}
		}
		out[p] = e
	}
	return out, nil
}

// compare holds every partition's last record against the store.
func (r *Relay) compare(ctx context.Context, head eventstore.Head, ends map[log.Partition]end) error {
	var ahead *AheadError
	for _, p := range sortedPartitions(ends) {
		e := ends[p]
		if !e.held {
			continue
		}
		switch {
		case e.last.LogID != head.LogID:
			return &ForeignError{p, e.at, fmt.Sprintf("log %s, ours is %s", e.last.LogID, head.LogID)}
		case e.last.Position > head.Position:
			if ahead == nil || e.last.Position > ahead.Log {
				ahead = &AheadError{Store: head.Position, Log: e.last.Position, Partition: p}
			}
			continue
		}
		stored, err := r.store.ReadAll(ctx, e.last.Position-1, 1)
		if err != nil {
			return fmt.Errorf("resume: read %d: %w", e.last.Position, err)
		}
		if len(stored) != 1 || stored[0].Hash != e.last.Hash {
			d := &DivergedError{Position: e.last.Position, Log: e.last.Hash}
			if len(stored) == 1 {
				d.Store = stored[0].Hash
			}
			return d
		}
	}
	if ahead != nil {
		return ahead
	}
	return nil
}

// createAll makes the topics of every type this build knows.
func (r *Relay) createAll(ctx context.Context) error {
	r.topics = make(map[string]bool)
	return r.create(ctx, Topics()...)
}

// ownEpoch refuses topics of another epoch.
func (r *Relay) ownEpoch(ends map[log.Partition]end) error {
	for _, p := range sortedPartitions(ends) {
		if e := ends[p]; e.held && e.last.Epoch != r.opts.Epoch {
			return &ForeignError{p, e.at, fmt.Sprintf("epoch %d, ours is %d", e.last.Epoch, r.opts.Epoch)}
		}
	}
	return nil
}

func (r *Relay) create(ctx context.Context, names ...string) error {
	topics := make([]log.Topic, len(names))
	for i, n := range names {
		topics[i] = log.Topic{Name: n, Partitions: r.opts.Partitions, Config: r.opts.Config}
	}
	if err := r.log.Create(ctx, topics); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	for _, n := range names {
		r.topics[n] = true
	}
	return nil
}

// Topics are the context topics of the event types this build knows, in order.
func Topics() []string {
	set := make(map[string]bool)
	for name := range events.Types() {
		set[log.TopicOf(name)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// contextPartitions returns the partitions of the context topics that exist,
// without those of tenants.
func contextPartitions(ctx context.Context, l log.Log) ([]log.Partition, error) {
	topics, err := l.Topics(ctx, log.Prefix)
	if err != nil {
		return nil, err
	}
	var out []log.Partition
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		context, ok := strings.CutSuffix(strings.TrimPrefix(name, log.Prefix), ".events")
		if !ok || context == "" || strings.Contains(context, ".") {
			continue
		}
		for id := range topics[name] {
			out = append(out, log.Partition{Topic: name, ID: int32(id)})
		}
	}
	return out, nil
}

func sortedPartitions[V any](m map[log.Partition]V) []log.Partition {
	return slices.SortedFunc(maps.Keys(m), func(a, b log.Partition) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.ID - b.ID)
	})
}
