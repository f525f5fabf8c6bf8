package keys

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Options are the settings of a Ring; the zero value of each is usable.
type Options struct {
	// ID is the store the log's keys are in; any other is refused. Empty: the log
	// has no keys yet.
	ID string
	// TTL bounds for how long this process goes on with a key that another one
	// destroyed, or that cannot be read any more; 0: five seconds.
	TTL    time.Duration
	Clock  domain.Clock // nil: the machine's
	Random io.Reader    // nil: crypto/rand; another only in tests
	// Block is how many keys are made ahead at once; 0: 256.
	Block int
	// Ordered reports whether an event ordered the destruction of a key. Without
	// it a record that says "destroyed" is believed.
	Ordered func(ctx context.Context, order domain.StreamID, key string) (bool, error)
	// Blobs keeps sealed values for which an event has no room; nil: they stay in
	// the event, however large it becomes.
	Blobs Blobs
	// EventLimit is how many bytes of data an event may carry; 0: 64 KiB.
	EventLimit int
	// ValueLimit is how many bytes one value may have; 0: 1 MiB.
	ValueLimit int
}

const (
	keySize   = 32
	nonceSize = 12
	cacheSize = 8192
	// rootBox holds what tells one store from another.
	rootBox = "root"
)

// Ring seals and opens with the keys of one store.
type Ring struct {
	store Store
	root  cipher.AEAD
	mark  []byte // keys the marks of destroyed keys
	id    string
	opts  Options

	mu     sync.Mutex
	known  map[string]found  // by key id
	people map[string]person // by what their key ids begin with

	allot   sync.Mutex // held while keys are made
	blocks  map[domain.Tenant]*block
	checked time.Time // when the store last answered
}

// found is what a look-up of a key told.
type found struct {
	key   key
	until time.Time
}

// key is a usable key, or the place where one was destroyed.
type key struct {
	aead      cipher.AEAD
	raw       []byte // of tenants only: what others are derived from
	destroyed bool
	order     domain.StreamID // by which it was destroyed
}

// block is a stock of data keys that nobody else uses.
type block struct {
	id   string
	keys [][]byte
	next int
}

// Open opens a ring on a store. An empty store gets its mark of identity.
func Open(ctx context.Context, store Store, root []byte, opts Options) (*Ring, error) {
	if len(root) != keySize {
		return nil, ErrWrongRoot.With("must be %d bytes", keySize)
	}
	if opts.TTL == 0 {
		opts.TTL = 5 * time.Second
	}
	if opts.Clock == nil {
		opts.Clock = machine{}
	}
	if opts.Random == nil {
		opts.Random = rand.Reader
	}
	if opts.EventLimit == 0 {
		opts.EventLimit = 64 << 10
	}
	if opts.ValueLimit == 0 {
		opts.ValueLimit = 1 << 20
	}
	if opts.Block == 0 {
		opts.Block = 256
	}
	r := &Ring{store: store, root: aeadOf(root), mark: derive(root, "mark"), opts: opts, blocks: make(map[domain.Tenant]*block)}
	r.Forget()
	if err := r.identify(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

type machine struct{}

func (machine) Now() time.Time { return time.Now() }

// ID names the store. It is nothing secret.
func (r *Ring) ID() string { return r.id }

// identify finds out which store this is, and makes one of an empty one only if
// the log's keys are not in another.
func (r *Ring) identify(ctx context.Context) error {
	id, err := r.identity(ctx)
	if errors.Is(err, ErrLost) && r.opts.ID == "" {
		var mark []byte
		if mark, err = r.random(keySize); err != nil {
			return err
		}
		err = r.store.Create(ctx, rootBox, [][]byte{r.wrap(r.root, rootBox+".0", mark)})
		if err != nil && !errors.Is(err, ErrExists) {
			return unreachable(err)
		}
		id, err = r.identity(ctx)
	}
	r.id = id
	switch {
	case errors.Is(err, ErrLost):
		return ErrForeign.With("the key store is empty, and the log's keys were in another")
	case err == nil && r.opts.ID != "" && r.opts.ID != r.id:
		return ErrForeign
	}
	return err
}

// Check asks whether the store answers, and is the one it was.
func (r *Ring) Check(ctx context.Context) error {
	id, err := r.identity(ctx)
	if err == nil && id != r.id {
		err = ErrForeign
	}
	return err
}

func (r *Ring) identity(ctx context.Context) (string, error) {
	record, err := r.store.Read(ctx, rootBox, 0)
	switch {
	case errors.Is(err, ErrMissing):
		return "", ErrLost.With("the key store is empty")
	case err != nil:
		return "", unreachable(err)
	}
	mark, ok := unwrap(r.root, rootBox+".0", record)
	if !ok {
		return "", ErrWrongRoot
	}
	sum := sha256.Sum256(mark)
	return hex.EncodeToString(sum[:16]), nil
}

// Forget drops from memory what was read of the store, because keys were
// destroyed.
func (r *Ring) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.people = make(map[string]found), make(map[string]person)
}

// Derived returns a key of a tenant for another purpose than sealing, such as
// the digests of requests. It ends with the tenant's key.
func (r *Ring) Derived(ctx context.Context, t domain.Tenant, purpose string) ([]byte, error) {
	k, err := r.tenant(ctx, t, true)
	if err != nil {
		return nil, err
	}
	return derive(k.raw, purpose), nil
}

// Digest is what stands for a personal value where one must be found again, as a
// claim on an address: the same for the same value of a tenant, and nothing to
// anybody without the tenant's key.
func (r *Ring) Digest(ctx context.Context, t domain.Tenant, purpose, value string) (string, error) {
	k, err := r.Derived(ctx, t, purpose)
	if err != nil {
		return "", err
	}
	m := hmac.New(sha256.New, k)
	m.Write([]byte(value))
	return hex.EncodeToString(m.Sum(nil)), nil
}

func derive(from []byte, purpose string) []byte {
	k, err := hkdf.Key(sha256.New, from, nil, "hishamos "+purpose, keySize)
	if err != nil { // the sizes are fixed
		panic(err)
	}
	return k
}

func aeadOf(raw []byte) cipher.AEAD {
	b, err := aes.NewCipher(raw)
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCM(b); err == nil {
			return a
		}
	}
	panic(err) // the sizes are fixed
}

func (r *Ring) random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.opts.Random, b); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return b, nil
}

// wrap makes the record of a key. Its place is authenticated with it.
func (r *Ring) wrap(with cipher.AEAD, place string, raw []byte) []byte {
	nonce, err := r.random(nonceSize)
	if err != nil { // documented never to fail
		panic(err)
	}
	return with.Seal(nonce, nonce, raw, []byte(place))
}

func unwrap(with cipher.AEAD, place string, record []byte) ([]byte, bool) {
	raw, err := with.Open(nil, record[:nonceSize], record[nonceSize:], []byte(place))
	return raw, err == nil
}

func unreachable(err error) error {
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
