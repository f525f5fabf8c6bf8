// Package logtest is the suite that every implementation of the log passes.
//
// It must not know any implementation. It may import internal/log.
//
// Start reading at Exercise.
package logtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/internal/log"
)

// Capabilities say what an implementation can do beyond the contract. What
// kfake, the embedded broker, cannot do: more than one replica that really
// holds records, fsync before it acknowledges (only with SyncWrites), a trim
// that outlives a crash, refusing unknown topic settings, and static group
// membership over restarts. None of it is relied on.
type Capabilities struct {
	Offsets    bool // implements log.Offsets
	Pipelined  bool // implements log.Pipelined
	LintConfig bool // refuses unsafe settings of existing topics
	LintCount  bool // refuses another number of partitions
}

// Exercise runs the suite. open is called once for each test and closes what it
// opened by t.Cleanup; logs may share a broker, since every test makes topics
// with names of its own.
func Exercise(t *testing.T, open func(t *testing.T) log.Log, can Capabilities) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, bench)
		can  bool
	}{
		{"a topic is made once and found by its prefix", topics, true},
		{"a topic takes records as soon as it is made, also by a writer from before", madeBehindWriter, true},
		{"a deleted topic is gone with its records", deleted, true},
		{"records keep their order, key, headers and value", order, true},
		{"bounds and last follow publish and trim", bounds, true},
		{"an empty partition has no last record", empty, true},
		{"an offset outside a partition is out of range", outOfRange, true},
		{"a reader starts anywhere and is told of new records", reading, true},
		{"two readers of a partition do not disturb each other", twoReaders, true},
		{"a large record passes", large, true},
		{"a missing topic is an error", missing, true},
		{"an ended context ends a call", ended, true},
		{"many writes side by side all arrive once", parallel, true},
		{"resume points are kept with their notes", offsets, can.Offsets},
		{"a writer keeps order over many sends", pipelined, can.Pipelined},
		{"a closed writer sends nothing more", closedWriter, can.Pipelined},
		{"another number of partitions is refused", lintCount, can.LintCount},
		{"an unsafe setting is refused by name", lintConfig, can.LintConfig},
	} {
		if !c.can {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, newBench(t, open(t)))
		})
	}
}

// bench is one test's log and the names of its own.
type bench struct {
	log.Log
	ctx    context.Context
	prefix string
}

func newBench(t *testing.T, l log.Log) bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	b := bench{l, ctx, "logtest." + uuid.NewString()[:13] + "."}
	t.Cleanup(func() {
		defer cancel()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		names, err := l.Topics(ctx, b.prefix)
		if err != nil {
			t.Errorf("list topics to delete: %v", err)
		}
		for name := range names {
			if err := l.Delete(ctx, name); err != nil {
				t.Errorf("delete %s: %v", name, err)
			}
		}
	})
	return b
}

func (b bench) topic(t *testing.T, partitions int) string {
	t.Helper()
	name := b.prefix + "events"
	check(t, b.Create(b.ctx, []log.Topic{{Name: name, Partitions: partitions}}))
	return name
}

// fill publishes n records with the keys k0, k1 … to a partition.
func (b bench) fill(t *testing.T, p log.Partition, from, n int) []log.Message {
	t.Helper()
	ms := messages(p, from, n)
	check(t, b.Publish(b.ctx, ms))
	return ms
}

func messages(p log.Partition, from, n int) []log.Message {
	ms := make([]log.Message, n)
	for i := range ms {
		ms[i] = log.Message{
			Partition: p, Key: fmt.Sprintf("k%d", from+i), Value: fmt.Appendf(nil, "value %d", from+i),
			Headers: []log.Header{{Key: "a", Value: fmt.Sprint(from + i)}, {Key: "empty", Value: ""}},
		}
	}
	return ms
}

// take polls until it has n records.
func (b bench) take(t *testing.T, r log.Reader, n int) []log.Message {
	t.Helper()
	var out []log.Message
	for len(out) < n {
		ms, err := r.Poll(n - len(out))
		check(t, err)
		out = append(out, ms...)
		if len(ms) > 0 {
			continue
		}
		select {
		case <-r.Ready():
		case <-b.ctx.Done():
			t.Fatalf("%d of %d records: %v", len(out), n, b.ctx.Err())
		}
	}
	return out
}

func (b bench) open(t *testing.T, p log.Partition, offset int64) log.Reader {
	t.Helper()
	r, err := b.Open(b.ctx, p, offset)
	check(t, err)
	t.Cleanup(func() { check(t, r.Close()) })
	return r
}

func keys(ms []log.Message) string {
	out := make([]string, len(ms))
	for i, m := range ms {
		out[i] = m.Key
	}
	return strings.Join(out, " ")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
