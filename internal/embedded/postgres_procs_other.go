//go:build !linux

package embedded

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// serversOf lists the postmasters that were started with -D data, as ps shows
// them. Their backends have other titles and are not listed.
func serversOf(ctx context.Context, data string) ([]int, error) {
	out, err := exec.CommandContext(ctx, "ps", "-axww", "-o", "pid=,command=").Output()
	if err != nil {
		return nil, fmt.Errorf("list servers: %w", err)
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		pid, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.Atoi(pid); err == nil && strings.Contains(command, "postgres") && strings.Contains(command+" ", " -D "+data+" ") {
			pids = append(pids, n)
		}
	}
	return pids, nil
}
