package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// serversOf lists the Postgres processes whose working folder is data: Postgres
// enters its data folder at start and stays there, backends included. A zombie
// has no working folder and is not listed.
func serversOf(_ context.Context, data string) ([]int, error) {
	ours, err := os.Stat(data)
	if err != nil {
		return nil, fmt.Errorf("list servers: %w", err)
	}
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list servers: %w", err)
	}
	var pids []int
	for _, name := range names {
		comm, err := os.ReadFile(name + "/comm")
		if err != nil || !strings.HasPrefix(string(comm), "postgres") {
			continue // not a server, or it ended meanwhile
		}
		cwd, err := os.Stat(name + "/cwd")
		if err != nil || !os.SameFile(cwd, ours) {
			continue // another folder's, or another user's
		}
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			return nil, fmt.Errorf("list servers: %w", err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
