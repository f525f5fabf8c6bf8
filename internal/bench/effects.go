package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	hishamos "github.com/hishamos/hishamos/sdk/go"
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

// Unrecognised counts the attempts at keyed effects, after a position, under
// another key than the first at the same step had: the other side would take each
// for a new effect. It returns the position up to which it looked.
func Unrecognised(ctx context.Context, c *hishamos.Client, after v1.Ordinal) (n int, reached v1.Ordinal, err error) {
	begun := 0
	again := make(map[string]bool) // runs of which a step was begun again
	for e, err := range c.AllEvents(ctx, after, stepStarted) {
		var s startedStep
		if err == nil {
			err = json.Unmarshal(e.Data, &s)
		}
		if err != nil {
			return 0, after, fmt.Errorf("read which effects were begun: %w", err)
		}
		begun, reached = begun+1, e.Position
		if s.Attempt > 1 {
			_, run, _ := strings.Cut(e.Stream, "/")
			again[run] = true
		}
	}
	if begun == 0 {
		return 0, after, errors.New("no effect was begun")
	}
	for run := range again {
		timeline, err := c.RunEvents(ctx, run, 0, 200) // unsealed, which the log as it is stored is not
		if err != nil {
			return 0, after, fmt.Errorf("read the keys of effects: %w", err)
		}
		keys := make(map[domain.StepPath]string)
		for _, e := range timeline.Items {
			var s startedStep
			if e.Type != stepStarted {
				continue
			}
			if err := json.Unmarshal(e.Data, &s); err != nil {
				return 0, after, fmt.Errorf("read the key of %s: %w", e.ID, err)
			}
			if first, before := keys[s.Path]; before && s.Key != first {
				n++
			} else {
				keys[s.Path] = s.Key
			}
		}
	}
	return n, reached, nil
}

// stepStarted is the event before a keyed effect, of which startedStep is what
// matters here.
const stepStarted = "run.step_started"

type startedStep struct {
	Path    domain.StepPath `json:"path"`
	Attempt int             `json:"attempt"`
	Key     string          `json:"key"`
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
