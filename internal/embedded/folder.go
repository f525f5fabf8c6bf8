// Package embedded is what the program runs itself when nothing else is set: a
// Postgres as a child process, a Kafka-protocol broker, and the folder they
// keep their data in.
//
// It must not know what is stored, nor who uses it: a cluster with its own
// Postgres and Kafka never comes here. It imports domain for its errors, pgx
// for the question whether the server answers, and the broker's library.
//
// Start reading at OpenFolder, then StartPostgres (postgres.go). How a server
// is found is in postgres_programs.go and fetch.go, how one that outlived its
// parent is stopped in postgres_orphan.go.
package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/hishamos/hishamos/domain"
)

// Folder is the data folder, held by this process alone until Close or until
// the process ends, however it ends.
type Folder struct {
	path string
	lock *os.File
}

// OpenFolder makes the folder if it is missing and takes its lock. Only its
// owner may read what is inside; when that is root, others may pass through,
// because Postgres must not run as root.
func OpenFolder(path string) (*Folder, error) {
	if path == "" {
		return nil, domain.InvalidField("HISHAMOS_DATA", "no data folder is given", "set it to a folder, such as /srv/hishamos")
	}
	path, err := makeFolder(path, parentMode(), 0o755)
	if err != nil {
		return nil, folderError(path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, folderError(path, err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, &domain.Error{
			Kind: domain.Forbidden, Code: "data.unsafe",
			Message: fmt.Sprintf("everybody may write to the data folder %s", path), Fix: "chmod o-w " + path,
		}
	}
	lock, holder, err := lockFile(filepath.Join(path, "lock"))
	if errors.Is(err, errLocked) {
		return nil, &domain.Error{
			Kind: domain.Conflict, Code: "data.locked",
			Message: fmt.Sprintf("the data folder %s is in use by %s", path, holder),
			Fix:     "stop that process, or give this one a folder of its own with HISHAMOS_DATA",
		}
	}
	if err != nil {
		return nil, folderError(path, err)
	}
	return &Folder{path: path, lock: lock}, nil
}

// Path is the folder, absolute and without symbolic links.
func (f *Folder) Path() string { return f.path }

// Sub makes a folder inside for one part of the program, readable by the owner
// only, and returns its path.
func (f *Folder) Sub(name string) (string, error) {
	if name != filepath.Base(name) || !filepath.IsLocal(name) {
		return "", fmt.Errorf("make folder %q in %s: not a plain name", name, f.path)
	}
	path := filepath.Join(f.path, name)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", folderError(f.path, err)
	}
	return path, nil
}

// Close gives the lock back. The lock file stays: removing it would let two
// processes hold locks on two files of one name.
func (f *Folder) Close() error {
	if err := f.lock.Close(); err != nil {
		return fmt.Errorf("unlock %s: %w", f.path, err)
	}
	return nil
}

// parentMode is the mode of a folder that holds another user's folder: Postgres
// runs as another user when we are root, and must pass through.
func parentMode() fs.FileMode {
	if os.Geteuid() == 0 {
		return 0o711
	}
	return 0o700
}

// makeFolder makes a folder that is missing with exactly a mode, whatever the
// umask is, and its parents with another. It returns the path made absolute and
// free of symbolic links, which is what the operating system will say it is.
func makeFolder(path string, mode, parents fs.FileMode) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return path, err
	}
	if err := os.MkdirAll(filepath.Dir(absolute), parents); err != nil {
		return absolute, err
	}
	switch err := os.Mkdir(absolute, mode); {
	case err == nil:
		if err := os.Chmod(absolute, mode); err != nil {
			return absolute, err
		}
	case !errors.Is(err, fs.ErrExist):
		return absolute, err
	}
	return filepath.EvalSymlinks(absolute)
}

func folderError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &domain.Error{
			Kind: domain.Forbidden, Code: "data.forbidden",
			Message: fmt.Sprintf("this user may not use the data folder %s: %v", path, err),
			Fix:     "run as the user it belongs to, or choose another folder with HISHAMOS_DATA",
		}
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOSPC):
		return &domain.Error{
			Kind: domain.Unavailable, Code: "data.unusable",
			Message: fmt.Sprintf("the data folder %s cannot be used: %v", path, err),
			Fix:     "choose another folder with HISHAMOS_DATA",
		}
	}
	return fmt.Errorf("open data folder %s: %w", path, err)
}

var errLocked = errors.New("locked")

// lockFile takes a lock that the kernel gives back when the process ends. The
// file holds the pid of the process, for the message to the second one.
func lockFile(path string) (_ *os.File, holder string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) // not inherited by children
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, "", fmt.Errorf("lock %s: %w", path, err)
		}
		holder := "another process"
		pid, err := os.ReadFile(path)
		if n, bad := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil && bad == nil {
			holder = fmt.Sprintf("process %d", n)
		}
		return nil, holder, errLocked
	}
	if err := f.Truncate(0); err != nil {
		return nil, "", err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, "", err
	}
	return f, "", nil
}
