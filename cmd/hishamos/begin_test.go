package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

// keysBehind gives a drill a database of the keys that is reached by a door.
func keysBehind(t *testing.T, d *drill) door {
	t.Helper()
	way := behindDoor(t, pgtest.Empty(t))
	d.set = append(d.set, "HISHAMOS_KEYS_URL="+way.url, "HISHAMOS_KEYS_ROOT="+hex.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	return way
}

// beginning is a server that begins to serve.
type beginning struct {
	t    *testing.T
	said journal
	done chan error
	n    *node // after done
}

func begins(t *testing.T, d *drill) *beginning {
	t.Helper()
	b := &beginning{t: t, done: make(chan error, 1)}
	cfg := d.config()
	go func() {
		n, err := beginServing(t.Context(), cfg, b.said.logger(), allRoles, io.Discard)
		b.n = n
		b.done <- err
	}()
	return b
}

// serves requires that it comes to serve, and having said so much once only.
func (b *beginning) serves(once ...string) {
	b.t.Helper()
	select {
	case err := <-b.done:
		if err != nil {
			b.t.Fatalf("it did not come to serve: %v; it said %s", err, &b.said)
		}
	case <-time.After(60 * time.Second):
		b.t.Fatalf("it does not come to serve; it said %s", &b.said)
	}
	if err := b.n.close(context.Background()); err != nil {
		b.t.Error(err)
	}
	for _, text := range once {
		if n := strings.Count(b.said.String(), text); n != 1 {
			b.t.Errorf("it said %d times that %s: %s", n, text, &b.said)
		}
	}
}

const (
	keysAwait = "the Postgres of the keys does not answer; waiting for it"
	keysGone  = "the Postgres of the keys went away; beginning again"
	dataAwait = `"Postgres does not answer; waiting for it`
	dataGone  = `"Postgres went away; beginning again`
	logAwait  = "Kafka does not answer; waiting for it"
)

func TestAServerWaitsForTheKeysThatAreAwayAtItsStart(t *testing.T) {
	// The client's file goes to a folder that is named by the environment.
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	d := newDrill(t, "HISHAMOS_LISTEN="+freeAddress(t))
	way := keysBehind(t, d)

	// A command for a person fails at once, in one sentence.
	var said journal
	began := time.Now()
	_, err := openNode(t.Context(), d.config(), said.logger(), noProgress, fails)
	if !errors.Is(err, keys.ErrUnreachable) || time.Since(began) > 5*time.Second {
		t.Fatalf("a command: %v, after %s", err, time.Since(began))
	}
	for _, text := range []string{err.Error(), said.String()} {
		if strings.Contains(text, "\n\t") || strings.Contains(text, "s3cret") || strings.Contains(text, "waiting") {
			t.Errorf("a command says %q", text)
		}
	}
	if !strings.HasPrefix(err.Error(), "the Postgres of the keys does not answer at "+way.address) || !strings.Contains(err.Error(), "HISHAMOS_KEYS_URL") {
		t.Errorf("a command says %q", err)
	}

	b := begins(t, d)
	b.said.awaits(t, keysAwait)
	if text := b.said.String(); !strings.Contains(text, way.address+", database ") || strings.Contains(text, "s3cret") {
		t.Errorf("it says %s", text)
	}
	way.open()
	b.serves(keysAwait)
}

func TestAServerIsNotReadyUntilItsReadModelsAreBuilt(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	d := newDrill(t, "HISHAMOS_LISTEN="+freeAddress(t))
	b := begins(t, d)
	if err := <-b.done; err != nil {
		t.Fatalf("it did not come to serve: %v; it said %s", err, &b.said)
	}
	if missing := b.n.missing(t.Context()); !slices.Equal(missing, []string{"read models"}) {
		t.Errorf("before anything is built it lacks %q", missing)
	}
	ctx, stop := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { b.n.keep(ctx, "relay", b.n.runRelay) })
	parts.Go(func() { b.n.keep(ctx, "projections", b.n.runProjections) })
	until := time.Now().Add(time.Minute)
	for missing := b.n.missing(ctx); len(missing) > 0; missing = b.n.missing(ctx) {
		if !wait(ctx, 10*time.Millisecond) || time.Now().After(until) {
			t.Errorf("it still lacks %q", missing)
			break
		}
	}
	if _, err := (waiter{b.n}).Reached(ctx); err != nil {
		t.Errorf("it is ready, and its read models answer: %v", err)
	}
	stop()
	parts.Wait()
	if err := b.n.close(context.Background()); err != nil {
		t.Error(err)
	}
}

// In these tests Kafka is away until Postgres was taken away, so that the start
// is in its middle when that happens.
func TestAServerBeginsAgainWhenAPostgresGoesAwayDuringItsStart(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for name, c := range map[string]struct{ gone, await string }{
		"of the events": {dataGone, dataAwait},
		"of the keys":   {keysGone, keysAwait},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDrill(t, "HISHAMOS_LISTEN="+freeAddress(t))
			keyWay, dataWay := keysBehind(t, d), behindDoor(t, d.database)
			d.database = dataWay.url
			host, port, err := net.SplitHostPort(d.kafka)
			if err != nil {
				t.Fatal(err)
			}
			d.kafka = freeAddress(t)
			way, other := dataWay, keyWay
			if c.gone == keysGone {
				way, other = keyWay, dataWay
			}
			other.open()
			shut := way.open()
			if c.gone == keysGone {
				eraseSomething(d, net.JoinHostPort(host, port))
			}

			b := begins(t, d)
			b.said.awaits(t, logAwait)
			shut()
			forward(t, d.kafka, host, port)
			b.said.awaits(t, c.gone)
			b.said.awaits(t, c.await)
			if strings.Contains(b.said.String(), "s3cret") {
				t.Errorf("it says %s", &b.said)
			}
			way.open()
			b.serves(c.await)
			if text := b.said.String(); (c.gone == keysGone) == strings.Contains(text, dataGone) {
				t.Errorf("it says that another went away: %s", text)
			}
		})
	}
}

// eraseSomething leaves a log whose erasures every start carries out again, for
// which it needs the keys.
func eraseSomething(d *drill, kafka string) {
	d.t.Helper()
	away := d.kafka
	d.kafka = kafka
	p := d.start((*node).runRelay, (*node).runProjections)
	d.kafka = away
	defer p.stop()
	p.do(commands.CancelRun{Run: p.fill(1)[0]})
	p.must(p.operation(nil, func(o *operation, ctx context.Context) error { return o.eraseTenant(ctx, domain.DefaultTenant, "") }))
	p.quiesce()
}

func TestAServerDoesNotWaitForKeysWhereWaitingCannotMend(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	missing, err := url.Parse(d.database)
	if err != nil {
		t.Fatal(err)
	}
	missing.Path = "/no_such_database"
	d.set = append(d.set, "HISHAMOS_KEYS_URL="+missing.String(), "HISHAMOS_KEYS_ROOT="+strings.Repeat("ab", 32))
	bounded, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var said journal
	if _, err := beginServing(bounded, d.config(), said.logger(), allRoles, io.Discard); err == nil || bounded.Err() != nil {
		t.Errorf("%v; it said %s", err, &said)
	}
}
