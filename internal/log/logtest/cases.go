package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hishamos/hishamos/internal/log"
)

func topics(t *testing.T, b bench) {
	name := b.topic(t, 3)
	b.topic(t, 3)
	got, err := b.Topics(b.ctx, b.prefix)
	check(t, err)
	if diff := cmp.Diff(map[string]int{name: 3}, got); diff != "" {
		t.Fatal(diff)
	}
	none, err := b.Topics(b.ctx, b.prefix+"other")
	check(t, err)
	if len(none) != 0 {
		t.Fatalf("topics = %v", none)
	}
}

func madeBehindWriter(t *testing.T, b bench) {
	w, err := log.NewWriter(b.ctx, b.Log)
	check(t, err)
	const partitions = 24
	name := b.topic(t, partitions)
	var ps []log.Partition
	var ms []log.Message
	for id := range int32(partitions) {
		p := log.Partition{Topic: name, ID: id}
		ps, ms = append(ps, p), append(ms, messages(p, 0, 1)...)
	}
	_, err = b.Bounds(b.ctx, ps...)
	check(t, err)
	ack, err := w.Send(b.ctx, ms)
	check(t, err)
	check(t, ack.Err())
	check(t, w.Close())
	got, err := b.Bounds(b.ctx, ps...)
	check(t, err)
	for _, p := range ps {
		if got[p].End != 1 {
			t.Errorf("%s ends at %d", p, got[p].End)
		}
	}
}

func deleted(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	b.fill(t, p, 0, 5)
	check(t, b.Delete(b.ctx, p.Topic))
	check(t, b.Delete(b.ctx, p.Topic)) // once more is no error
	got, err := b.Topics(b.ctx, b.prefix)
	check(t, err)
	if len(got) != 0 {
		t.Fatalf("topics = %v", got)
	}
	b.topic(t, 1)
	if _, ok, err := b.Last(b.ctx, p); ok || err != nil {
		t.Fatalf("last = %v, %v", ok, err)
	}
}

func order(t *testing.T, b bench) {
	name := b.topic(t, 2)
	p0, p1 := log.Partition{Topic: name, ID: 0}, log.Partition{Topic: name, ID: 1}
	want0 := messages(p0, 0, 300)
	want1 := messages(p1, 1000, 300)
	var mixed []log.Message
	for i := range want0 {
		mixed = append(mixed, want0[i], want1[i])
	}
	check(t, b.Publish(b.ctx, mixed[:250]))
	check(t, b.Publish(b.ctx, mixed[250:]))
	for _, want := range [][]log.Message{want0, want1} {
		for i := range want {
			want[i].Offset = int64(i)
		}
		got := b.take(t, b.open(t, want[0].Partition, -1), len(want))
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(log.Message{})); diff != "" {
			t.Fatal(diff)
		}
	}
}

func bounds(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	expect := func(first, end int64, last string) {
		t.Helper()
		got, err := b.Bounds(b.ctx, p)
		check(t, err)
		if got[p] != (log.Bounds{First: first, End: end}) {
			t.Fatalf("bounds = %v, expected %d to %d", got[p], first, end)
		}
		m, ok, err := b.Last(b.ctx, p)
		check(t, err)
		if ok != (last != "") || m.Key != last || ok && m.Offset != end-1 {
			t.Fatalf("last = %q at %d, %v; expected %q", m.Key, m.Offset, ok, last)
		}
	}
	expect(0, 0, "")
	b.fill(t, p, 0, 10)
	expect(0, 10, "k9")
	b.fill(t, p, 10, 1)
	expect(0, 11, "k10")
	check(t, b.Trim(b.ctx, p, 4))
	expect(4, 11, "k10")
	got := b.take(t, b.open(t, p, -1), 7)
	if keys(got) != "k4 k5 k6 k7 k8 k9 k10" {
		t.Fatalf("after trim: %s", keys(got))
	}
	check(t, b.Trim(b.ctx, p, 11))
	expect(11, 11, "")
}

