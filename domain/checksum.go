package domain

import (
	"bytes"
	"hash"
)

// Checksum is what the bytes of one request must hash to. They are written to
// Hash as they come.
type Checksum struct {
	Hash hash.Hash
	Want []byte
}

// Right reports whether what was written has the hash that it must have.
func (c *Checksum) Right() bool { return bytes.Equal(c.Hash.Sum(nil), c.Want) }
