package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/hishamos/hishamos/domain"
)

// marks is where a store keeps what tells it from others. No tenant has the name.
const marks = domain.Tenant("_marks")

// ErrForeign says that the store is not the one the log's blobs are in.
var ErrForeign = &domain.Error{
	Kind: domain.Conflict, Code: "blob.foreign_store",
	Message: "the blob store is not the one that holds the blobs of this log",
	Fix:     "point HISHAMOS_BLOBS at the folder or bucket that all processes share, or restore its newest backup",
}

// Mark leaves a new mark of a log in a store, by which it is told from any other.
func Mark(ctx context.Context, s Store, log string) (Address, error) {
	mark, err := s.Put(ctx, marks, fmt.Appendf(nil, "%s%s\n", lineOf(log), rand.Text()))
	if err != nil {
		return "", fmt.Errorf("mark blob store: %w", err)
	}
	return mark, nil
}

// lineOf is how the mark of a log begins.
func lineOf(log string) string { return "blobs of log " + log + "\n" }

// ErrShared says that not all blobs of a store are one log's.
var ErrShared = &domain.Error{
	Kind: domain.Conflict, Code: "blob.shared_store",
	Message: "another log keeps its blobs in this store too, which nobody can tell from those that no event names",
	Fix:     "give each log a store of its own: another folder, or another prefix in HISHAMOS_BLOBS",
}

// CheckAlone answers ErrShared if another log has left its mark in a store.
func CheckAlone(ctx context.Context, s Store, log string) error {
	for e, err := range s.List(ctx, marks) {
		if err != nil {
			return err
		}
		mark, err := s.Get(ctx, marks, e.Address)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(mark, []byte(lineOf(log))) {
			return ErrShared
		}
	}
	return nil
}

// IsMark reports whether an entry is a mark, which no event names.
func (e Entry) IsMark() bool { return e.Tenant == marks }

// Marked returns a store whose Check answers ErrForeign if it lacks a mark.
func Marked(s Store, mark Address) Store { return marked{s, mark} }

type marked struct {
	Store
	mark Address
}

// Check implements Store.
func (m marked) Check(ctx context.Context) error {
	_, err := m.Get(ctx, marks, m.mark)
	if errors.Is(err, ErrMissing) {
		return ErrForeign
	}
	return err
}
