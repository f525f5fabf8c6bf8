package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// fault is what the proxy does to the next write of the appender.
type fault int

const (
	pass      fault = iota
	cutBefore       // the connection breaks, the server never gets the write
	cutAfter        // the server commits, the connection breaks before the answer
	cutLate         // the connection breaks at once, the server gets the write when released
	hold            // the server gets the write when released, nothing breaks
)

// proxy stands between a store and its server and breaks connections at the
// moment of the commit.
type proxy struct {
	t        testing.TB
	network  string // tcp or unix
	server   string // host:port, or the socket
	listener net.Listener
	release  chan struct{} // lets what is held go on
	hit      chan fault    // receives each fault that was carried out

	mu    sync.Mutex // guards what follows
	next  fault
	down  bool
	conns map[net.Conn]bool
}

// viaProxy returns a fresh database as seen directly and through a proxy.
func viaProxy(t testing.TB) (direct, proxied *pgxpool.Pool, p *proxy) {
	t.Helper()
	address := pgtest.URL(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	network, server := "tcp", u.Host
	if server == "" { // the embedded server listens on a socket
		network, server = "unix", q.Get("host")+"/.s.PGSQL."+q.Get("port")
		q.Del("host")
		q.Del("port")
	}
	p = &proxy{t: t, network: network, server: server, release: make(chan struct{}), hit: make(chan fault, 100), conns: make(map[net.Conn]bool)}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := p.listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		p.close(p.listener)
		p.setDown(true)
		group.Wait()
	})
	u.Host = p.listener.Addr().String()
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return pgtest.Open(t, address), pgtest.Open(t, u.String()), p
}

func (p *proxy) close(c io.Closer) {
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		p.t.Logf("proxy: %v", err)
	}
}

// arm sets the fault of the next write.
func (p *proxy) arm(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = f
}

// setDown cuts all connections and refuses new ones.
func (p *proxy) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down = down; down {
		for c := range p.conns {
			p.close(c)
		}
	}
}

func (p *proxy) take() fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.next
	p.next = pass
	return f
}

func (p *proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return !p.down
}

func (p *proxy) serve(client net.Conn) {
	defer p.close(client)
	if !p.track(client) {
		return
	}
	server, err := (&net.Dialer{}).DialContext(context.Background(), p.network, p.server)
	if err != nil {
		return
	}
	defer p.close(server)
	if !p.track(server) {
		return
	}
	swallow := make(chan struct{}) // closed when answers are kept from the client
	answered := make(chan struct{})
	go p.answers(client, server, swallow, answered)
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		// A Bind message names the portal and the prepared statement.
		if bytes.Contains(buf[:n], []byte("\x00write")) {
			f := p.take()
			if f != pass {
				p.hit <- f
			}
			switch f {
			case cutBefore:
				return
			case cutLate:
				p.close(client)
				<-p.release
			case cutAfter:
				close(swallow)
			case hold:
				<-p.release
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
			if f == cutAfter || f == cutLate {
				<-answered
				return
			}
			continue
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// answers copies from the server to the client, or reads on until the server is
// ready for the next query and says so on answered.
func (p *proxy) answers(client, server net.Conn, swallow, answered chan struct{}) {
	defer close(answered)
	defer p.close(client)
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-swallow:
		default:
			if _, err := client.Write(buf[:n]); err == nil {
				continue
			}
		}
		if bytes.HasSuffix(buf[:n], []byte("Z\x00\x00\x00\x05I")) { // ReadyForQuery, idle
			return
		}
	}
}
