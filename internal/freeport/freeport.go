// Package freeport finds ports of the loopback address for the servers that tests
// start.
//
// It must not be used outside tests and what runs them. It imports nothing of the
// project. Start at Find.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// The ports to choose from lie below those that systems give to outgoing
// connections (Linux: from 32768): any connection could take such a port between
// the look and the start of the server.
const (
	first = 12_000
	last  = 31_999
)

// given counts the ports that this process was given.
var (
	given atomic.Int64
	start = rand.IntN(last - first + 1) // processes look in different places
)

// Find returns the first of n ports side by side that nobody listens at. This
// process is not given them again.
func Find(n int) (int, error) {
	for range 1000 {
		port := first + (start+int(given.Add(int64(n)))-n)%(last-first+1)
		if port+n-1 <= last && free(port, n) {
			return port, nil
		}
	}
	return 0, errors.New("there are no free ports from " + strconv.Itoa(first) + " to " + strconv.Itoa(last))
}

func free(port, n int) bool {
	for i := range n {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)))
		if err != nil || l.Close() != nil {
			return false
		}
	}
	return true
}
