package pgtest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/embedded"
)

// shared is the embedded server of this test process: it starts with the first
// test that needs it and stops with the last one that has it.
var shared struct {
	sync.Mutex
	users  int
	server *embedded.Postgres
	dir    string
}

func embeddedServer(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.users == 0 {
		startShared(t)
	}
	shared.users++
	t.Cleanup(func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.users--; shared.users == 0 {
			stopShared(t)
		}
	})
	return shared.server.URL()
}

func startShared(t testing.TB) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hishamos-pgtest-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// Many of a package's tests run side by side.
	server, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: dir, Connections: 300})
	if err != nil {
		t.Fatalf("%s is not set, and the embedded Postgres does not start: %v", Env, err)
	}
	shared.server, shared.dir = server, dir
}

func stopShared(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := shared.server.Stop(ctx); err != nil {
		t.Errorf("stop the embedded Postgres: %v", err)
	}
	if err := os.RemoveAll(shared.dir); err != nil {
		t.Errorf("remove the embedded Postgres: %v", err)
	}
}
