package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/hishamos/hishamos/domain"
)

// account is the user as whom the server runs when we are root, because
// Postgres refuses to. A nil account is the user we are.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount is the owner of the data that is already there, else the user
// `postgres`, else `nobody`.
func serverAccount(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	info, err := os.Lstat(data)
	switch {
	case err == nil:
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 0 {
			return &account{userName(s.Uid), s.Uid, s.Gid}, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, folderError(data, err)
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue // not on this machine
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("look up user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("look up user %s: %w", name, err)
		}
		return &account{name, uint32(uid), uint32(gid)}, nil
	}
	return &account{"65534", 65534, 65534}, nil
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// chown gives a file or folder to the account.
func (a *account) chown(path string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// credential is what a child needs to run as the account.
func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// checkReachable names the first folder on the way to path, path included, that
// the account may not enter. Access lists beyond the mode bits are not seen.
func (a *account) checkReachable(path, setting string) error {
	if a == nil {
		return nil
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("check the way to %s: %w", path, err)
	}
	at := "/"
	for _, part := range append([]string{""}, strings.Split(strings.Trim(path, "/"), "/")...) {
		at = filepath.Join(at, part)
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("check the way to %s: %w", path, err)
		}
		s := info.Sys().(*syscall.Stat_t)
		need := fs.FileMode(0o001)
		switch {
		case s.Uid == a.uid:
			need = 0o100
		case s.Gid == a.gid:
			need = 0o010
		}
		if info.Mode().Perm()&need == 0 {
			return &domain.Error{
				Kind: domain.Forbidden, Code: "data.not_traversable",
				Message: fmt.Sprintf("Postgres runs as user %s, who may not enter the folder %s on the way to %s", a.name, at, path),
				Fix:     fmt.Sprintf("chmod %s %s, or choose another place with %s", chmodFor(need), at, setting),
			}
		}
	}
	return nil
}

func chmodFor(need fs.FileMode) string {
	switch need {
	case 0o100:
		return "u+x"
	case 0o010:
		return "g+x"
	}
	return "o+x"
}
