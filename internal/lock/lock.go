// Package lock gives a process named locks that end with its connection to
// Postgres: the moment the process dies, another can take over.
//
// It must not know what is locked. It imports pgx.
package lock

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Session is one connection that holds locks. When it breaks, all of them are
// lost at once and Lost is closed.
type Session struct {
	mu    sync.Mutex
	conn  *pgx.Conn
	stood time.Time // when the last question was put that was answered
	lost  chan struct{}
	once  sync.Once
}

// ErrLost says that the connection that held the locks is gone.
var ErrLost = errors.New("the connection that held the locks is gone")

// Open connects. The server notices a dead client by TCP keep-alive within
// seconds, and a killed process at once.
func Open(ctx context.Context, url string) (*Session, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open lock session: %w", err)
	}
	cfg.RuntimeParams["application_name"] = "hishamos-lock"
	cfg.RuntimeParams["tcp_keepalives_idle"] = "2"
	cfg.RuntimeParams["tcp_keepalives_interval"] = "1"
	cfg.RuntimeParams["tcp_keepalives_count"] = "2"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open lock session: %w", err)
	}
	return &Session{conn: conn, lost: make(chan struct{})}, nil
}

// Try takes a lock if nobody else holds it.
func (s *Session) Try(ctx context.Context, name string) (bool, error) {
	var got bool
	err := s.query(ctx, 0, `select pg_try_advisory_lock($1)`, &got, number(name))
	return got, err
}

// Release gives a lock back.
func (s *Session) Release(ctx context.Context, name string) error {
	var had bool
	return s.query(ctx, 0, `select pg_advisory_unlock($1)`, &had, number(name))
}

// Held checks that the session, and so every lock it took, stands, or stood within
// the last HeldFor: an answer tells of the past in any case, and asking takes
// longer than much of what is done under a lock.
func (s *Session) Held(ctx context.Context) error {
	var one int
	return s.query(ctx, HeldFor, `select 1`, &one)
}

// HeldFor is how long an answer counts.
const HeldFor = 20 * time.Millisecond

// Lost is closed when the session has ended.
func (s *Session) Lost() <-chan struct{} { return s.lost }

// Watch checks the session at an interval until the context ends or it is lost.
func (s *Session) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.lost:
			return
		case <-tick.C:
			check, cancel := context.WithTimeout(ctx, every)
			err := s.Held(check)
			cancel()
			if err != nil && ctx.Err() == nil {
				s.end()
				return
			}
		}
	}
}

// Close ends the session and with it every lock.
func (s *Session) Close(ctx context.Context) error {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.Close(ctx)
}

func (s *Session) end() { s.once.Do(func() { close(s.lost) }) }

// query asks, unless an answer not older than enough will do.
func (s *Session) query(ctx context.Context, enough time.Duration, sql string, into any, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.lost:
		return ErrLost
	default:
	}
	asked := time.Now()
	if asked.Sub(s.stood) < enough {
		return nil
	}
	err := s.conn.QueryRow(ctx, sql, args...).Scan(into)
	if s.conn.IsClosed() {
		s.end()
		return errors.Join(ErrLost, err)
	}
	if err == nil {
		s.stood = asked
	}
	return err
}

// number is the advisory lock of a name: its 64-bit FNV-1a hash.
func number(name string) int64 {
	h := fnv.New64a()
	h.Write([]byte("hishamos:" + name))
	return int64(h.Sum64())
}
