package main

import (
	"runtime"
	"testing"
)

func TestTheRoomForGarbageIsNoMultipleOfALargeHeap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live    uint64
		percent int
	}{{0, mostGarbage}, {1 << 20, mostGarbage}, {64 << 20, 400}, {128 << 20, 200}, {256 << 20, 100}, {4 << 30, leastGarbage}} {
		if got := garbagePercent(c.live); got != c.percent {
			t.Errorf("%d MiB live: %d percent, want %d", c.live>>20, got, c.percent)
		}
	}
}

// Not parallel: it makes the process collect.
func TestEveryCollectionIsHeardOf(t *testing.T) {
	heard := make(chan struct{}, 1)
	afterEachCollection(func() {
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	for range 3 {
		runtime.GC()
		<-heard
	}
	if liveBytes() == 0 {
		t.Error("nothing lives")
	}
}
