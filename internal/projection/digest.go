package projection

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/hishamos/hishamos/domain"
)

// Digest is one value for all rows of a projection, history included. It does
// not depend on the order of rows, nor on how they came to be: the digest of
// the live tables is that of tables filled anew. Only the runner's own
// bookkeeping stays out.
func (r *Runner) Digest(ctx context.Context, projection string) (string, error) {
	build, err := r.live(ctx, projection)
	if err != nil {
		return "", err
	}
	return DigestOf(ctx, r.store, r.defs[projection], build)
}

// DigestOf is the digest of one build.
func DigestOf(ctx context.Context, s Store, d *Definition, b Build) (string, error) {
	h := sha256.New()
	for _, t := range d.Tables {
		for _, past := range []bool{false, true} {
			if past && !t.History {
				continue
			}
			sum, err := tableDigest(ctx, s, b, t, past)
			if err != nil {
				return "", fmt.Errorf("digest of %s: %w", t.Name, err)
			}
			fmt.Fprintf(h, "%s %t %x\n", t.Name, past, sum)
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// tableDigest adds up the digests of the rows in four lanes of 64 bits, so that
// order does not matter and a row that is there twice shows.
func tableDigest(ctx context.Context, s Store, b Build, t *Schema, past bool) (sum [4]uint64, err error) {
	var buf []byte
	err = s.Scan(ctx, b, t, past, func(row any, from, to domain.Position) error {
		buf = buf[:0]
		cells := t.Cells(row)
		for i, c := range t.Columns {
			if past && c.Live {
				continue
			}
			buf = appendCell(buf, cells.At(i))
		}
		if t.History {
			buf = binary.BigEndian.AppendUint64(buf, uint64(from))
			buf = binary.BigEndian.AppendUint64(buf, uint64(to))
		}
		h := sha256.Sum256(buf)
		for i := range sum {
			sum[i] += binary.BigEndian.Uint64(h[8*i:])
		}
		return nil
	})
	return sum, err
}

// appendCell writes a cell with its length, so that cells cannot run into each
// other.
func appendCell(buf []byte, c Cell) []byte {
	switch {
	case c.Null:
		return append(buf, 0)
	case c.Kind == Int:
		return binary.BigEndian.AppendUint64(append(buf, 2), uint64(c.Int))
	case c.Kind == Float:
		return binary.BigEndian.AppendUint64(append(buf, 3), math.Float64bits(c.Float))
	case c.Kind == Bool && c.Bool:
		return append(buf, 4, 1)
	case c.Kind == Bool:
		return append(buf, 4, 0)
	case c.Kind == Time:
		return binary.BigEndian.AppendUint64(append(buf, 5), uint64(c.Time.UnixMicro()))
	}
	buf = binary.BigEndian.AppendUint32(append(buf, 1), uint32(len(c.Text)))
	return append(buf, c.Text...)
}
