// Package blob keeps what is too large for an event: ciphertext, addressed by its
// SHA-256, apart per tenant. It is the second durable thing beside the log, with
// the key store: neither in the events' database nor on Kafka.
//
// It must not know what a blob is of, nor any key store: keys come to it as bytes.
// It imports domain. Blobs are kept by a Store: folder/ and s3/, which blobtest/
// holds to one contract.
//
// Start reading at Store; seal.go has the form of a sealed blob, manifest.go how
// many of them make one file, mark.go what tells one store from another.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Address is the SHA-256 of a blob as it lies in the store, in 64 hex digits.
type Address string

// AddressOf is the address of a content.
func AddressOf(content []byte) Address {
	sum := sha256.Sum256(content)
	return Address(hex.EncodeToString(sum[:]))
}

// Valid reports whether an address has the form of one.
func (a Address) Valid() bool {
	raw, err := hex.DecodeString(string(a))
	return err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == string(a)
}

// MaxSize bounds one blob: blobs are written and read whole, so that their hash
// is known before anything believes them. What is larger is kept in parts.
const MaxSize = 32 << 20

// Store keeps blobs. A blob never changes, so every method may be done again.
type Store interface {
	// Put keeps a blob, durable on return. Ciphertext is never empty.
	Put(ctx context.Context, t domain.Tenant, content []byte) (Address, error)
	// Get returns a blob whose bytes have its address; ErrMissing, ErrDamaged.
	Get(ctx context.Context, t domain.Tenant, a Address) ([]byte, error)
	// Remove takes blobs away; those that are not there are no error.
	Remove(ctx context.Context, t domain.Tenant, all ...Address) error
	// RemoveTenant takes every blob of a tenant away.
	RemoveTenant(ctx context.Context, t domain.Tenant) error
	// List tells of the blobs of a tenant, or of all if it is empty, in no certain
	// order. What is put or removed meanwhile may be told of or not.
	List(ctx context.Context, t domain.Tenant) iter.Seq2[Entry, error]
	// Check asks whether the store answers.
	Check(ctx context.Context) error
}

// Entry is what a listing tells of a blob.
type Entry struct {
	Tenant  domain.Tenant
	Address Address
	Size    int64
	Put     time.Time // the last time, by the store's clock
}

// The errors of a store.
var (
	// ErrMissing says that a blob should be there and is not.
	ErrMissing = &domain.Error{
		Kind: domain.Unavailable, Code: "blob.missing",
		Message: "the blob store lacks a blob", Fix: "restore the newest backup of the blob store; and see that all processes use the same one",
	}
	// ErrDamaged says that a blob is there and was changed.
	ErrDamaged = &domain.Error{
		Kind: domain.Unavailable, Code: "blob.damaged",
		Message: "a blob does not have the hash by which it is named", Fix: "restore the newest backup of the blob store",
	}
	// ErrFull says that nothing more can be kept now.
	ErrFull = &domain.Error{
		Kind: domain.Unavailable, Code: "blob.store_full",
		Message: "the blob store is full", Fix: "try again after the time given in Retry-After, when the operator has made room",
	}
	// ErrUnreachable says that the store does not answer.
	ErrUnreachable = &domain.Error{
		Kind: domain.Unavailable, Code: "blob.unreachable",
		Message: "the blob store does not answer", Fix: "bring it back; everything goes on by itself",
	}
)

// Verified returns a content if it is what an address names.
func Verified(a Address, content []byte) ([]byte, error) {
	if AddressOf(content) != a {
		return nil, ErrDamaged.With("blob %s does not have the hash by which it is named", a)
	}
	return content, nil
}

// Place is where a blob lies below the root of a store. Names that no tenant or
// address can have are refused, so that none leads out of it.
func Place(t domain.Tenant, a Address) (folder, name string, err error) {
	if folder, err = FolderOf(t); err != nil {
		return "", "", err
	}
	if !a.Valid() {
		return "", "", fmt.Errorf("%q is not the address of a blob", a)
	}
	return folder, string(a), nil
}

// FolderOf is where the blobs of a tenant lie.
func FolderOf(t domain.Tenant) (string, error) {
	if t == "" || len(t) > 64 {
		return "", fmt.Errorf("%q is not a tenant", t)
	}
	for _, c := range []byte(t) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return "", fmt.Errorf("%q is not a tenant", t)
		}
	}
	return string(t), nil
}
