package embedded

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ulikunitz/xz"
)

const (
	unpackedLimit = 1 << 30
	filesLimit    = 20_000
)

// unpack puts the programs of a jar into a folder, which appears only when it is
// whole. The jar's content is pinned; names and sizes are checked all the same.
func unpack(ctx context.Context, jar, target string) (err error) {
	archive, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer archive.Close()
	var inner *zip.File
	for _, f := range archive.File {
		if strings.HasSuffix(f.Name, ".txz") {
			inner = f
		}
	}
	if inner == nil {
		return errors.New("there is no .txz inside")
	}
	packed, err := inner.Open()
	if err != nil {
		return err
	}
	defer packed.Close()
	content, err := xz.NewReader(bufio.NewReaderSize(packed, 1<<20))
	if err != nil {
		return err
	}
	half, err := os.MkdirTemp(filepath.Dir(target), ".unpacking-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(half)) }()
	if err := os.Chmod(half, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(half) // no name in the archive leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	if err := untar(ctx, root, io.LimitReader(content, unpackedLimit)); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil { // without its programs: useless
		return err
	}
	return os.Rename(half, target)
}

func untar(ctx context.Context, root *os.Root, content io.Reader) error {
	archive := tar.NewReader(content)
	for range filesLimit {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = writeEntry(root, name, h.FileInfo().Mode().Perm()&0o755|0o644, archive)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, name)
		case tar.TypeLink:
			err = root.Link(path.Clean(h.Linkname), name)
		default:
			err = fmt.Errorf("an entry of type %q", h.Typeflag)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return fmt.Errorf("more than %d files", filesLimit)
}

func writeEntry(root *os.Root, name string, mode os.FileMode, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode), f.Close()) // whatever the umask is
}