func empty(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	if m, ok, err := b.Last(b.ctx, p); ok || err != nil {
		t.Fatalf("last = %v, %v, %v", m, ok, err)
	}
	ms, err := b.open(t, p, -1).Poll(10)
	check(t, err)
	if len(ms) != 0 {
		t.Fatalf("polled %d", len(ms))
	}
}

func outOfRange(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	b.fill(t, p, 0, 10)
	check(t, b.Trim(b.ctx, p, 5))
	for _, offset := range []int64{0, 4, 11, 1000} {
		if _, err := b.Open(b.ctx, p, offset); !errors.Is(err, log.ErrOffsetOutOfRange) {
			t.Errorf("open at %d: %v", offset, err)
		}
	}
	for _, offset := range []int64{5, 9, 10} {
		r, err := b.Open(b.ctx, p, offset)
		check(t, err)
		check(t, r.Close())
	}
	if err := b.Trim(b.ctx, p, 11); !errors.Is(err, log.ErrOffsetOutOfRange) {
		t.Errorf("trim past the end: %v", err)
	}
}

func reading(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	b.fill(t, p, 0, 10)
	r := b.open(t, p, 7)
	if got := keys(b.take(t, r, 3)); got != "k7 k8 k9" {
		t.Fatalf("read %s", got)
	}
	b.fill(t, p, 10, 2)
	got := b.take(t, r, 2)
	if keys(got) != "k10 k11" || got[0].Offset != 10 {
		t.Fatalf("read %s from %d", keys(got), got[0].Offset)
	}
}

func twoReaders(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	r1, r2 := b.open(t, p, -1), b.open(t, p, -1)
	b.fill(t, p, 0, 4)
	if got := keys(b.take(t, r1, 4)); got != "k0 k1 k2 k3" {
		t.Fatalf("first: %s", got)
	}
	check(t, r1.Close())
	r3 := b.open(t, p, 2)
	if got := keys(b.take(t, r2, 4)); got != "k0 k1 k2 k3" {
		t.Fatalf("second: %s", got)
	}
	if got := keys(b.take(t, r3, 2)); got != "k2 k3" {
		t.Fatalf("third: %s", got)
	}
}

func large(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	var values [][]byte
	for i := range 8 { // 8 × 1,000,000 bytes that hardly compress
		v := make([]byte, 1_000_000)
		x := uint32(i + 1)
		for j := range v {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			v[j] = byte(x)
		}
		values = append(values, v)
		check(t, b.Publish(b.ctx, []log.Message{{Partition: p, Key: "large", Value: v}}))
	}
	for i, m := range b.take(t, b.open(t, p, -1), len(values)) {
		if !bytes.Equal(m.Value, values[i]) {
			t.Fatalf("value %d differs", i)
		}
	}
}

func missing(t *testing.T, b bench) {
	p := log.Partition{Topic: b.prefix + "nowhere"}
	if err := b.Publish(b.ctx, messages(p, 0, 1)); err == nil {
		t.Error("published")
	}
	if _, _, err := b.Last(b.ctx, p); err == nil {
		t.Error("read last")
	}
	if _, err := b.Open(b.ctx, p, -1); err == nil {
		t.Error("opened")
	}
}

func ended(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := b.Publish(ctx, messages(p, 0, 1)); !errors.Is(err, context.Canceled) {
		t.Fatalf("publish: %v", err)
	}
	b.fill(t, p, 0, 1) // the log itself goes on
}

func parallel(t *testing.T, b bench) {
	name := b.topic(t, 4)
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				p := log.Partition{Topic: name, ID: int32((w + i) % 4)}
				if err := b.Publish(b.ctx, []log.Message{{Partition: p, Key: fmt.Sprintf("%d/%d", w, i)}}); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool)
	for id := range int32(4) {
		for _, m := range b.take(t, b.open(t, log.Partition{Topic: name, ID: id}, -1), writers*each/4) {
			if seen[m.Key] {
				t.Fatalf("%s twice", m.Key)
			}
			seen[m.Key] = true
		}
	}
	if len(seen) != writers*each {
		t.Fatalf("%d of %d", len(seen), writers*each)
	}
}

