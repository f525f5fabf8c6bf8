package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hishamos/hishamos/internal/blob"
)

func TestAProcessWithAnotherBlobStoreIsRefused(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	first := d.start()
	other := *d
	other.set = append(slices.Clone(d.set), "HISHAMOS_BLOBS="+t.TempDir())
	n, err := openNode(t.Context(), other.config(), simLogger(), func(string, int64, int64) {}, false)
	if !errors.Is(err, blob.ErrForeign) {
		t.Fatalf("opened %v, %v", n, err)
	}
	d.start() // with the same one

	if missing := first.missing(t.Context()); slices.Contains(missing, "blobs") {
		t.Errorf("the right store is missing: %v", missing)
	}
	folder := filepath.Join(d.data, "blobs")
	first.must(os.Rename(folder, folder+".away"))
	first.must(os.Mkdir(folder, 0o700)) // as of a disk that is not mounted
	if missing := first.missing(t.Context()); !slices.Contains(missing, "blobs") {
		t.Error("an empty folder in the place of the store counts as ready")
	}
	if up := first.state(t.Context()).PartsUp; !maps.Equal(up, map[string]bool{"keys": true, "kafka": true, "blobs": false}) {
		t.Errorf("the metrics then say of the parts: %v", up)
	}
	first.must(os.Remove(folder))
	first.must(os.Rename(folder+".away", folder))
	if missing := first.missing(t.Context()); slices.Contains(missing, "blobs") {
		t.Errorf("when it is back: %v", missing)
	}
}
