// Package upload takes files that are larger than a request body: sealed as they
// come, in parts that are durable one by one, so that an upload goes on where it
// was after a broken connection, and after the death of the server. No plain byte
// is ever on a disk.
//
// It must not know who uploads, nor decide whether a file is complete: the file's
// decider does. It imports domain, internal/blob and internal/pg.
//
// Start reading at Keeper.Append; room.go counts what a tenant may keep.
package upload

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/pg"
)

// Upload is a file that is being uploaded.
type Upload struct {
	Stream domain.StreamID
	Key    []byte // of its blobs
	Size   int64  // when it is complete
}

// Keeper keeps the parts of uploads. It is safe for concurrent use, also by
// several processes on one database and blob store.
type Keeper struct {
	pool  pg.Writer
	blobs blob.Store
	slots chan struct{}

	mu   sync.Mutex
	busy map[domain.StreamID]bool
}

// atOnce bounds the uploads that a process takes at the same time: each holds one
// part in memory.
const atOnce = 64

// New returns a keeper.
func New(pool pg.Writer, blobs blob.Store) *Keeper {
	return &Keeper{pool: pool, blobs: blobs, slots: make(chan struct{}, atOnce), busy: make(map[domain.StreamID]bool)}
}

// The errors that are the uploader's.
var (
	ErrOffset = &domain.Error{
		Kind: domain.Conflict, Code: "upload.offset", Field: "Upload-Offset",
		Message: "is not where the upload stands", Fix: "ask with HEAD where it stands, and go on from there",
	}
	ErrBusy = &domain.Error{
		Kind: domain.Conflict, Code: "upload.busy",
		Message: "another request uploads to this file", Fix: "wait for it to end, or try again in a moment",
	}
	ErrCrowded = &domain.Error{
		Kind: domain.Unavailable, Code: "upload.crowded",
		Message: "too many uploads are under way", Fix: "try again after the time given in Retry-After",
	}
	ErrBeyond = &domain.Error{
		Kind: domain.TooLarge, Code: "upload.beyond_length", Field: "Upload-Length",
		Message: "is less than what is sent", Fix: "begin another upload with the size of the file",
	}
	ErrParts = &domain.Error{
		Kind: domain.TooLarge, Code: "upload.too_many_parts",
		Message: "the file came in too many small pieces", Fix: "begin again, and send larger ones",
	}
	ErrChecksum = &domain.Error{
		Kind: domain.Invalid, Code: "upload.checksum", Field: "Upload-Checksum",
		Message: "is not that of the bytes that came", Fix: "send the bytes again",
	}
	ErrCut = &domain.Error{
		Kind: domain.Invalid, Code: "upload.cut",
		Message: "the body did not arrive whole", Fix: "ask with HEAD how much arrived, and go on from there",
	}
)

const (
	lastPartSQL = `select start + size, hash, (select count(*) from upload_parts where tenant = $1 and file = $2)
from upload_parts where tenant = $1 and file = $2 order by start desc limit 1`
	addPartSQL = `insert into upload_parts (tenant, file, start, size, blob, hash)
select $1, $2, $3, $4, $5, $6
where $3::bigint = coalesce((select max(start + size) from upload_parts where tenant = $1 and file = $2), 0)
on conflict do nothing`
	allPartsSQL  = `select blob, size from upload_parts where tenant = $1 and file = $2 order by start`
	dropPartsSQL = `delete from upload_parts where tenant = $1 and file = $2`
)

// progress is how far an upload is.
type progress struct {
	offset int64
	digest hash.Hash
	parts  int
}

// last returns how much of a file is kept, in how many parts, and the sealed state
// of the hash after the last of them.
func (k *Keeper) last(ctx context.Context, stream domain.StreamID) (offset int64, sealed []byte, parts int, err error) {
	err = k.pool.QueryRow(ctx, lastPartSQL, stream.Tenant(), stream.Entity()).Scan(&offset, &sealed, &parts)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, 0, fmt.Errorf("read progress of %s: %w", stream, err)
	}
	return offset, sealed, parts, nil
}

// Offset returns how much of a file is kept.
func (k *Keeper) Offset(ctx context.Context, stream domain.StreamID) (int64, error) {
	offset, _, _, err := k.last(ctx, stream)
	return offset, err
}

