package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *journal) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *journal) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// awaits waits until the log holds a text.
func (s *journal) awaits(t *testing.T, text string) {
	t.Helper()
	until := time.Now().Add(20 * time.Second)
	for !strings.Contains(s.String(), text) {
		if !wait(t.Context(), 10*time.Millisecond) || time.Now().After(until) {
			t.Fatalf("the log does not say %q: %s", text, s)
		}
	}
}

func (s *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

func noProgress(string, int64, int64) {}

func TestAServerWaitsForAPostgresThatIsAwayAtItsStart(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	database := behindDoor(t, d.database)
	d.database = database.url
	cfg := d.config()

	// A command for a person fails, at once.
	var said journal
	if _, err := openNode(t.Context(), cfg, said.logger(), noProgress, fails); err == nil || !strings.HasPrefix(err.Error(), "open database: ") {
		t.Fatalf("a command: %v", err)
	}
	type opened struct {
		n   *node
		err error
	}
	done := make(chan opened, 1)
	go func() {
		n, err := openNode(t.Context(), cfg, said.logger(), noProgress, waits)
		done <- opened{n, err}
	}()
	said.awaits(t, "Postgres does not answer; waiting for it")
	if text := said.String(); !strings.Contains(text, database.address+", database ") || strings.Contains(text, "s3cret") {
		t.Errorf("it says %s", text)
	}
	database.open()
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	if err := got.n.close(context.Background()); err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.String(), "waiting for it"); n != 1 {
		t.Errorf("it said so %d times", n)
	}
}

func TestAServerDoesNotWaitForWhatWaitingCannotMend(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	missing, err := url.Parse(d.database)
	if err != nil {
		t.Fatal(err)
	}
	missing.Path = "/no_such_database"
	for what, u := range map[string]string{
		"a database that is not there": missing.String(), "a name that does not resolve": "postgres://ada@postgres.invalid:5432/events",
	} {
		d.database = u
		bounded, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var said journal
		if _, err := openNode(bounded, d.config(), said.logger(), noProgress, waits); err == nil || bounded.Err() != nil {
			t.Errorf("%s: %v; it said %s", what, err, &said)
		}
		cancel()
	}
}

// door is a way to a server that can be shut.
type door struct {
	url     string // of the database, by this way
	address string
	open    func() (shut func())
}

// behindDoor makes a way to a database, with a password in it if there is none.
// It is shut.
func behindDoor(t *testing.T, database string) door {
	t.Helper()
	server, err := pgconn.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	u := &url.URL{
		Scheme: "postgres", User: url.UserPassword(server.User, cmp.Or(server.Password, "s3cret")),
		Host: address, Path: server.Database, RawQuery: "sslmode=disable",
	}
	return door{u.String(), address, func() func() { return forward(t, address, server.Host, strconv.Itoa(int(server.Port))) }}
}

// forward lets an address lead to a server, until the test ends or it is cut:
// then whoever came through it is thrown out, and nobody comes in.
func forward(t *testing.T, address, host, port string) (cut func()) {
	t.Helper()
	network, to := "tcp", net.JoinHostPort(host, port)
	if strings.HasPrefix(host, "/") {
		network, to = "unix", host+"/.s.PGSQL."+port
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn // guarded by mu, as is shut
	shut := false
	end := func(conns ...net.Conn) {
		for _, c := range conns {
			if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) { // the other direction, or the cut, was faster
				t.Errorf("close a connection to %s: %v", to, err)
			}
		}
	}
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // an error is how either end, or the cut, ends it: the other end follows
		end(to, from)
	}
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) { // the cut
					t.Errorf("forward to %s: %v", to, err)
				}
				return
			}
			out, err := net.Dial(network, to)
			if err != nil { // the server has ended: so whoever comes is told
				end(in)
				continue
			}
			mu.Lock()
			open = append(open, in, out)
			if shut {
				end(in, out)
			}
			mu.Unlock()
			all.Go(func() { pipe(out, in) })
			all.Go(func() { pipe(in, out) })
		}
	})
	t.Cleanup(all.Wait)
	cut = sync.OnceFunc(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		shut = true
		end(open...)
	})
	t.Cleanup(cut)
	return cut
}
