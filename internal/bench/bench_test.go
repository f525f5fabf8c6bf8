package bench_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/workflow"
	"github.com/hishamos/hishamos/internal/bench"
)

func TestAPercentileIsAValueThatWasThere(t *testing.T) {
	t.Parallel()
	values := []float64{40, 10, 30, 20}
	for share, want := range map[float64]float64{0: 10, 0.25: 10, 0.5: 20, 0.51: 30, 0.75: 30, 0.99: 40, 1: 40} {
		if got := bench.Percentile(values, share); got != want {
			t.Errorf("percentile %v is %v, want %v", share, got, want)
		}
	}
	if values[0] != 40 {
		t.Error("the values were sorted in place")
	}
	if !math.IsNaN(bench.Percentile([]float64(nil), 0.5)) || !math.IsNaN(bench.Median([]float64(nil))) {
		t.Error("nothing has a percentile")
	}
}

func TestTheMedianOfAnEvenNumberIsBetweenTheTwoInTheMiddle(t *testing.T) {
	t.Parallel()
	if got := bench.Median([]time.Duration{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median %v", got)
	}
	if got := bench.Median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("median %v", got)
	}
}

func TestALoadIsDoneWholeAndNeverMoreAtOnceThanItSays(t *testing.T) {
	t.Parallel()
	var now, most, done atomic.Int64
	full := make(chan struct{}) // closed once three are at it
	r := bench.Drive(t.Context(), bench.Load{Runs: 100, InFlight: 3}, func(context.Context, int) error {
		if n := now.Add(1); n > most.Load() {
			if most.Store(n); n == 3 {
				close(full)
			}
		}
		<-full
		now.Add(-1)
		done.Add(1)
		return nil
	})
	if most.Load() != 3 || done.Load() != 100 || len(r.Each) != 100 || r.Err != nil {
		t.Errorf("%d at once, %d done: %+v", most.Load(), done.Load(), r.Err)
	}
}

func TestAFailureIsCountedAndNamed(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := bench.Drive(t.Context(), bench.Load{Runs: 10, InFlight: 2}, func(_ context.Context, i int) error {
		if i%5 == 0 {
			return broken
		}
		return nil
	})
	if r.Failed != 2 || len(r.Each) != 8 || !errors.Is(r.Err, broken) {
		t.Errorf("%d failed, %d done: %v", r.Failed, len(r.Each), r.Err)
	}
}

func TestALoadThatWasInterruptedIsNoResult(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := bench.Drive(ctx, bench.Load{Runs: 1000, InFlight: 1}, func(context.Context, int) error { cancel(); return nil })
	if r.Err == nil || len(r.Each) == 1000 {
		t.Errorf("%d done: %v", len(r.Each), r.Err)
	}
}

func TestRepeatedEffectsAreCounted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "effects")
	if all, repeated, err := bench.Effects(path); all != 0 || repeated != 0 || err != nil {
		t.Errorf("no file: %d, %d, %v", all, repeated, err)
	}
	if err := os.WriteFile(path, []byte("a 1\na 2\na 1\nb 1\na 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, repeated, err := bench.Effects(path); all != 5 || repeated != 2 || err != nil {
		t.Errorf("%d effects, %d repeated, %v", all, repeated, err)
	}
}

func TestTheWorkloadsAreWorkflowsThatCanBeKept(t *testing.T) {
	t.Parallel()
	for _, d := range []domain.Definition{bench.Sequential(domain.Repeatable), bench.Sequential(domain.Keyed), bench.Sequential(domain.AtMostOnce), bench.FanOut()} {
		if err := workflow.Check(d); err != nil {
			t.Errorf("%s: %v", d.ID, err)
		}
	}
	if s, f := bench.Sequential(domain.Repeatable), bench.FanOut(); len(s.Steps) != bench.SequentialSteps || len(f.Steps) != bench.FanOutSteps {
		t.Error("the numbers of steps are wrong")
	}
}

func TestTheDiskIsMeasured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	took, err := bench.SyncTime(dir)
	if err != nil || took <= 0 {
		t.Errorf("%s, %v", took, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
}

func TestWorkCostsCPUAndMemory(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc here")
	}
	before, err := bench.CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; {
		after, err := bench.CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after > before {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("half a minute of work cost nothing")
		}
	}
	if n, err := bench.Memory(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("%d bytes in memory, %v", n, err)
	}
	if _, err := bench.CPU(-1); err == nil {
		t.Error("a process that is not there was counted")
	}
}
