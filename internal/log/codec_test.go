package log_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
)

// The hashes are those of UtilsTest.testMurmur2 in Apache Kafka.
func TestPartitionsAreThoseOfKafkasDefaultPartitioner(t *testing.T) {
	t.Parallel()
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		for _, n := range []int{1, 4, 16, 1_000_003} {
			if got, want := log.PartitionOf(key, n), (hash&0x7fffffff)%int32(n); got != want {
				t.Errorf("%s of %d partitions: %d, expected %d", key, n, got, want)
			}
		}
	}
}

func published() log.Published {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	p := log.Published{Epoch: 3, PrevPos: 41, Record: events.Record{Data: []byte(`{"a":1}`), Envelope: events.Envelope{
		LogID: "0190a0a0-0000-7000-8000-000000000000", Generation: 2, Type: "run.started", Version: 1,
		Stream: "default/run_0190a0a0-0000-7000-8000-000000000001", Sequence: 7, Position: 1 << 60, Time: at, Recorded: at,
		Correlation: "c", Causation: "d", Command: "e", Index: 1, Count: 3, Claims: `[{"kind":"name","key":"x"}]`, Actor: `["ü"]`, TraceParent: "00-1",
	}}}
	p.Seal(events.Hash{1, 2, 3})
	return p
}

func TestARecordSurvivesTheWayThroughKafkaWithItsHash(t *testing.T) {
	t.Parallel()
	want := published()
	m := log.Encode(want, 4)
	if m.Key != string(want.Stream) || m.Topic != "hishamos.run.events" || m.ID != log.PartitionOf(m.Key, 4) {
		t.Fatalf("message %s with key %s", m.Partition, m.Key)
	}
	got, err := log.Decode(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Fatal(diff)
	}
	if got.Hash != events.ChainHash(got.PrevHash, events.LeafHash(got.Envelope, got.Data)) {
		t.Fatal("the hash does not hold")
	}
}

func TestARecordWithoutAHeaderOrWithAnUncanonicalOneIsRefused(t *testing.T) {
	t.Parallel()
	whole := log.Encode(published(), 4)
	for i, h := range whole.Headers {
		name, ours := strings.CutPrefix(h.Key, "ce_")
		if !ours || name == "specversion" {
			continue
		}
		cut := whole
		cut.Headers = append(append([]log.Header(nil), whole.Headers[:i]...), whole.Headers[i+1:]...)
		optional := strings.Contains(" correlation causation command claims actor traceparent ", " "+name+" ")
		if _, err := log.Decode(cut); (err == nil) != optional {
			t.Errorf("without %s: %v", h.Key, err)
		}
		odd := whole
		odd.Headers = append([]log.Header(nil), whole.Headers...)
		odd.Headers[i].Value = "\x00odd"
		free := optional || name == "type"
		if _, err := log.Decode(odd); err == nil && !free {
			t.Errorf("odd %s passed", h.Key)
		}
	}
}

func TestAHeaderIsFoundByItsKey(t *testing.T) {
	t.Parallel()
	m := log.Encode(published(), 4)
	if v, ok := m.Header("ce_prevpos"); !ok || v != "41" {
		t.Fatalf("ce_prevpos = %q, %v", v, ok)
	}
	if _, ok := m.Header("nowhere"); ok {
		t.Fatal("found what is not there")
	}
}

// What an event costs on its way to Kafka and back, without Kafka.
func BenchmarkRecord(b *testing.B) {
	p := published()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := log.Decode(log.Encode(p, 4)); err != nil {
			b.Fatal(err)
		}
	}
}
