// Package memory is the published log in memory: for the simulation and for
// tests, with the faults a broker can have.
//
// It starts no goroutine and never blocks, so a single-threaded simulation is
// deterministic on it. It may import internal/log only.
//
// Start reading at Log; faults.go holds what can go wrong.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hishamos/hishamos/internal/log"
)

// Log is a log in memory. The zero value is not usable; see New.
type Log struct {
	mu      sync.Mutex
	topics  map[string][]*partition
	groups  map[string]map[log.Partition]log.Resume
	publish []fault // taken by the next calls of Publish, in order
	readers map[*reader]bool
	closed  bool
}

type partition struct {
	first   int64 // offset of records[0]
	records []log.Message
}

func (p *partition) end() int64 { return p.first + int64(len(p.records)) }

var (
	_ log.Log     = (*Log)(nil)
	_ log.Offsets = (*Log)(nil)
)

// New returns an empty log.
func New() *Log {
	return &Log{topics: make(map[string][]*partition), groups: make(map[string]map[log.Partition]log.Resume), readers: make(map[*reader]bool)}
}

// Create implements log.Log.
func (l *Log) Create(_ context.Context, topics []log.Topic) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range topics {
		if have, ok := l.topics[t.Name]; ok {
			if len(have) != t.Partitions {
				return fmt.Errorf("create topic %s: it has %d partitions, not %d", t.Name, len(have), t.Partitions)
			}
			continue
		}
		ps := make([]*partition, t.Partitions)
		for i := range ps {
			ps[i] = new(partition)
		}
		l.topics[t.Name] = ps
	}
	return nil
}

// Topics implements log.Log.
func (l *Log) Topics(_ context.Context, prefix string) (map[string]int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]int)
	for name, ps := range l.topics {
		if strings.HasPrefix(name, prefix) {
			out[name] = len(ps)
		}
	}
	return out, nil
}

// Delete implements log.Log.
func (l *Log) Delete(_ context.Context, topics ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range topics {
		delete(l.topics, t)
		for _, at := range l.groups {
			maps.DeleteFunc(at, func(p log.Partition, _ log.Resume) bool { return p.Topic == t })
		}
	}
	l.wake()
	return nil
}

// Publish implements log.Log.
func (l *Log) Publish(ctx context.Context, messages []log.Message) error {
	if err := ctx.Err(); err != nil { // it would not wait, but its caller has given up
		return fmt.Errorf("publish: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	var f fault
	if len(l.publish) > 0 && len(messages) > 0 {
		f, l.publish = l.publish[0], l.publish[1:]
	}
	if f.err != nil {
		messages = messages[:min(f.prefix, len(messages))]
	}
	for range f.copies + 1 {
		for _, m := range messages {
			p, err := l.find(m.Partition)
			if err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			m.Offset = p.end()
			m.Value = slices.Clone(m.Value)
			m.Headers = slices.Clone(m.Headers)
			p.records = append(p.records, m)
		}
	}
	l.wake()
	return f.err
}

// Bounds implements log.Log.
func (l *Log) Bounds(_ context.Context, partitions ...log.Partition) (map[log.Partition]log.Bounds, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[log.Partition]log.Bounds, len(partitions))
	for _, id := range partitions {
		p, err := l.find(id)
		if err != nil {
			return nil, fmt.Errorf("read bounds: %w", err)
		}
		out[id] = log.Bounds{First: p.first, End: p.end()}
	}
	return out, nil
}

// Last implements log.Log.
func (l *Log) Last(_ context.Context, id log.Partition) (log.Message, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.find(id)
	if err != nil || len(p.records) == 0 {
		return log.Message{}, false, err
	}
	return p.records[len(p.records)-1], true, nil
}

// Trim implements log.Log.
func (l *Log) Trim(_ context.Context, id log.Partition, before int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.find(id)
	if err != nil {
		return fmt.Errorf("trim: %w", err)
	}
	if before < p.first || before > p.end() {
		return fmt.Errorf("trim %s before %d: %w", id, before, log.ErrOffsetOutOfRange)
	}
	p.records = p.records[before-p.first:]
	p.first = before
	return nil
}

// Open implements log.Log.
func (l *Log) Open(_ context.Context, id log.Partition, offset int64) (log.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.find(id)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if offset == -1 {
		offset = p.first
	}
	if offset < p.first || offset > p.end() {
		return nil, fmt.Errorf("open %s at %d: %w", id, offset, log.ErrOffsetOutOfRange)
	}
	r := &reader{log: l, id: id, next: offset, ready: make(chan struct{}, 1)}
	l.readers[r] = true
	r.signal()
	return r, nil
}

// CommitOffsets implements log.Offsets.
func (l *Log) CommitOffsets(_ context.Context, group string, at map[log.Partition]log.Resume) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.groups[group] == nil {
		l.groups[group] = make(map[log.Partition]log.Resume)
	}
	maps.Copy(l.groups[group], at)
	return nil
}

// CommittedOffsets implements log.Offsets.
func (l *Log) CommittedOffsets(_ context.Context, group string, partitions ...log.Partition) (map[log.Partition]log.Resume, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[log.Partition]log.Resume)
	for _, p := range partitions {
		if r, ok := l.groups[group][p]; ok {
			out[p] = r
		}
	}
	return out, nil
}

// Close implements log.Log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake()
	return nil
}

func (l *Log) find(id log.Partition) (*partition, error) {
	ps, ok := l.topics[id.Topic]
	if !ok || int(id.ID) >= len(ps) || id.ID < 0 {
		return nil, fmt.Errorf("partition %s does not exist", id)
	}
	return ps[id.ID], nil
}

func (l *Log) wake() {
	for r := range l.readers {
		r.signal()
	}
}
