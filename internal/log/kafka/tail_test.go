package kafka_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/embedded"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/log/kafka"
)

// sharing opens logs of one broker that hold little ahead of their readers, with
// one topic.
func sharing(t *testing.T) (l, other log.Log, p log.Partition) {
	t.Helper()
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	open := func() log.Log {
		l, err := kafka.Open(t.Context(), kafka.Options{Brokers: []string{b.Addr()}, ReadBuffer: 400})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	l = open()
	if err := l.Create(t.Context(), []log.Topic{{Name: "t", Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	return l, open(), log.Partition{Topic: "t"}
}

func publish(t *testing.T, l log.Log, p log.Partition, n int) {
	t.Helper()
	for n > 0 {
		ms := make([]log.Message, min(n, 100))
		for i := range ms {
			ms[i] = log.Message{Partition: p, Key: "k"}
		}
		if err := l.Publish(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
		n -= len(ms)
	}
}

// two opens two readers that share the tail of an empty partition.
func two(t *testing.T, l log.Log, p log.Partition) (readers [2]log.Reader) {
	t.Helper()
	for i := range readers {
		r, err := l.Open(t.Context(), p, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		readers[i] = r
		if _, err := r.Poll(1); err != nil { // at the end, so both are of the tail
			t.Fatal(err)
		}
	}
	return readers
}

// follow polls until a reader has had every record up to an offset, and checks
// that none is missing or repeated.
func follow(ctx context.Context, r log.Reader, next, end int64, limit func() int) error {
	for next < end {
		ms, err := r.Poll(limit())
		if err != nil {
			return err
		}
		for _, m := range ms {
			if m.Offset != next {
				return fmt.Errorf("offset %d came where %d follows", m.Offset, next)
			}
			next++
		}
		if len(ms) > 0 {
			continue
		}
		select {
		case <-r.Ready():
		case <-ctx.Done():
			return fmt.Errorf("at %d of %d: %w", next, end, ctx.Err())
		}
	}
	return nil
}

// all is how many records the first of two readers has had, and the second not.
const all = 5000

func limit() int { return 50 }

// lagging opens two readers of which the second has read nothing.
func lagging(ctx context.Context, t *testing.T, l log.Log, p log.Partition) [2]log.Reader {
	t.Helper()
	readers := two(t, l, p)
	publish(t, l, p, all)
	if err := follow(ctx, readers[0], 0, all, limit); err != nil {
		t.Fatal("beside one that reads nothing:", err)
	}
	return readers
}

func TestAReaderThatLagsIsNeitherWaitedForNorLosesAnything(t *testing.T) {
	t.Parallel()
	l, _, p := sharing(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	readers := lagging(ctx, t, l, p)
	if err := follow(ctx, readers[1], 0, all, limit); err != nil {
		t.Error("left behind:", err)
	}
	publish(t, l, p, 10)
	for _, r := range readers {
		if err := follow(ctx, r, all, all+10, limit); err != nil {
			t.Error("afterwards:", err)
		}
	}
}

func TestAReaderThatLagsGoesOnWhenAllOthersAreGone(t *testing.T) {
	t.Parallel()
	l, _, p := sharing(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	readers := lagging(ctx, t, l, p)
	if err := readers[0].Close(); err != nil { // the tail ends with its last reader
		t.Fatal(err)
	}
	publish(t, l, p, 10) // meanwhile the tail's end is taken in everywhere
	if err := follow(ctx, readers[1], 0, all+10, limit); err != nil {
		t.Error("left behind:", err)
	}
}

func TestReadersThatComeAndGoAllSeeEveryRecord(t *testing.T) {
	t.Parallel()
	l, _, p := sharing(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	const all = 20_000
	var busy sync.WaitGroup
	for i := range 12 {
		busy.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(i)))
			limit := func() int { return 1 + random.IntN(200) }
			for next := int64(0); next < all; {
				from := max(0, next-int64(random.IntN(300)))
				r, err := l.Open(ctx, p, from)
				if err != nil {
					t.Error("open:", err)
					return
				}
				next = min(all, next+int64(random.IntN(4000)))
				if err := follow(ctx, r, from, next, limit); err != nil {
					t.Error(err)
				}
				if err := r.Close(); err != nil || t.Failed() {
					return
				}
			}
		})
	}
	publish(t, l, p, all)
	busy.Wait()
}

// Two processes write to one partition, by turns and at once, with pauses in which
// a tail that is given nothing takes up reading again.
func TestReadersSeeWhatOthersWriteBetweenWhatThisProcessWrites(t *testing.T) {
	t.Parallel()
	l, other, p := sharing(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	readers := two(t, l, p)
	end := int64(0)
	next := [2]int64{}
	write := func(to log.Log, n int) {
		t.Helper()
		for n > 0 { // in parts for which there is room, or they would be fetched
			part := min(n, 100)
			publish(t, to, p, part)
			end, n = end+int64(part), n-part
			for i, r := range readers {
				if err := follow(ctx, r, next[i], end, func() int { return 100 }); err != nil {
					t.Fatal(err)
				}
				next[i] = end
			}
		}
	}
	for range 3 {
		write(l, 1000) // from here on nothing is fetched
		write(other, 1)
		write(l, 1)
		write(l, 1000)
		write(other, 300)
	}
	write(l, 1000)
	var busy sync.WaitGroup
	for _, writer := range []log.Log{l, other} {
		busy.Go(func() { publish(t, writer, p, 3000) })
	}
	end += 6000
	for i, r := range readers {
		if err := follow(ctx, r, next[i], end, func() int { return 100 }); err != nil {
			t.Fatal(err)
		}
	}
	busy.Wait()
}
