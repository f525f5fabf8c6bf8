package projection

import (
	"math"
	"testing"
	"time"
)

func TestRecordsGatherForNoLongerThanABatchTakesToFill(t *testing.T) {
	t.Parallel()
	r := &Runner{batch: 2000, linger: 250 * time.Millisecond}
	for _, c := range []struct {
		taken  int
		within time.Duration
		want   time.Duration
	}{
		{1, math.MaxInt64, 250 * time.Millisecond},               // the first of all
		{1, time.Hour, 250 * time.Millisecond},                   // after a pause
		{1000, 250 * time.Millisecond, 250 * time.Millisecond},   // less than a batch
		{2000, 250 * time.Millisecond, 250 * time.Millisecond},   // just one
		{5000, 250 * time.Millisecond, 100 * time.Millisecond},   // 20,000 a second
		{8000, 400 * time.Millisecond, 100 * time.Millisecond},   // the same, of a longer round
		{2000, time.Millisecond, time.Millisecond},               // as fast as they are applied
		{1999, 100 * time.Microsecond, 100050 * time.Nanosecond}, // the same
		{1, 10 * time.Millisecond, 250 * time.Millisecond},       // somebody waited for it
		{10_000, 10 * time.Second, 250 * time.Millisecond},       // a slow store, not a busy log
	} {
		if got := r.pause(c.taken, c.within).Round(10 * time.Nanosecond); got != c.want {
			t.Errorf("after %d records in %s they gather for %s, want %s", c.taken, c.within, got, c.want)
		}
	}
}

func TestPartitionsShareTheRowsInMemory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rows, partitions, want int }{
		{4096, 1, 4096}, {4096, 4, 1024}, {4096, 16, 256}, {4096, 1024, leastRows}, {8, 4, 8},
	} {
		r := &Runner{cacheRows: c.rows}
		if got := r.share(c.partitions); got != c.want {
			t.Errorf("of %d rows, one of %d partitions keeps %d, want %d", c.rows, c.partitions, got, c.want)
		}
	}
}
