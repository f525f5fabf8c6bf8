package main

import (
	"fmt"
	"os"
	"syscall"
)

// freeDisk is the space, in bytes, that an ordinary user may still fill at a
// path.
func freeDisk(path string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, fmt.Errorf("free disk at %s: %w", path, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// diskPath is where this process's data grows: its folder, or, if both stores
// are elsewhere, where it writes anything at all.
func (n *node) diskPath() string {
	if n.folder != nil {
		return n.folder.Path()
	}
	return os.TempDir()
}
