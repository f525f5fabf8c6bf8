// Package folder keeps blobs in a folder: one file per blob, in a folder per
// tenant. A file is there whole or not at all, also after a crash. Several
// processes may share the folder.
//
// It must not know what a blob is. It imports the contract and domain. Start at
// Open.
package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/blob"
)

const (
	newPrefix = "new-"         // of files that are being written
	stale     = 24 * time.Hour // after which nobody writes one any more
)

// Store is a blob store in a folder.
type Store struct{ dir string }

var _ blob.Store = (*Store)(nil)

// Open opens a folder, which only its owner may enter, and makes it if it is not
// there. Later on a folder that is gone is an error, never an empty store.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	s := &Store{dir}
	return s, s.sweep()
}

// sweep takes away what processes left that were killed while they wrote.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("open blob store: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), newPrefix) || time.Since(info.ModTime()) < stale {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("open blob store: %w", err)
		}
	}
	return nil
}

// path spreads the blobs of a tenant over 256 folders.
func (s *Store) path(t domain.Tenant, a blob.Address) (string, error) {
	folder, name, err := blob.Place(t, a)
	if err != nil {
		return "", err
	}
	return filepath.Join(s.dir, folder, name[:2], name), nil
}

// Put implements blob.Store.
func (s *Store) Put(_ context.Context, t domain.Tenant, content []byte) (blob.Address, error) {
	a := blob.AddressOf(content)
	path, err := s.path(t, a)
	if err != nil {
		return "", err
	}
	now := time.Now() // of a blob that is there: whoever sweeps must see that it was put again
	if err := os.Chtimes(path, now, now); errors.Is(err, fs.ErrNotExist) {
		err = s.write(path, content)
		if err != nil {
			return "", refused("put", err)
		}
	} else if err != nil {
		return "", refused("put", err)
	}
	// Whoever made the file may not have come as far as to sync its folder.
	return a, refused("put", syncFolder(filepath.Dir(path)))
}

func (s *Store) write(path string, content []byte) (err error) {
	f, err := os.CreateTemp(s.dir, newPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	below := filepath.Dir(path)
	for _, dir := range []string{filepath.Dir(below), below} {
		if err := os.Mkdir(dir, 0o700); err == nil {
			err = syncFolder(filepath.Dir(dir))
			if err != nil {
				return err
			}
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return os.Rename(f.Name(), path)
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements blob.Store.
func (s *Store) Get(_ context.Context, t domain.Tenant, a blob.Address) ([]byte, error) {
	path, err := s.path(t, a)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.Check(context.Background()); err != nil {
			return nil, err
		}
		return nil, blob.ErrMissing.With("the blob store lacks blob %s", a)
	}
	if err != nil {
		return nil, refused("get", err)
	}
	return blob.Verified(a, content)
}

// Remove implements blob.Store.
func (s *Store) Remove(_ context.Context, t domain.Tenant, all ...blob.Address) error {
	for _, a := range all {
		path, err := s.path(t, a)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return refused("remove", err)
		}
	}
	return nil
}

// RemoveTenant implements blob.Store.
func (s *Store) RemoveTenant(_ context.Context, t domain.Tenant) error {
	folder, err := blob.FolderOf(t)
	if err != nil {
		return err
	}
	return refused("remove", os.RemoveAll(filepath.Join(s.dir, folder)))
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, t domain.Tenant) iter.Seq2[blob.Entry, error] {
	return func(yield func(blob.Entry, error) bool) {
		root, err := s.dir, s.Check(ctx)
		if t != "" && err == nil {
			var folder string
			folder, err = blob.FolderOf(t)
			root = filepath.Join(s.dir, folder)
		}
		if err != nil {
			yield(blob.Entry{}, err)
			return
		}
		err = filepath.WalkDir(root, func(path string, f fs.DirEntry, err error) error {
			if err != nil || f.IsDir() {
				return present(err)
			}
			e := blob.Entry{Tenant: domain.Tenant(filepath.Base(filepath.Dir(filepath.Dir(path)))), Address: blob.Address(f.Name())}
			if own, err := s.path(e.Tenant, e.Address); err != nil || own != path {
				return nil // it is not ours
			}
			info, err := f.Info()
			if err != nil {
				return present(err)
			}
			if e.Size, e.Put = info.Size(), info.ModTime(); !yield(e, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(blob.Entry{}, refused("list", err))
		}
	}
}

// present overlooks what is not there any more.
func present(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Check implements blob.Store.
func (s *Store) Check(context.Context) error {
	_, err := os.Stat(s.dir)
	return refused("reach", err)
}

// Path is the folder.
func (s *Store) Path() string { return s.dir }

// refused tells a full disk from one that does not answer.
func refused(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%s blob: %w: %w", what, blob.ErrFull, err)
	}
	return fmt.Errorf("%s blob: %w: %w", what, blob.ErrUnreachable, err)
}
