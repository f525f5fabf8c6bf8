package anchor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hishamos/hishamos/internal/checkpoint"
)

// File keeps checkpoints one behind another in a file that is only appended to.
type File struct {
	path    string
	outside bool
}

// NewFile is an anchor at a path; its folder must exist, so that a volume that
// is not mounted is noticed.
func NewFile(path string, outside bool) *File { return &File{path, outside} }

// Name implements checkpoint.Source.
func (f *File) Name() string { return "file:" + f.path }

// Outside implements checkpoint.Source: the operator says so.
func (f *File) Outside() bool { return f.outside }

// Read implements checkpoint.Source.
func (f *File) Read(context.Context) iter.Seq2[checkpoint.Signed, error] {
	return func(yield func(checkpoint.Signed, error) bool) {
		file, err := os.Open(f.path)
		if errors.Is(err, fs.ErrNotExist) && isFolder(filepath.Dir(f.path)) {
			return // nothing was brought yet
		}
		if err != nil {
			yield(checkpoint.Signed{}, unread(f.Name(), err))
			return
		}
		defer file.Close()
		scan(file, yield)
	}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// tail is more than two checkpoints have, so that the end of a file of that
// length holds a whole one.
const tail = 64 << 10

// Newest implements checkpoint.Anchor.
func (f *File) Newest(context.Context) (checkpoint.Signed, bool, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return checkpoint.Signed{}, false, nil
	}
	if err != nil {
		return checkpoint.Signed{}, false, unread(f.Name(), err)
	}
	defer file.Close()
	newest, _, err := f.end(file)
	return newest, newest.Text != "", err
}

// end is the newest checkpoint of a file and what stands unfinished behind it.
func (f *File) end(file *os.File) (newest checkpoint.Signed, rest string, err error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return newest, "", unread(f.Name(), err)
	}
	from := max(size-tail, 0)
	text, err := io.ReadAll(io.NewSectionReader(file, from, size-from))
	if err != nil {
		return newest, "", unread(f.Name(), err)
	}
	if from > 0 { // begin at a checkpoint: behind an end of signatures
		const signature = "\n— "
		_, after, ok := strings.Cut(string(text), signature)
		if ok {
			_, after, ok = strings.Cut(after, "\n\n")
		}
		if !ok {
			return newest, "", fmt.Errorf("%s: %w at its end", f.Name(), checkpoint.ErrForm)
		}
		text = []byte(after)
	}
	s := checkpoint.NewScanner(strings.NewReader(string(text)))
	for {
		n, err := s.Next()
		if errors.Is(err, io.EOF) {
			return newest, s.Rest(), nil
		}
		if err != nil {
			return newest, "", fmt.Errorf("%s: %w", f.Name(), err)
		}
		newest = n
	}
}

// Append implements checkpoint.Anchor. What an interrupted append left is
// finished, never taken away: the file may be one that can only grow.
func (f *File) Append(_ context.Context, notes []checkpoint.Signed) (err error) {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return unread(f.Name(), err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return unread(f.Name(), fmt.Errorf("another process writes to it: %w", err))
	}
	newest, rest, err := f.end(file)
	if err != nil {
		return err
	}
	for len(notes) > 0 && notes[0].Position <= newest.Position {
		notes = notes[1:] // another process brought it meanwhile
	}
	text, ok := strings.CutPrefix(checkpoint.Write(notes), rest)
	if !ok {
		return fmt.Errorf("%s: %w at its end", f.Name(), checkpoint.ErrForm)
	}
	if _, err := file.WriteString(text); err != nil {
		return unread(f.Name(), err)
	}
	if err := file.Sync(); err != nil {
		return unread(f.Name(), err)
	}
	return nil
}
