package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Effects reads the file to which steps write a line each: how many there are,
// and how many of them are repetitions.
func Effects(path string) (all, repeated int, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read effects: %w", err)
	}
	seen := make(map[string]bool)
	for line := range bytes.Lines(text) {
		all++
		if seen[string(line)] {
			repeated++
		}
		seen[string(line)] = true
	}
	return all, repeated, nil
}

// LongestPause follows the file of effects. The function it returns ends that, and
// returns the longest time in which there was none.
func LongestPause(path string) (stop func() time.Duration) {
	ending, ended := make(chan struct{}), make(chan time.Duration)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		size, since, longest := int64(0), time.Now(), time.Duration(0)
		for {
			if info, err := os.Stat(path); err == nil && info.Size() != size { // it may not be there yet
				size, since = info.Size(), time.Now()
			}
			longest = max(longest, time.Since(since))
			select {
			case <-tick.C:
			case <-ending:
				ended <- longest
				return
			}
		}
	}()
	return func() time.Duration { close(ending); return <-ended }
}
