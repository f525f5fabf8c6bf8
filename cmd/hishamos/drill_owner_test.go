package main

import (
	"os"
	"syscall"
)

// copyOwner keeps the owner: as root, Postgres runs as another user.
func copyOwner(path string, info os.FileInfo) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Getuid() != 0 {
		return nil
	}
	return os.Lchown(path, int(s.Uid), int(s.Gid))
}