func offsets(t *testing.T, b bench) {
	l, ok := b.Log.(log.Offsets)
	if !ok {
		t.Fatal("does not implement log.Offsets")
	}
	name := b.topic(t, 3)
	p0, p1, p2 := log.Partition{Topic: name}, log.Partition{Topic: name, ID: 1}, log.Partition{Topic: name, ID: 2}
	b.fill(t, p0, 0, 5)
	group := b.prefix + "group"
	got, err := l.CommittedOffsets(b.ctx, group, p0, p1)
	check(t, err)
	if len(got) != 0 {
		t.Fatalf("before: %v", got)
	}
	note := strings.Repeat("x", 1000)
	check(t, l.CommitOffsets(b.ctx, group, map[log.Partition]log.Resume{p0: {Offset: 3, Metadata: "three"}, p1: {Offset: 0, Metadata: note}}))
	check(t, l.CommitOffsets(b.ctx, group, map[log.Partition]log.Resume{p0: {Offset: 4, Metadata: "four"}}))
	got, err = l.CommittedOffsets(b.ctx, group, p0, p1, p2)
	check(t, err)
	want := map[log.Partition]log.Resume{p0: {Offset: 4, Metadata: "four"}, p1: {Offset: 0, Metadata: note}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func pipelined(t *testing.T, b bench) {
	name := b.topic(t, 3)
	w, err := log.NewWriter(b.ctx, b.Log)
	check(t, err)
	var acks []*log.Ack
	const sends = 200
	for i := range sends {
		var ms []log.Message
		for id := range int32(3) {
			ms = append(ms, messages(log.Partition{Topic: name, ID: id}, 10*i, 10)...)
		}
		ack, err := w.Send(b.ctx, ms)
		check(t, err)
		acks = append(acks, ack)
	}
	for _, a := range acks {
		check(t, a.Err())
	}
	check(t, w.Close())
	for id := range int32(3) {
		for i, m := range b.take(t, b.open(t, log.Partition{Topic: name, ID: id}, -1), 10*sends) {
			if m.Key != fmt.Sprintf("k%d", i) {
				t.Fatalf("partition %d, record %d is %s", id, i, m.Key)
			}
		}
	}
}

func closedWriter(t *testing.T, b bench) {
	p := log.Partition{Topic: b.topic(t, 1)}
	w, err := log.NewWriter(b.ctx, b.Log)
	check(t, err)
	ack, err := w.Send(b.ctx, messages(p, 0, 1))
	check(t, err)
	check(t, ack.Err())
	check(t, w.Close())
	if _, err := w.Send(b.ctx, messages(p, 1, 1)); err == nil {
		t.Fatal("sent")
	}
	again, err := log.NewWriter(b.ctx, b.Log)
	check(t, err)
	ack, err = again.Send(b.ctx, messages(p, 1, 1))
	check(t, err)
	check(t, ack.Err())
	check(t, again.Close())
	if got := keys(b.take(t, b.open(t, p, -1), 2)); got != "k0 k1" {
		t.Fatalf("log has %s", got)
	}
}

func lintCount(t *testing.T, b bench) {
	name := b.topic(t, 2)
	err := b.Create(b.ctx, []log.Topic{{Name: name, Partitions: 3}})
	if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "2 partitions") {
		t.Fatalf("error = %v", err)
	}
}

func lintConfig(t *testing.T, b bench) {
	for setting, value := range map[string]string{
		"retention.ms": "60000", "retention.bytes": "1000000",
		"cleanup.policy": "compact", "unclean.leader.election.enable": "true", "max.message.bytes": "1000",
	} {
		name := b.prefix + strings.ReplaceAll(setting, ".", "-")
		check(t, b.Create(b.ctx, []log.Topic{{Name: name, Partitions: 1, Config: map[string]string{setting: value}}}))
		err := b.Create(b.ctx, []log.Topic{{Name: name, Partitions: 1}})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), setting+"="+value) {
			t.Errorf("%s: error = %v", setting, err)
		}
	}
}
