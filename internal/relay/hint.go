package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
)

// hintGroup is the consumer group whose offsets carry the hint.
const hintGroup = log.Prefix + "relay"

// hint spares Resume reading the store from the beginning for the sake of a
// partition that is seldom or never written: it says that once, when everything
// up to Position was acknowledged, a partition ended with a certain position.
// It decides nothing: a partition that now ends before that has lost records,
// and without a hint, or with one that does not hold, the store is read from the
// partition's own end.
type hint struct {
	LogID    string
	Position domain.Position
	tails    map[log.Partition]tail
	ahead    map[log.Partition]domain.Position // ends beyond Position, when it began
	noted    int                               // events since it was stored
}

type tail struct {
	Position domain.Position
	End      int64 // the partition's end offset when the hint was stored
}

// note is what the metadata of a committed offset holds.
type note struct {
	Log   string          `json:"log"`
	Epoch int             `json:"epoch"`
	All   domain.Position `json:"all,string"`
	Last  domain.Position `json:"last,string"`
}

func newHint(logID string, position domain.Position, tails map[log.Partition]domain.Position) hint {
	h := hint{LogID: logID, Position: position, tails: make(map[log.Partition]tail), ahead: make(map[log.Partition]domain.Position)}
	for p, last := range tails {
		if last > position { // what it held at position is not known
			h.ahead[p] = last
		} else {
			h.tails[p] = tail{Position: last}
		}
	}
	return h
}

// note takes an acknowledged batch into account.
func (h *hint) note(f flight) {
	h.Position = f.last
	h.noted += f.events
	for p, last := range h.ahead {
		if last <= h.Position {
			h.tails[p] = tail{Position: last}
			delete(h.ahead, p)
		}
	}
	for p, last := range f.tails {
		h.tails[p] = tail{Position: last}
	}
}

// keeps reports whether the partition holds all that it held when the hint was
// stored.
func (h hint) keeps(p log.Partition, e end) bool {
	t, ok := h.tails[p]
	switch {
	case !ok:
		return false
	case e.held:
		return e.last.Position >= t.Position
	default:
		return e.End >= t.End && (t.Position == 0 || e.End > 0)
	}
}

// loadHint reads what storeHint stored; parts that belong to another log, epoch
// or moment are left out.
func (r *Relay) loadHint(ctx context.Context, logID string, ends map[log.Partition]end) (hint, error) {
	h := hint{LogID: logID, Position: math.MaxUint64, tails: make(map[log.Partition]tail)}
	offsets, ok := r.log.(log.Offsets)
	if !ok {
		return h, nil
	}
	committed, err := offsets.CommittedOffsets(ctx, hintGroup, sortedPartitions(ends)...)
	if err != nil {
		return h, fmt.Errorf("resume: %w", err)
	}
	for p, c := range committed {
		var n note
		if json.Unmarshal([]byte(c.Metadata), &n) != nil || n.Log != logID || n.Epoch != r.opts.Epoch {
			continue // a hint is worth no error
		}
		h.tails[p] = tail{n.Last, c.Offset}
		h.Position = min(h.Position, n.All)
	}
	return h, nil
}

// storeHint writes the hint into the offsets of the relay's group.
func (r *Relay) storeHint(ctx context.Context) error {
	offsets, ok := r.log.(log.Offsets)
	if !ok || r.hint.noted == 0 {
		return nil
	}
	partitions := sortedPartitions(r.hint.tails)
	bounds, err := r.log.Bounds(ctx, partitions...)
	if err != nil {
		return fmt.Errorf("store relay hint: %w", err)
	}
	at := make(map[log.Partition]log.Resume, len(partitions))
	for _, p := range partitions {
		text, err := json.Marshal(note{r.hint.LogID, r.opts.Epoch, r.hint.Position, r.hint.tails[p].Position})
		if err != nil {
			return fmt.Errorf("store relay hint: %w", err)
		}
		at[p] = log.Resume{Offset: bounds[p].End, Metadata: string(text)}
	}
	if err := offsets.CommitOffsets(ctx, hintGroup, at); err != nil {
		return fmt.Errorf("store relay hint: %w", err)
	}
	r.hint.noted = 0
	return nil
}
