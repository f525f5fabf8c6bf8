package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/keys"
	keysfile "github.com/hishamos/hishamos/internal/keys/file"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// setLevelForTest allows every event type that this build knows.
func (c *canaryProcess) setLevelForTest(ctx context.Context) error {
	return c.setLevel(ctx, events.Level)
}

// serveHere serves the API and returns its address.
func (c *canaryProcess) serveHere() string {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	handler, err := c.api(ctx)
	c.must(err)
	s := httptest.NewServer(handler)
	c.t.Cleanup(func() { cancel(); s.Close() })
	return s.URL
}

// records is every record of every topic, as text.
func (c *canaryProcess) records() string {
	c.t.Helper()
	ctx := c.t.Context()
	topics, err := c.log.Topics(ctx, "")
	c.must(err)
	var all strings.Builder
	for topic, partitions := range topics {
		for id := range partitions {
			p := log.Partition{Topic: topic, ID: int32(id)}
			bounds, err := c.log.Bounds(ctx, p)
			c.must(err)
			if bounds[p].First == bounds[p].End {
				continue
			}
			r, err := c.log.Open(ctx, p, -1)
			c.must(err)
			for last := bounds[p].First - 1; last < bounds[p].End-1; {
				messages, err := r.Poll(1000)
				c.must(err)
				for _, m := range messages {
					last = m.Offset
					all.WriteString(m.Key + " " + string(m.Value) + "\n")
					for _, h := range m.Headers {
						all.WriteString(h.Key + "=" + h.Value + "\n")
					}
				}
				if len(messages) == 0 {
					<-r.Ready()
				}
			}
			c.must(r.Close())
		}
	}
	return all.String()
}

// keyOf is the place of a run's key.
func (c *canaryProcess) keyOf(run string) (box string, n int) {
	c.t.Helper()
	first, err := c.store.ReadStream(c.t.Context(), domain.RunID(run).Stream(domain.DefaultTenant), 0, 1)
	c.must(err)
	ids, err := keys.IDs(first[0].Envelope)
	c.must(err)
	if len(ids) != 1 {
		c.t.Fatalf("%s names the keys %v", run, ids)
	}
	box, number, _ := strings.Cut(ids[0], ".")
	n, err = strconv.Atoi(number)
	c.must(err)
	return box, n
}

// fileKeys keeps the keys of a drill in its data folder.
func fileKeys(t *testing.T, d *drill) keyPlace {
	dir := filepath.Join(d.data, "keys")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func() *keysfile.Store {
		s, err := keysfile.Open(dir)
		must(err)
		return s
	}
	return keyPlace{
		away: func() { must(os.Rename(dir, dir+".away")) },
		back: func() { must(os.Rename(dir+".away", dir)) },
		holds: func(record []byte) bool {
			found := false
			must(filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				b, err := os.ReadFile(path)
				found = found || bytes.Contains(b, record)
				return err
			}))
			return found
		},
		read: func(box string, n int) []byte {
			r, err := open().Read(t.Context(), box, n)
			must(err)
			return r
		},
		write: func(box string, n int, record []byte) { must(open().Replace(t.Context(), box, n, record)) },
	}
}

// postgresKeys keeps the keys of a drill in a database of their own.
func postgresKeys(t *testing.T, d *drill) keyPlace {
	address := pgtest.Empty(t)
	d.set = append(d.set, "HISHAMOS_KEYS_URL="+address, "HISHAMOS_KEYS_ROOT="+hex.EncodeToString(bytes.Repeat([]byte{9}, 32)))
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	do := func(address, sql string, args ...any) (record []byte, err error) {
		c, err := pgx.Connect(context.Background(), address)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(sql, "select record") {
			err = c.QueryRow(context.Background(), sql, args...).Scan(&record)
		} else {
			_, err = c.Exec(context.Background(), sql, args...)
		}
		return record, errors.Join(err, c.Close(context.Background()))
	}
	must := func(record []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return record
	}
	return keyPlace{
		away: func() {
			must(do(u.String(), `alter database "`+name+`" allow_connections false`))
			must(do(u.String(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, name))
		},
		back: func() { must(do(u.String(), `alter database "`+name+`" allow_connections true`)) },
		holds: func(record []byte) bool {
			_, err := do(address, `select record from keys where record = $1`, record)
			if !errors.Is(err, pgx.ErrNoRows) {
				must(nil, err)
			}
			return err == nil
		},
		read: func(box string, n int) []byte {
			return must(do(address, `select record from keys where box = $1 and n = $2`, box, n))
		},
		write: func(box string, n int, record []byte) {
			must(do(address, `update keys set record = $3 where box = $1 and n = $2`, box, n, record))
		},
	}
}
