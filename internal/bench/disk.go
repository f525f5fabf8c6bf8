package bench

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// syncs is how many writes the sync time is the median of.
const syncs = 101

// SyncTime is how long a small write to a folder's disk takes to be safe: the
// median. Every figure of a store depends on it.
func SyncTime(dir string) (took time.Duration, err error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, fmt.Errorf("measure the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	line := make([]byte, 256)
	all := make([]time.Duration, syncs)
	for i := range all {
		began := time.Now()
		if _, err := f.Write(line); err != nil {
			return 0, fmt.Errorf("measure the disk: %w", err)
		}
		if err := syncData(f); err != nil {
			return 0, fmt.Errorf("measure the disk: %w", err)
		}
		all[i] = time.Since(began)
	}
	return time.Duration(Median(all)), nil
}