func (k *Keeper) progress(ctx context.Context, u Upload) (progress, error) {
	p := progress{digest: sha256.New()}
	var sealed []byte
	var err error
	if p.offset, sealed, p.parts, err = k.last(ctx, u.Stream); err != nil || p.parts == 0 {
		return p, err
	}
	state, err := blob.Open(u.Key, hashPlace(u.Stream, p.offset), sealed)
	if err == nil {
		err = p.digest.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
	}
	if err != nil {
		return p, fmt.Errorf("read hash of what is kept of %s: %w", u.Stream, err)
	}
	return p, nil
}

// hashPlace is where the state of the hash belongs: it holds the last bytes of
// the content, so it is sealed as they are.
func hashPlace(stream domain.StreamID, at int64) string {
	return "hash\x00" + blob.PartPlace(stream, at)
}

// Append takes what a body holds, from an offset on, and returns how much is kept
// then. When the body breaks off, what came is kept, unless there is a checksum
// for all of it. Errors besides the uploader's are those of the blob store and the
// database; whatever the returned offset covers is durable.
func (k *Keeper) Append(ctx context.Context, u Upload, offset int64, body io.Reader, check *domain.Checksum) (int64, error) {
	leave, err := k.enter(u.Stream)
	if err != nil {
		return 0, err
	}
	defer leave()
	p, err := k.progress(ctx, u)
	if err != nil {
		return 0, err
	}
	if offset != p.offset {
		return p.offset, ErrOffset.With("is %d, and the upload stands at %d", offset, p.offset)
	}
	if check != nil {
		body = io.TeeReader(body, check.Hash)
	}
	var held []part // parts that count only if the checksum is right
	for {
		one, broken := k.take(ctx, u, p, body)
		if one.size > 0 {
			held = append(held, one)
			p.offset, p.parts = p.offset+one.size, p.parts+1
			if check == nil {
				if err := k.record(ctx, u, held); err != nil {
					return offset, err
				}
				offset, held = p.offset, nil
			}
		}
		switch {
		case broken == nil:
			continue
		case !errors.Is(broken, io.EOF):
			return offset, errors.Join(broken, k.discard(ctx, u, held))
		case check == nil:
			return offset, nil
		case !check.Right():
			return offset, errors.Join(ErrChecksum, k.discard(ctx, u, held))
		}
		if err := k.record(ctx, u, held); err != nil {
			return offset, err
		}
		return p.offset, nil
	}
}

// enter lets one request at a time upload to a file.
func (k *Keeper) enter(stream domain.StreamID) (leave func(), err error) {
	select {
	case k.slots <- struct{}{}:
	default:
		return nil, ErrCrowded
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy[stream] {
		<-k.slots
		return nil, ErrBusy
	}
	k.busy[stream] = true
	return func() {
		k.mu.Lock()
		delete(k.busy, stream)
		k.mu.Unlock()
		<-k.slots
	}, nil
}

// part is a part in the blob store that has no row yet.
type part struct {
	start, size int64
	blob        blob.Address
	hash        []byte
}

// storeTimeout bounds how long a part may take on its way to where it is kept.
const storeTimeout = time.Minute

// take reads one part and keeps it. Broken says why there is no more: io.EOF, if
// the body has ended as it should.
func (k *Keeper) take(ctx context.Context, u Upload, p progress, body io.Reader) (one part, broken error) {
	rest := u.Size - p.offset
	if rest == 0 {
		return one, ended(body)
	}
	if p.parts >= blob.MaxParts {
		return one, ErrParts
	}
	most := min(rest, blob.PartSize)
	s, err := blob.NewSealer(u.Key, blob.PartPlace(u.Stream, p.offset), int(most))
	if err != nil {
		return one, err
	}
	n, broken := io.CopyBuffer(io.MultiWriter(s, p.digest), io.LimitReader(body, most), make([]byte, 32<<10))
	if broken != nil {
		broken = fmt.Errorf("%w: %w", ErrCut, broken)
	} else if n < most {
		broken = io.EOF
	}
	if n == 0 {
		return one, broken
	}
	// The client may be gone; what came of it is kept all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	state, err := p.digest.(encoding.BinaryMarshaler).MarshalBinary()
	if err == nil {
		one.hash, err = blob.Seal(u.Key, hashPlace(u.Stream, p.offset+n), state)
	}
	if err != nil {
		return part{}, fmt.Errorf("keep state of the hash of %s: %w", u.Stream, err)
	}
	if one.blob, err = k.blobs.Put(ctx, u.Stream.Tenant(), s.Close()); err != nil {
		return part{}, err
	}
	one.start, one.size = p.offset, n
	return one, broken
}

// ended makes sure that a body holds no more than it should.
func ended(body io.Reader) error {
	n, err := io.ReadFull(body, make([]byte, 1))
	switch {
	case n > 0:
		return ErrBeyond
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("%w: %w", ErrCut, err)
}

// record makes parts count.
func (k *Keeper) record(ctx context.Context, u Upload, parts []part) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	err := pg.InTx(ctx, k.pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		for _, p := range parts {
			tag, err := tx.Exec(ctx, addPartSQL, u.Stream.Tenant(), u.Stream.Entity(), p.start, p.size, string(p.blob), p.hash)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 { // another process was faster
				return ErrBusy
			}
		}
		return nil
	})
	if errors.Is(err, ErrBusy) {
		err = errors.Join(err, k.discard(ctx, u, parts))
	}
	if err != nil {
		return fmt.Errorf("record part of %s: %w", u.Stream, err)
	}
	return nil
}

