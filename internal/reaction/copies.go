package reaction

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
)

// Copies keeps resume points twice: first where they are looked for, and, a
// little later, in the metadata of Kafka's offsets, which outlive the loss of
// the first. A copy holds within the epoch it was made in; where Kafka's history
// was replaced there is none.
type Copies struct {
	First   Resumes
	Offsets log.Offsets
	LogID   string
	Epoch   func() int
	Logger  *slog.Logger

	mu      sync.Mutex
	waiting map[string]map[log.Partition]Resume
}

// copyNote is what the metadata of a committed offset holds.
type copyNote struct {
	Log      string `json:"log"`
	Epoch    int    `json:"epoch"` // of the log when the copy was made
	Position uint64 `json:"position,string"`
	Of       int    `json:"of"` // the epoch that the offset belongs to
}

// copyGroup is the consumer group whose offsets carry a reaction's copies.
func copyGroup(reaction string) string { return log.Prefix + "reaction." + reaction }

// Load implements Resumes.
func (c *Copies) Load(ctx context.Context, reaction string, p log.Partition) (Resume, bool, error) {
	at, ok, err := c.First.Load(ctx, reaction, p)
	if err != nil || ok {
		return at, ok, err
	}
	committed, err := c.Offsets.CommittedOffsets(ctx, copyGroup(reaction), p)
	if err != nil {
		return at, false, err
	}
	var n copyNote
	if json.Unmarshal([]byte(committed[p].Metadata), &n) != nil || n.Log != c.LogID || n.Epoch != c.Epoch() {
		return at, false, nil
	}
	c.Logger.Warn("resume point lost: Kafka's copy is used", "handler", reaction, "partition", p.String(), "position", n.Position)
	return Resume{Position: domain.Position(n.Position), Epoch: n.Of, Offset: committed[p].Offset}, true, nil
}

// Save implements Resumes. The copy follows with the next flush.
func (c *Copies) Save(ctx context.Context, reaction string, p log.Partition, at Resume) error {
	if err := c.First.Save(ctx, reaction, p, at); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting = make(map[string]map[log.Partition]Resume)
	}
	if c.waiting[reaction] == nil {
		c.waiting[reaction] = make(map[log.Partition]Resume)
	}
	c.waiting[reaction][p] = at
	return nil
}

// copyEvery is how far copies may be behind: as much is handled again after a
// loss of the first.
const copyEvery = time.Second

// Run flushes until the context ends. Kafka may be away: it is tried again.
func (c *Copies) Run(ctx context.Context) {
	for wait(ctx, copyEvery) {
		bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
		if err := c.Flush(bounded); err != nil && ctx.Err() == nil {
			c.Logger.Debug("copy resume points to Kafka", "error", err)
		}
		cancel()
	}
}

// Flush writes the copies that wait.
func (c *Copies) Flush(ctx context.Context) error {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	var errs []error
	for reaction, points := range waiting {
		if err := c.commit(ctx, reaction, points); err != nil {
			errs = append(errs, err)
			c.keep(reaction, points)
		}
	}
	return errors.Join(errs...)
}

func (c *Copies) commit(ctx context.Context, reaction string, points map[log.Partition]Resume) error {
	at := make(map[log.Partition]log.Resume, len(points))
	for p, r := range points {
		note, err := json.Marshal(copyNote{c.LogID, c.Epoch(), uint64(r.Position), r.Epoch})
		if err != nil {
			return err
		}
		at[p] = log.Resume{Offset: r.Offset, Metadata: string(note)}
	}
	return c.Offsets.CommitOffsets(ctx, copyGroup(reaction), at)
}

// keep puts back what could not be written, without going behind newer points.
func (c *Copies) keep(reaction string, points map[log.Partition]Resume) {
	c.mu.Lock()
	defer c.mu.Unlock()
	newer := c.waiting[reaction]
	maps.Copy(points, newer)
	if c.waiting == nil {
		c.waiting = make(map[string]map[log.Partition]Resume)
	}
	c.waiting[reaction] = points
}
