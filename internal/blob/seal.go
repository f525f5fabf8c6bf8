package blob

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// A sealed blob is a salt and then chunks of 64 KiB, each AES-256-GCM. Its key is
// HKDF-SHA-256 of the file's key, the salt, and the place of the blob; the nonce of
// a chunk is its number and whether it is the last. So chunks cannot be changed,
// reordered, cut off or moved to another place, and no nonce is used twice, even
// when the same bytes are sent again after a crash. This is the STREAM
// construction (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption
// and its Nonce-Reuse Misuse-Resistance", eprint 2015/189) in the form of the age
// format (age-encryption.org/v1, "Payload"), with AES-256-GCM as its cipher.
const (
	saltSize  = 16
	chunkSize = 64 << 10
	tagSize   = 16
	// KeySize is the size of the key of a file.
	KeySize = 32
)

// ErrSealed says that a blob does not open: it was changed, or belongs elsewhere,
// or the key is another's.
var ErrSealed = errors.New("the blob does not open: it was changed, or belongs elsewhere")

// NewKey makes the key of a file.
func NewKey() []byte {
	key := make([]byte, KeySize)
	random(key)
	return key
}

func random(b []byte) {
	if _, err := rand.Read(b); err != nil { // documented never to fail
		panic(err)
	}
}

// Sealer seals one blob as its content comes. Of the plain content it holds one
// chunk.
type Sealer struct {
	aead   cipher.AEAD
	sealed []byte
	chunk  []byte
	number uint64
	size   int
}

// NewSealer begins a blob that belongs to a place. At most is a hint for how much
// content will come.
func NewSealer(key []byte, place string, atMost int) (*Sealer, error) {
	s := &Sealer{sealed: make([]byte, saltSize, SealedSize(atMost)), chunk: make([]byte, 0, chunkSize)}
	random(s.sealed)
	var err error
	s.aead, err = aeadOf(key, s.sealed, place)
	return s, err
}

// Write implements io.Writer; it never fails.
func (s *Sealer) Write(p []byte) (int, error) {
	n := len(p)
	s.size += n
	for len(p) > 0 {
		if len(s.chunk) == chunkSize { // more follows, so it is not the last
			s.flush(false)
		}
		take := min(chunkSize-len(s.chunk), len(p))
		s.chunk = append(s.chunk, p[:take]...)
		p = p[take:]
	}
	return n, nil
}

// Size is how much content was written.
func (s *Sealer) Size() int { return s.size }

// Close returns the sealed blob.
func (s *Sealer) Close() []byte {
	s.flush(true)
	return s.sealed
}

func (s *Sealer) flush(last bool) {
	nonce := nonceOf(s.number, last)
	s.sealed = s.aead.Seal(s.sealed, nonce[:], s.chunk, nil)
	clear(s.chunk)
	s.chunk, s.number = s.chunk[:0], s.number+1
}

// Seal seals a content at once.
func Seal(key []byte, place string, content []byte) ([]byte, error) {
	s, err := NewSealer(key, place, len(content))
	if err != nil {
		return nil, err
	}
	if _, err := s.Write(content); err != nil {
		return nil, err
	}
	return s.Close(), nil
}

// Open returns the content of a sealed blob.
func Open(key []byte, place string, sealed []byte) ([]byte, error) {
	if len(sealed) < saltSize+tagSize {
		return nil, ErrSealed
	}
	aead, err := aeadOf(key, sealed[:saltSize], place)
	if err != nil {
		return nil, err
	}
	rest := sealed[saltSize:]
	content := make([]byte, 0, len(rest))
	for number := uint64(0); ; number++ {
		n := min(len(rest), chunkSize+tagSize)
		last := n == len(rest)
		nonce := nonceOf(number, last)
		if content, err = aead.Open(content, nonce[:], rest[:n], nil); err != nil {
			return nil, ErrSealed
		}
		if last {
			return content, nil
		}
		rest = rest[n:]
	}
}

// SealedSize is the size of a sealed blob with a content of a size.
func SealedSize(content int) int {
	chunks := max(1, (content+chunkSize-1)/chunkSize)
	return saltSize + content + chunks*tagSize
}

func nonceOf(number uint64, last bool) (nonce [12]byte) {
	binary.BigEndian.PutUint64(nonce[3:11], number)
	if last {
		nonce[11] = 1
	}
	return nonce
}

func aeadOf(key, salt []byte, place string) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the key of a blob has %d bytes, not %d", len(key), KeySize)
	}
	k, err := hkdf.Key(sha256.New, key, salt, "hishamos blob\x00"+place, KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a blob: %w", err)
	}
	b, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("derive the key of a blob: %w", err)
	}
	return cipher.NewGCM(b)
}
