package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/hishamos/hishamos/internal/freeport"
)

func TestPortsAreFreeGivenOnceAndOfNoOutgoingConnection(t *testing.T) {
	t.Parallel()
	given := make(map[int]bool)
	for i := range 500 {
		n := 1 + i%3
		port, err := freeport.Find(n)
		if err != nil {
			t.Fatal(err)
		}
		for p := port; p < port+n; p++ {
			if given[p] || p < 1024 || p >= 32768 {
				t.Errorf("port %d was given before: %v", p, given[p])
			}
			given[p] = true
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
			if err != nil {
				t.Error(err)
				continue
			}
			t.Cleanup(func() { _ = l.Close() }) // the test is over
		}
	}
}
