package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/blob"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// swept sweeps as if some time had passed.
func (k *fileKit) swept(later time.Duration, dry bool) (swept, error) {
	k.t.Helper()
	var done swept
	err := k.operation(&done, func(o *operation, ctx context.Context) error { return o.sweep(ctx, clock{}.Now().Add(later), dry) })
	return done, err
}

func TestNoBlobIsSweptWhereWhatEventsNameIsNotKnown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm    func(*process)
		refusal func(error, *process) bool
	}{
		"an event of a newer build": {
			func(p *process) { p.raw(drillRun(), "run.dreamt", 1, `{}`) },
			func(err error, p *process) bool {
				return errors.Is(err, errNewerEvents) && strings.Contains(err.Error(), fmt.Sprintf("position %d holds run.dreamt v1", p.position()))
			},
		},
		"a newer version of an event": {
			func(p *process) { p.raw(drillRun(), (events.RunStarted{}).EventType(), 99, `{}`) },
			func(err error, _ *process) bool { return errors.Is(err, errNewerEvents) },
		},
		"a log that ends early": {
			func(p *process) {
				_, err := p.owner().Exec(t.Context(), `delete from events where position > 3`)
				p.must(err)
			},
			func(err error, _ *process) bool {
				wrong, ok := errors.AsType[*events.ChainError](err)
				return ok && wrong.Position == 4
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newDrill(t).open()
			p.fill(1)
			lost := []byte("of a command that was refused")
			address, err := p.blobs.Put(t.Context(), domain.DefaultTenant, lost)
			p.must(err)
			c.harm(p)
			err = p.operation(nil, func(o *operation, ctx context.Context) error {
				return o.sweep(ctx, clock{}.Now().Add(2*p.cfg.BlobGrace), false)
			})
			if !c.refusal(err, p) {
				t.Errorf("it answers %v", err)
			}
			if got, err := p.blobs.Get(t.Context(), domain.DefaultTenant, address); err != nil || !bytes.Equal(got, lost) {
				t.Errorf("the blob: %q, %v", got, err)
			}
		})
	}
}

func TestOnlyBlobsThatNoEventNamesAndNoUploadMayNameAreSwept(t *testing.T) {
	t.Parallel()
	k := newFileKit(t, newDrill(t))
	kept := k.upload("kept.txt", songs(blob.PartSize+1000))
	large := string(bytes.TrimSpace(songs(99_000)))
	if status, body := k.post("/api/v1/workflows/two-step/runs", "large", v1.StartRun{Inputs: map[string]json.RawMessage{"notes": text(large)}}); status != http.StatusCreated {
		t.Fatalf("a large input answers %d: %s", status, body)
	}
	begun, err := k.client.BeginUpload(t.Context(), hishamos.NewUpload{Size: 100}, hishamos.Command{})
	k.must(err)
	content := songs(100)
	k.patch(begun.ID, 0, string(content[:60]), http.StatusNoContent)
	lost := []byte("of a command that was refused")
	address, err := k.blobs.Put(t.Context(), domain.DefaultTenant, lost)
	k.must(err)
	all := k.inBlobs()

	grace := k.cfg.BlobGrace
	sweep := func(when string, later time.Duration, dry bool, unnamed, left int) {
		t.Helper()
		done, err := k.swept(later, dry)
		if err != nil || done.Blobs < unnamed || done.Unnamed != unnamed || done.Removed == dry {
			t.Errorf("%s: %+v, %v", when, done, err)
		}
		if n := k.inBlobs(); n != left {
			t.Errorf("%s: %d of %d blobs are left, not %d", when, n, all, left)
		}
	}
	sweep("while an upload is under way", 2*grace, false, 0, all)
	if f, err := k.client.SendUpload(t.Context(), begun.ID, bytes.NewReader(content), nil); err != nil {
		t.Error(err)
	} else if got, err := k.read(f.ID, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the upload: %d bytes, %v", len(got), err)
	}
	all = k.inBlobs()
	sweep("within the time of grace", grace-time.Hour, false, 0, all)
	sweep("as a trial", 2*grace, true, 1, all)
	sweep("after it", 2*grace, false, 1, all-1)
	sweep("again", 2*grace, false, 0, all-1)
	if _, err := k.blobs.Get(t.Context(), domain.DefaultTenant, address); !errors.Is(err, blob.ErrMissing) {
		t.Errorf("the blob that nothing names: %v", err)
	}
	k.quiesce()
	k.verifyAll()
	k.must(k.blobs.Check(t.Context()))

	// Without its manifest nobody can tell the parts of a file from others.
	manifest := filepath.Join(k.blobFolder(), "default", kept.Hash[:2], kept.Hash)
	k.must(os.Rename(manifest, manifest+".away"))
	before := k.inBlobs()
	if done, err := k.swept(2*grace, false); !errors.As(err, new(*blobError)) || k.inBlobs() != before {
		t.Errorf("without a manifest: %+v, %v", done, err)
	}
	k.must(os.Rename(manifest+".away", manifest))

	if _, err := blob.Mark(t.Context(), k.blobs, "another"); err != nil {
		t.Fatal(err)
	}
	if done, err := k.swept(2*grace, false); !errors.Is(err, blob.ErrShared) {
		t.Errorf("a store of two logs: %+v, %v", done, err)
	}
}
