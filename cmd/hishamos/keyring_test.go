package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/keys"
)

func TestVerifyNamesTheEventWhoseKeyIsLostOrWasDestroyedByNobody(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(p *process, box string, path string) error{
		"lost": func(_ *process, _, path string) error { return os.Remove(path) },
		"damaged": func(_ *process, _, path string) error {
			return os.WriteFile(path, make([]byte, 256*keys.RecordSize-1), 0o600)
		},
		"destroyed without an event": func(p *process, box, _ string) error {
			return p.ring.Destroy(p.t.Context(), commands.ErasureOrder(domain.DefaultTenant, commands.EraseRun, "none"), box+".0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDrill(t)
			p := d.start()
			runs := p.fill(1)
			p.verifyAll()
			c := canaryProcess{process: p}
			records, err := p.store.ReadStream(t.Context(), runs[0], 0, 100)
			p.must(err)
			first := slices.IndexFunc(records, func(r events.Record) bool { return r.KeyIDs != "" }) // that holds content
			if first < 0 {
				t.Fatal("no event of the run holds content")
			}
			ids, err := keys.IDs(records[first].Envelope)
			p.must(err)
			box, _, _ := strings.Cut(ids[0], ".")
			p.must(harm(c.process, box, filepath.Join(d.data, "keys", "boxes", box)))
			p.ring.Forget()
			var v verified
			err = p.operation(&v, func(o *operation, ctx context.Context) error { return o.verify(ctx, verification{full: true}) })
			if err == nil || v.OK || v.Key != ids[0] || v.Wrong != records[first].Position {
				t.Errorf("verify: %v, %+v", err, v)
			}
		})
	}
}

func TestAProcessWithAnotherKeyStoreIsRefused(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	d.start().fill(1)
	d.set = append(d.set, "HISHAMOS_BLOBS="+filepath.Join(d.data, "blobs"))
	d.data = t.TempDir()
	cfg := d.config()
	n, err := openNode(t.Context(), cfg, simLogger(), func(string, int64, int64) {}, false)
	if !errors.Is(err, keys.ErrForeign) {
		t.Fatalf("opened %v, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(d.data, "keys", "boxes", "root")); !os.IsNotExist(err) {
		t.Errorf("it made a store of its own: %v", err)
	}
}

func TestSettingsOfKeysThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  func(*drill) []string
		code string
	}{
		"a short root":              {func(*drill) []string { return []string{"HISHAMOS_KEYS_ROOT=abcd"} }, "request.invalid_field"},
		"a database without a root": {func(d *drill) []string { return []string{"HISHAMOS_KEYS_URL=" + d.database} }, "request.invalid_field"},
		"the events' own database": {func(d *drill) []string {
			return []string{"HISHAMOS_KEYS_URL=" + d.database, "HISHAMOS_KEYS_ROOT=" + strings.Repeat("ab", 32)}
		}, "keys.same_database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDrill(t)
			d.set = c.set(d)
			_, err := openNode(t.Context(), d.config(), simLogger(), func(string, int64, int64) {}, false)
			known := (*domain.Error)(nil)
			if !errors.As(err, &known) || known.Code != c.code || known.Fix == "" || !strings.HasPrefix(known.Field, "HISHAMOS_KEYS_") {
				t.Errorf("answered %v", err)
			}
			if strings.Contains(err.Error(), "abab") {
				t.Error("the error shows the root key")
			}
		})
	}
}
