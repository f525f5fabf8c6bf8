package memory_test

import (
	"errors"
	"testing"

	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/logtest"
	"github.com/hishamos/hishamos/internal/log/memory"
)

func TestMemoryLogConforms(t *testing.T) {
	t.Parallel()
	logtest.Exercise(t, func(*testing.T) log.Log { return memory.New() }, logtest.Capabilities{Offsets: true, LintCount: true})
}

var p0 = log.Partition{Topic: "t"}

func filled(t *testing.T, n int) *memory.Log {
	t.Helper()
	l := memory.New()
	if err := l.Create(t.Context(), []log.Topic{{Name: "t", Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Publish(t.Context(), some(n)); err != nil {
		t.Fatal(err)
	}
	return l
}

func some(n int) []log.Message {
	ms := make([]log.Message, n)
	for i := range ms {
		ms[i] = log.Message{Partition: p0, Key: string(rune('a' + i))}
	}
	return ms
}

func content(t *testing.T, r log.Reader) string {
	t.Helper()
	ms, err := r.Poll(100)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, m := range ms {
		out += m.Key
	}
	return out
}

func reader(t *testing.T, l log.Log) log.Reader {
	t.Helper()
	r, err := l.Open(t.Context(), p0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAFailedPublishLeavesAPrefix(t *testing.T) {
	t.Parallel()
	l := filled(t, 0)
	l.FailPublish(2)
	if err := l.Publish(t.Context(), some(5)); !errors.Is(err, memory.ErrPublish) {
		t.Fatal(err)
	}
	if got := content(t, reader(t, l)); got != "ab" {
		t.Fatal(got)
	}
}

func TestARepeatedPublishIsInTheLogTwice(t *testing.T) {
	t.Parallel()
	l := filled(t, 0)
	l.RepeatPublish()
	if err := l.Publish(t.Context(), some(2)); err != nil {
		t.Fatal(err)
	}
	if got := content(t, reader(t, l)); got != "abab" {
		t.Fatal(got)
	}
}

func TestACutTailIsGoneAndReadersBehindItAreTold(t *testing.T) {
	t.Parallel()
	l := filled(t, 5)
	r := reader(t, l)
	content(t, r)
	if err := l.CutTail(p0, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Poll(1); !errors.Is(err, log.ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
	if got := content(t, reader(t, l)); got != "abc" {
		t.Fatal(got)
	}
}

func TestRedeliveryRepeatsTheNewestRecords(t *testing.T) {
	t.Parallel()
	l := filled(t, 4)
	r := reader(t, l)
	content(t, r)
	l.Redeliver(p0, 2)
	if got := content(t, r); got != "cd" {
		t.Fatal(got)
	}
}

func TestAWipeTakesTopicsAndResumePoints(t *testing.T) {
	t.Parallel()
	l := filled(t, 4)
	if err := l.CommitOffsets(t.Context(), "g", map[log.Partition]log.Resume{p0: {Offset: 1}}); err != nil {
		t.Fatal(err)
	}
	l.Wipe()
	topics, err := l.Topics(t.Context(), "")
	if err != nil || len(topics) != 0 {
		t.Fatal(topics, err)
	}
	at, err := l.CommittedOffsets(t.Context(), "g", p0)
	if err != nil || len(at) != 0 {
		t.Fatal(at, err)
	}
}
