package main

import (
	"context"
	"time"

	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/log"
)

// trimEvery is how often the embedded log is brought back to its size.
const trimEvery = 10 * time.Second

// The sizes of the embedded log's files: small enough that trimming whole files
// keeps close to the set size, though every partition always has one.
const (
	segmentsKept = 64
	leastSegment = 64 << 10
	mostSegment  = 8 << 20
)

// segment is the size of one file of the embedded log.
func (g *ground) segment() int64 {
	if g.cfg.LogRetain.All {
		return mostSegment
	}
	return min(max(int64(g.cfg.LogRetain.Size)/segmentsKept, leastSegment), mostSegment)
}

// runTrim keeps the newest part of the embedded log. What is trimmed is in
// Postgres; only drills that begin from Kafka need more, and the setting says
// so. The newest record of a partition always stays: the relay goes on from it.
func (n *node) runTrim(ctx context.Context) error {
	if n.cfg.LogRetain.All {
		<-ctx.Done()
		return nil
	}
	for wait(ctx, trimEvery) {
		if err := n.trim(ctx); err != nil {
			return err
		}
	}
	return nil
}

// trim deletes the oldest files until the log is no larger than it is set to be,
// always from the partition that has most. The file a partition writes to stays.
func (n *node) trim(ctx context.Context) error {
	segments, err := n.broker.Segments()
	if err != nil {
		return err
	}
	cuts, freed := cut(segments, int64(n.cfg.LogRetain.Size))
	if len(cuts) == 0 {
		return nil
	}
	var partitions []log.Partition
	for p := range cuts {
		partitions = append(partitions, p)
	}
	bounds, err := n.log.Bounds(ctx, partitions...)
	if err != nil {
		return err
	}
	for p, before := range cuts {
		if before = min(before, bounds[p].End-1); before > bounds[p].First {
			if err := n.log.Trim(ctx, p, before); err != nil {
				return err
			}
		}
	}
	n.logger.Info("trimmed the embedded log", "bytes", freed)
	return nil
}

// cut says before which offsets partitions are to be trimmed, so that their
// files hold no more than keep bytes, and how much that frees.
func cut(segments []embedded.Segment, keep int64) (before map[log.Partition]int64, freed int64) {
	files := make(map[log.Partition][]embedded.Segment)
	sizes := make(map[log.Partition]int64)
	var total int64
	for _, s := range segments {
		p := log.Partition{Topic: s.Topic, ID: s.Partition}
		files[p] = append(files[p], s)
		sizes[p] += s.Bytes
		total += s.Bytes
	}
	before = make(map[log.Partition]int64)
	for total-freed > keep {
		largest, found := log.Partition{}, false
		for p, list := range files {
			if len(list) > 1 && (!found || sizes[p] > sizes[largest]) {
				largest, found = p, true
			}
		}
		if !found {
			break
		}
		list := files[largest]
		freed += list[0].Bytes
		sizes[largest] -= list[0].Bytes
		before[largest], files[largest] = list[1].Base, list[1:]
	}
	return before, freed
}
