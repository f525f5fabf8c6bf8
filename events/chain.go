package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Hash is a SHA-256 digest. The zero Hash precedes the first event of a log.
type Hash [sha256.Size]byte

func (h Hash) String() string { // of one allocation: each event on its way to Kafka has two
	var text [2 * len(h)]byte
	hex.Encode(text[:], h[:])
	return string(text[:])
}

// MarshalText writes what String prints.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText parses the 64 hex digits that String prints.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 2*len(h) {
		return fmt.Errorf("%q is not %d hex digits", b, 2*len(h))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// absent is the length that stands for an attribute that is not there.
const absent = 0xFFFFFFFF

// LeafHash is SHA-256 over the attributes in their fixed order and the data
// last, each as a big-endian 32-bit length and its bytes; an absent attribute is
// the length 0xFFFFFFFF alone. docs/reference/hash-rule.md states it with test
// vectors.
func LeafHash(e Envelope, data []byte) Hash {
	var room [2048]byte // as much as nearly every event needs
	buf := room[:0]
	for _, a := range e.Attributes() {
		if !a.Present {
			buf = binary.BigEndian.AppendUint32(buf, absent)
			continue
		}
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(a.Value)))
		buf = append(buf, a.Value...)
	}
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(data)))
	return sha256.Sum256(append(buf, data...))
}

// ChainHash is SHA-256(prev ‖ leaf).
func ChainHash(prev, leaf Hash) Hash {
	var buf [2 * sha256.Size]byte
	copy(buf[:], prev[:])
	copy(buf[sha256.Size:], leaf[:])
	return sha256.Sum256(buf[:])
}

// MerkleLeaf is the leaf of the RFC 9162 tree: SHA-256(0x00 ‖ leaf).
func MerkleLeaf(leaf Hash) Hash {
	var buf [1 + sha256.Size]byte
	copy(buf[1:], leaf[:])
	return sha256.Sum256(buf[:])
}

// ChainError names the first record at which a chain does not hold.
type ChainError struct {
	Position Position
	Reason   string
}

func (e *ChainError) Error() string { return fmt.Sprintf("position %d: %s", e.Position, e.Reason) }

// Seal computes the record's hashes from its predecessor's.
func (r *Record) Seal(prev Hash) {
	r.PrevHash = prev
	r.Hash = ChainHash(prev, LeafHash(r.Envelope, r.Data))
}

// Follows checks that the record comes directly after (position, hash) and that
// its own hash is right.
func (r *Record) Follows(position Position, hash Hash) error {
	_, err := r.follows(Mark{position, hash})
	return err
}

// follows is Follows, and returns the leaf it had to compute.
func (r *Record) follows(m Mark) (leaf Hash, err error) {
	switch {
	case r.Position != m.Position+1:
		return leaf, &ChainError{r.Position, fmt.Sprintf("expected position %d: events are missing or out of order", m.Position+1)}
	case r.PrevHash != m.Hash:
		return leaf, &ChainError{r.Position, "previous hash differs: an event before it was changed, added or removed"}
	}
	if leaf = LeafHash(r.Envelope, r.Data); r.Hash != ChainHash(m.Hash, leaf) {
		return leaf, &ChainError{r.Position, "hash differs: this event was changed"}
	}
	return leaf, nil
}

// Mark is a place in a chain up to which it was found whole. The zero Mark is
// the place before the first event.
type Mark struct {
	Position Position
	Hash     Hash
}

// Walk checks that records follow on from the mark, one by one, and moves it
// along. Each record that does is handed over with its leaf; each may be nil.
func (m *Mark) Walk(records []Record, each func(r *Record, leaf Hash) error) error {
	for i := range records {
		r := &records[i]
		leaf, err := r.follows(*m)
		if err != nil {
			return err
		}
		*m = Mark{r.Position, r.Hash}
		if each == nil {
			continue
		}
		if err := each(r, leaf); err != nil {
			return err
		}
	}
	return nil
}