// discard takes away parts that do not count.
func (k *Keeper) discard(ctx context.Context, u Upload, parts []part) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	for _, p := range parts {
		if err := k.blobs.Remove(ctx, u.Stream.Tenant(), p.blob); err != nil {
			return err
		}
	}
	return nil
}

// Finish keeps the manifest of a file whose parts are all there. It may be done
// again.
func (k *Keeper) Finish(ctx context.Context, u Upload) (manifest blob.Address, digest string, err error) {
	p, err := k.progress(ctx, u)
	if err != nil {
		return "", "", err
	}
	if p.offset != u.Size {
		return "", "", ErrOffset.With("is %d, and the file has %d bytes", p.offset, u.Size)
	}
	parts, err := k.Parts(ctx, u.Stream)
	if err != nil {
		return "", "", err
	}
	raw, err := blob.Encode(u.Stream, parts)
	if err != nil {
		return "", "", fmt.Errorf("write manifest of %s: %w", u.Stream, err)
	}
	manifest, err = k.blobs.Put(ctx, u.Stream.Tenant(), raw)
	return manifest, hex.EncodeToString(p.digest.Sum(nil)), err
}

// Parts are what is kept of a file that is not complete.
func (k *Keeper) Parts(ctx context.Context, stream domain.StreamID) ([]blob.Part, error) {
	rows, err := k.pool.Query(ctx, allPartsSQL, stream.Tenant(), stream.Entity())
	if err != nil {
		return nil, fmt.Errorf("read parts of %s: %w", stream, err)
	}
	parts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[blob.Part])
	if err != nil {
		return nil, fmt.Errorf("read parts of %s: %w", stream, err)
	}
	return parts, nil
}

// Forget drops the progress of a file that is complete, or was removed.
func (k *Keeper) Forget(ctx context.Context, stream domain.StreamID) error {
	if _, err := k.pool.Exec(ctx, dropPartsSQL, stream.Tenant(), stream.Entity()); err != nil {
		return fmt.Errorf("forget progress of %s: %w", stream, err)
	}
	return nil
}

// Remove takes away all that is kept of a file; manifest is empty if it was never
// complete. It may be done again.
func (k *Keeper) Remove(ctx context.Context, stream domain.StreamID, manifest blob.Address) error {
	parts, err := k.Parts(ctx, stream)
	if err != nil {
		return err
	}
	var gone []blob.Address
	for _, p := range parts {
		gone = append(gone, p.Blob)
	}
	if manifest != "" {
		m, err := blob.ReadManifest(ctx, k.blobs, stream.Tenant(), manifest)
		if err != nil && !errors.Is(err, blob.ErrMissing) {
			return err
		}
		for _, p := range m.Parts {
			gone = append(gone, p.Blob)
		}
		gone = append(gone, manifest) // last: without it nobody would find the others again
	}
	if err := k.blobs.Remove(ctx, stream.Tenant(), gone...); err != nil {
		return fmt.Errorf("remove %s: %w", stream, err)
	}
	return errors.Join(k.Forget(ctx, stream), k.GiveBack(ctx, stream))
}
