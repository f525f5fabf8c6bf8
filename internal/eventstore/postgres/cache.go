package postgres

import (
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
)

// versions is a bounded cache of stream versions. It keeps two generations: when
// the young one is full it becomes the old one, and the old one is forgotten.
type versions struct {
	size       int
	young, old map[domain.StreamID]domain.Sequence
}

func newVersions(size int) *versions {
	return &versions{size: max(1, size/2), young: make(map[domain.StreamID]domain.Sequence)}
}

func (c *versions) set(id domain.StreamID, v domain.Sequence) {
	if len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[domain.StreamID]domain.Sequence, c.size)
	}
	c.young[id] = v
}

// Version implements batch.Known.
func (c *versions) Version(id domain.StreamID) (domain.Sequence, bool) {
	if v, ok := c.young[id]; ok {
		return v, true
	}
	v, ok := c.old[id]
	if ok {
		c.set(id, v)
	}
	return v, ok
}

// Command and Claimed implement batch.Known: they assume what is usual, and the
// primary keys refuse the statement when it is not so.
func (c *versions) Command(batch.CommandKey) (batch.Done, bool) { return batch.Done{}, false }
func (c *versions) Claimed(batch.ClaimKey) bool                 { return false }

func (c *versions) forget() {
	c.young, c.old = make(map[domain.StreamID]domain.Sequence), nil
}
