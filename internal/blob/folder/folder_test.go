package folder_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/blob/blobtest"
	"github.com/hishamos/hishamos/internal/blob/folder"
)

func TestAFolderKeepsBlobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blobtest.Exercise(t, func(t *testing.T) blob.Store { return open(t, dir) },
		func(t *testing.T, tenant domain.Tenant, a blob.Address, content []byte) {
			if err := os.WriteFile(filepath.Join(dir, string(tenant), string(a[:2]), string(a)), content, 0o600); err != nil {
				t.Fatal(err)
			}
		})
}

func open(t *testing.T, dir string) *folder.Store {
	t.Helper()
	s, err := folder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAFolderThatIsGoneIsAnErrorAndNeverAnEmptyStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "blobs")
	s := open(t, dir)
	a, err := s.Put(t.Context(), domain.DefaultTenant, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), domain.DefaultTenant, []byte("new")); !errors.Is(err, blob.ErrUnreachable) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Get(t.Context(), domain.DefaultTenant, a); !errors.Is(err, blob.ErrUnreachable) {
		t.Errorf("get: %v", err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), domain.DefaultTenant, a); err != nil {
		t.Errorf("get when it is back: %v", err)
	}
}

func TestABlobThatIsPutAgainCountsAsNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	a, err := s.Put(t.Context(), domain.DefaultTenant, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, string(domain.DefaultTenant), string(a[:2]), string(a)), old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), domain.DefaultTenant, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for e, err := range s.List(t.Context(), domain.DefaultTenant) {
		if err != nil || time.Since(e.Put) > 30*time.Minute {
			t.Errorf("%+v, %v", e, err)
		}
	}
}

func TestAWriteThatIsCutShortKeepsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var full syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &full); err != nil || os.Getuid() != 0 {
		t.Skip("only root can mount a volume that can be filled")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no volume can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s := open(t, dir)
	a, err := s.Put(t.Context(), domain.DefaultTenant, []byte("small"))
	if err != nil {
		t.Fatal(err)
	}
	large := []byte(strings.Repeat("x", 2<<20))
	if _, err := s.Put(t.Context(), domain.DefaultTenant, large); !errors.Is(err, blob.ErrFull) {
		t.Fatalf("put on a full disk: %v", err)
	}
	if _, err := s.Get(t.Context(), domain.DefaultTenant, blob.AddressOf(large)); !errors.Is(err, blob.ErrMissing) {
		t.Errorf("what was cut short is there: %v", err)
	}
	if _, err := s.Get(t.Context(), domain.DefaultTenant, a); err != nil {
		t.Errorf("what was kept before is not: %v", err)
	}
	if _, err := s.Put(t.Context(), domain.DefaultTenant, large[:600<<10]); err != nil {
		t.Errorf("what was cut short still takes space: %v", err)
	}
}
