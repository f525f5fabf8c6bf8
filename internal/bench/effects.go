package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
