package bench_test

import (
	"context"
	"math"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/bench"
	"github.com/hishamos/hishamos/internal/telemetry"
)

func TestQuantilesOfWhatAServerCountedInBetween(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("test")
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	read := func() bench.Histogram {
		t.Helper()
		h, err := bench.ReadHistogram(t.Context(), server.URL, telemetry.ArrivalMetric)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	m.Arrived(1000, time.Second) // before
	before := read()
	m.Arrived(60, 2500*time.Microsecond) // in the bucket from 2 to 3 ms
	m.Arrived(40, 9*time.Millisecond)    // in that from 8 to 10 ms
	h := read().Since(before)
	for share, want := range map[float64]float64{.3: .0025, .6: .003, .8: .009, 1: .01} {
		if got := h.Quantile(share); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v is %v, not %v", share, got, want)
		}
	}
	m.Arrived(1, time.Hour)
	if got := read().Since(before).Quantile(1); got != 30 {
		t.Errorf("beyond the last bound it is %v, not that bound", got)
	}
	if got := read().Since(read()).Quantile(.5); !math.IsNaN(got) {
		t.Errorf("of nothing the quantile is %v", got)
	}
}

func TestAHistogramThatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(telemetry.NewMetrics("test").Handler())
	defer server.Close()
	for _, name := range []string{"nothing", "hishamos_build_info"} {
		if h, err := bench.ReadHistogram(t.Context(), server.URL, name); err == nil {
			t.Errorf("%s: read as %v", name, h)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bench.ReadHistogram(ended, server.URL, telemetry.ArrivalMetric); err == nil {
		t.Error("read without a server")
	}
}
