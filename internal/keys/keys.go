// Package keys seals the fields of events that have a class, opens them again,
// and destroys keys so that what they sealed is gone wherever it was copied to.
//
// It must not know what an event means, nor who may read it. It imports domain
// and events. Keys are kept, wrapped, by a Store: memory/, file/ and postgres/,
// which keystest/ holds to one contract.
//
// Start reading at Ring in ring.go; seal.go has the form of a sealed value,
// find.go how a key is found, and erase.go how one is destroyed.
package keys

import (
	"context"
	"errors"

	"github.com/hishamos/hishamos/domain"
)

// RecordSize is the size of every record of a store.
const RecordSize = 60

// Store keeps boxes of records. A box is named by small letters, digits, _ and -;
// a record is RecordSize bytes, and one of zeros was never written.
type Store interface {
	// Create keeps a new box, durable on return; ErrExists if it is there, also
	// when another process made it in the same moment.
	Create(ctx context.Context, box string, records [][]byte) error
	// Read returns a record; ErrMissing if it or its box is not there.
	Read(ctx context.Context, box string, n int) ([]byte, error)
	// Replace overwrites a record where it lies, durable on return, and makes the
	// box if it is not there.
	Replace(ctx context.Context, box string, n int, record []byte) error
}

// The answers of a store that are no failure of it.
var (
	ErrExists  = errors.New("the box of keys exists")
	ErrMissing = errors.New("the key is not in the store")
)

// The errors of a ring. None of them means that anything was erased.
var (
	// ErrUnreachable says that a key cannot be read now.
	ErrUnreachable = &domain.Error{
		Kind: domain.Unavailable, Code: "keys.unreachable",
		Message: "the key store does not answer", Fix: "bring it back; everything goes on by itself",
	}
	// ErrLost says that a key should be there and is not.
	ErrLost = &domain.Error{
		Kind: domain.Unavailable, Code: "keys.lost",
		Message: "the key store lacks a key", Fix: "restore the newest backup of the key store; and see that all processes use the same one",
	}
	// ErrDamaged says that a key is there and was changed.
	ErrDamaged = &domain.Error{
		Kind: domain.Unavailable, Code: "keys.damaged",
		Message: "a key in the key store is damaged", Fix: "restore the newest backup of the key store",
	}
	// ErrWrongRoot says that the root key is not the one of the store.
	ErrWrongRoot = &domain.Error{
		Kind: domain.Invalid, Code: "keys.wrong_root", Field: "HISHAMOS_KEYS_ROOT",
		Message: "is not the root key of this key store", Fix: "use the root key with which the store was made",
	}
	// ErrForeign says that the store is not the one the log's keys are in.
	ErrForeign = &domain.Error{
		Kind: domain.Conflict, Code: "keys.foreign_store",
		Message: "the key store is not the one that holds the keys of this log",
		Fix:     "restore the key store, or point HISHAMOS_KEYS_URL or HISHAMOS_DATA at the right one",
	}
	// ErrErased says that there is no key any more to seal with.
	ErrErased = &domain.Error{
		Kind: domain.Conflict, Code: "keys.erased",
		Message: "it was erased, and takes nothing new", Fix: "begin anew with another run, person or tenant",
	}
)
