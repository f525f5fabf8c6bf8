// Package bench measures a running system from outside: it loads it through the
// public API, and reads what the machine and Postgres say of the cost.
//
// It must not know how the system is put together, nor start anything: the
// command `hishamos bench` does. It imports the API's client, the event store
// for the figures of its append, and the drivers of Postgres and Kafka.
//
// Start reading at Drive; workload.go holds what is driven, cost.go what it
// costs.
package bench

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// Load says how many times something is done, and how many of it at once.
type Load struct{ Runs, InFlight int }

// Result is what came of a load.
type Result struct {
	Took   time.Duration
	Each   []time.Duration // of every success
	Failed int
	Err    error // the first failure
}

// Drive does something as often as the load says and waits for all of it. When
// the context ends, nothing new is begun.
func Drive(ctx context.Context, load Load, one func(ctx context.Context, i int) error) Result {
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range load.Runs {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex
	var r Result
	var callers sync.WaitGroup
	began := time.Now()
	for range min(load.InFlight, load.Runs) {
		callers.Go(func() {
			for i := range next {
				before := time.Now()
				err := one(ctx, i)
				took := time.Since(before)
				mu.Lock()
				switch {
				case err == nil:
					r.Each = append(r.Each, took)
				case r.Err == nil:
					r.Err = err
					fallthrough
				default:
					r.Failed++
				}
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	r.Took = time.Since(began)
	if err := context.Cause(ctx); err != nil && r.Err == nil {
		r.Err = err
	}
	return r
}

// Percentile is the value that a share of the values (0.5: half) does not pass:
// the nearest rank. It is NaN for no values.
func Percentile[T ~int64 | ~float64](values []T, share float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(share*float64(len(sorted)))) - 1
	return float64(sorted[min(max(rank, 0), len(sorted)-1)])
}

// Median is the middle value, or the mean of the two in the middle.
func Median[T ~int64 | ~float64](values []T) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return float64(sorted[half])
	}
	return (float64(sorted[half-1]) + float64(sorted[half])) / 2
}

// Milliseconds turns a statistic of durations into milliseconds.
func Milliseconds(nanoseconds float64) float64 { return nanoseconds / float64(time.Millisecond) }
