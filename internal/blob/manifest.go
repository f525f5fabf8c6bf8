package blob

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/hishamos/hishamos/domain"
)

// PartSize is the content of one part of a file: what a server holds of an upload
// at most, and what is sent again when it was killed.
const PartSize = 4 << 20

// MaxParts bounds the parts of a file.
const MaxParts = 100_000

// Part is a piece of a file, a blob of its own.
type Part struct {
	Blob Address `json:"blob"`
	Size int64   `json:"size"` // of its content
}

// Manifest lists the parts of a file. It is a blob itself, of hashes and sizes
// only, so its address stands for the whole file: whoever knows it can check
// every byte without a key. It names its stream, so that no two files share one:
// empty files have the same parts, and the end of one is not the end of all.
type Manifest struct {
	Version int             `json:"v"`
	File    domain.StreamID `json:"file"`
	Parts   []Part          `json:"parts"`
}

const manifestVersion = 1

// Encode returns the manifest of a file's parts as it is stored.
func Encode(file domain.StreamID, parts []Part) ([]byte, error) {
	return json.Marshal(Manifest{manifestVersion, file, parts})
}

// ReadManifest reads the manifest at an address.
func ReadManifest(ctx context.Context, s Store, t domain.Tenant, a Address) (Manifest, error) {
	var m Manifest
	raw, err := s.Get(ctx, t, a)
	if err != nil {
		return m, fmt.Errorf("read manifest %s: %w", a, err)
	}
	if m, err = ParseManifest(raw); err != nil {
		return m, fmt.Errorf("read manifest %s: %w", a, err)
	}
	return m, nil
}

// ParseManifest reads a manifest.
func ParseManifest(raw []byte) (m Manifest, err error) {
	if err := json.Unmarshal(raw, &m); err != nil || m.Version != manifestVersion {
		return m, fmt.Errorf("it is not a manifest of version %d", manifestVersion)
	}
	return m, nil
}

// Size is the size of the whole file.
func (m Manifest) Size() (size int64) {
	for _, p := range m.Parts {
		size += p.Size
	}
	return size
}

// PartPlace is the place of a part, for Seal and Open: whose it is and where it
// begins.
func PartPlace(stream domain.StreamID, start int64) string {
	return string(stream) + "\x00" + strconv.FormatInt(start, 10)
}

// Reader reads the content of a file. It holds one part.
type Reader struct {
	ctx    context.Context
	store  Store
	stream domain.StreamID
	key    []byte
	parts  []Part
	size   int64

	at    int64 // the next byte to be read
	open  []byte
	first int64 // where the open part begins
}

var _ io.ReadSeeker = (*Reader)(nil)

// NewReader reads the file of a stream.
func NewReader(ctx context.Context, s Store, stream domain.StreamID, key []byte, m Manifest) *Reader {
	return &Reader{ctx: ctx, store: s, stream: stream, key: key, parts: m.Parts, size: m.Size()}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	if r.at < r.first || r.at >= r.first+int64(len(r.open)) {
		if err := r.load(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.open[r.at-r.first:])
	r.at += int64(n)
	return n, nil
}

// load opens the part that holds the next byte.
func (r *Reader) load() error {
	start := int64(0)
	for _, p := range r.parts {
		if r.at >= start+p.Size {
			start += p.Size
			continue
		}
		sealed, err := r.store.Get(r.ctx, r.stream.Tenant(), p.Blob)
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", r.stream, start, err)
		}
		content, err := Open(r.key, PartPlace(r.stream, start), sealed)
		if err != nil || int64(len(content)) != p.Size {
			return fmt.Errorf("read %s at %d: %w", r.stream, start, ErrDamaged)
		}
		r.open, r.first = content, start
		return nil
	}
	return io.ErrUnexpectedEOF
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in %s: before the beginning", r.stream)
	}
	r.at = offset
	return offset, nil
}
