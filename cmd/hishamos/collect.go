package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much garbage may gather before it is collected. What lives is small while
// nothing but runs is in memory, and Go's default of 100 percent then took a sixth
// of the processor time of a busy server; the embedded log keeps its newest part
// in memory, of which a multiple would be too much.
const (
	garbageRoom  = 256 << 20 // bytes
	leastGarbage = 50        // percent of what lives
	mostGarbage  = 600
)

// garbagePercent is the value of GOGC for so many living bytes.
func garbagePercent(live uint64) int {
	if live == 0 {
		return mostGarbage
	}
	return int(min(max(garbageRoom*100/live, leastGarbage), mostGarbage))
}

// collectByRoom sets, after each collection, when the next one is due, unless GOGC
// says it. Nothing shows where memory was allocated, so that is not sampled either.
func collectByRoom() {
	runtime.MemProfileRate = 0
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(mostGarbage) // until the first collection has told what lives
	afterEachCollection(func() { debug.SetGCPercent(garbagePercent(liveBytes())) })
}

// liveBytes is what the last collection found to be in use.
func liveBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// afterEachCollection has a function called when a collection has ended: whatever
// nobody refers to is finalized then.
func afterEachCollection(do func()) {
	type witness struct{ _ [64]byte } // too large to share memory with others
	var watch func(*witness)
	watch = func(*witness) {
		do()
		runtime.SetFinalizer(&witness{}, watch)
	}
	runtime.SetFinalizer(&witness{}, watch)
}
