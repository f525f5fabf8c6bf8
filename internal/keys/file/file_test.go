package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/keys/file"
	"github.com/hishamos/hishamos/internal/keys/keystest"
)

func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestItKeepsToTheContract(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	keystest.Exercise(t, func(t *testing.T) keys.Store { return open(t, dir) }, func(t *testing.T) []byte {
		var all []byte
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			all = append(all, b...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	})
}

func TestOnlyTheOwnerMayReadWhatIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	s := open(t, dir)
	root, err := s.Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(t.Context(), s, root, keys.Options{}); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		if !e.IsDir() {
			files++
		}
		return err
	})
	if err != nil || files != 2 {
		t.Errorf("%d files, %v", files, err)
	}
}

func TestAFolderThatIsGoneIsNoEmptyStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	s := open(t, dir)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), "b-1", 0); err == nil || errors.Is(err, keys.ErrMissing) {
		t.Errorf("read: %v", err)
	}
	if err := s.Create(t.Context(), "b-1", [][]byte{make([]byte, keys.RecordSize)}); err == nil {
		t.Error("a box was made in a folder that is gone")
	}
	if err := s.Replace(t.Context(), "b-1", 0, make([]byte, keys.RecordSize)); err == nil {
		t.Error("a record was replaced in a folder that is gone")
	}
}

func TestTheRootKeyStaysTheSameAndIsMissedWhenItIsLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	one, err := s.Root()
	if err != nil {
		t.Fatal(err)
	}
	two, err := open(t, dir).Root()
	if err != nil || string(one) != string(two) {
		t.Errorf("another root key, %v", err)
	}
	if _, err := keys.Open(t.Context(), s, one, keys.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Root(); !errors.Is(err, keys.ErrWrongRoot) {
		t.Errorf("a lost root key was replaced: %v", err)
	}
}
