// Package file keeps keys in a folder: one file per box, of records of one size,
// so that a key is destroyed by overwriting it where it lies. Several processes
// may share the folder, because each makes boxes of its own.
//
// It must not know what a record is. It imports the contract only. Start at
// Open.
package file

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hishamos/hishamos/internal/keys"
)

// rootFile holds the root key, in hexadecimal, where no setting does.
const rootFile = "root.key"

// Store is a key store in a folder.
type Store struct{ dir string }

var _ keys.Store = (*Store)(nil)

// Open opens a folder, which only its owner may enter, and makes it if it is not
// there. Later on a folder that is gone is an error, never an empty store.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "boxes"), 0o700); err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	return &Store{dir}, nil
}

func (s *Store) path(box string) string { return filepath.Join(s.dir, "boxes", box) }

// Root returns the root key that is kept beside the boxes, and makes it at the
// first start ever.
func (s *Store) Root() ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, rootFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(s.path("root")); err == nil {
			return nil, keys.ErrWrongRoot.With("is missing, and so is %s", filepath.Join(s.dir, rootFile))
		}
		raw := make([]byte, 32)
		if _, err := rand.Read(raw); err != nil {
			return nil, fmt.Errorf("make root key: %w", err)
		}
		err = s.write(filepath.Join(s.dir, rootFile), []byte(hex.EncodeToString(raw)+"\n"))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("keep root key: %w", err)
		}
		text, err = os.ReadFile(filepath.Join(s.dir, rootFile)) // another process may have been faster
		if err != nil {
			return nil, fmt.Errorf("read root key: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("read root key: %w", err)
	}
	root, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(root) != 32 {
		return nil, keys.ErrWrongRoot.With("%s does not hold 64 hex digits", filepath.Join(s.dir, rootFile))
	}
	return root, nil
}

// write makes a file that was not there, all of it or nothing.
func (s *Store) write(path string, content []byte) (err error) {
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename, it replaces nothing
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Create implements keys.Store.
func (s *Store) Create(_ context.Context, box string, records [][]byte) error {
	err := s.write(s.path(box), bytes.Join(records, nil))
	if errors.Is(err, fs.ErrExist) {
		return keys.ErrExists
	}
	if err != nil {
		return fmt.Errorf("keep keys: %w", err)
	}
	return nil
}

// Read implements keys.Store.
func (s *Store) Read(_ context.Context, box string, n int) (_ []byte, err error) {
	f, err := os.Open(s.path(box))
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := os.Stat(filepath.Join(s.dir, "boxes")); gone != nil {
			return nil, fmt.Errorf("read key: %w", gone)
		}
		return nil, keys.ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	record := make([]byte, keys.RecordSize)
	_, err = f.ReadAt(record, int64(n)*keys.RecordSize)
	switch {
	case errors.Is(err, io.EOF), err == nil && bytes.Equal(record, make([]byte, keys.RecordSize)):
		return nil, keys.ErrMissing
	case err != nil:
		return nil, fmt.Errorf("read key: %w", err)
	}
	return record, nil
}

// Replace implements keys.Store.
func (s *Store) Replace(_ context.Context, box string, n int, record []byte) error {
	path := s.path(box)
	_, err := os.Stat(path)
	made := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("overwrite key: %w", err)
	}
	_, err = f.WriteAt(record, int64(n)*keys.RecordSize)
	err = errors.Join(err, f.Sync(), f.Close())
	if made {
		err = errors.Join(err, syncFolder(filepath.Dir(path)))
	}
	if err != nil {
		return fmt.Errorf("overwrite key: %w", err)
	}
	return nil
}
