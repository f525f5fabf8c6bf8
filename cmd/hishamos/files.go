package main

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"time"

	"github.com/hishamos/hishamos/api"
	v1 "github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/file"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/upload"
	"github.com/hishamos/hishamos/projections"
)

// uploads takes files for the API.
type uploads struct{ *node }

var (
	_ api.Uploads = uploads{}
	_ api.Files   = queries{}
)

// errFileErased says that nobody can read a file any more.
var errFileErased = &domain.Error{Kind: domain.NotFound, Code: "file.erased", Message: "the file was erased"}

// Begin implements api.Uploads.
func (u uploads) Begin(ctx context.Context, stream domain.StreamID, size int64) (key string, expires time.Time, err error) {
	if err := u.admit(); err != nil {
		return "", expires, err
	}
	if err := u.hasRoom(size); err != nil {
		return "", expires, err
	}
	now := clock{}.Now()
	if err := u.node.uploads.MakeRoom(ctx, stream, size, int64(u.cfg.UploadQuota), now); err != nil {
		return "", expires, err
	}
	return base64.StdEncoding.EncodeToString(blob.NewKey()), now.Add(u.cfg.UploadExpiry).Truncate(time.Microsecond), nil
}

// hasRoom refuses content that would not leave the disk of a folder the space
// below which new work is refused.
func (u uploads) hasRoom(size int64) error {
	if _, _, elsewhere := u.cfg.BlobBucket(); elsewhere {
		return nil
	}
	free, err := freeDisk(u.blobFolder())
	if err != nil {
		return blob.ErrUnreachable
	}
	if free-size < int64(u.cfg.MinFreeDisk) {
		return blob.ErrFull.With("only %d MB of disk are free where files are kept", free>>20)
	}
	return nil
}

// GiveBack implements api.Uploads.
func (u uploads) GiveBack(ctx context.Context, stream domain.StreamID) error {
	return u.node.uploads.GiveBack(ctx, stream)
}

// State implements api.Uploads.
func (u uploads) State(ctx context.Context, stream domain.StreamID) (api.UploadState, error) {
	s, err := u.fileState(ctx, stream)
	out := api.UploadState{Length: s.Size, Offset: s.Size, Expires: s.Expires, Ready: s.Phase == file.Ready}
	switch {
	case err != nil:
		return out, err
	case s.Phase == file.New, s.Phase == file.Removed:
		return out, file.ErrNotFound
	case s.Phase == file.Uploading:
		out.Offset, err = u.node.uploads.Offset(ctx, stream)
	}
	return out, err
}

// underWay returns an upload that can go on.
func (u uploads) underWay(ctx context.Context, stream domain.StreamID) (upload.Upload, error) {
	s, err := u.fileState(ctx, stream)
	switch {
	case err != nil:
		return upload.Upload{}, err
	case s.Phase == file.Ready:
		return upload.Upload{}, file.ErrComplete
	case s.Phase != file.Uploading:
		return upload.Upload{}, file.ErrNotFound
	}
	key, err := fileKey(s)
	return upload.Upload{Stream: stream, Key: key, Size: s.Size}, err
}

func fileKey(s file.State) ([]byte, error) {
	if s.Key == "" {
		return nil, errFileErased
	}
	return base64.StdEncoding.DecodeString(s.Key)
}

// Append implements api.Uploads.
func (u uploads) Append(ctx context.Context, stream domain.StreamID, offset int64, body io.Reader, check *domain.Checksum) (int64, error) {
	up, err := u.underWay(ctx, stream)
	if err != nil {
		return 0, err
	}
	if err := u.hasRoom(0); err != nil {
		return 0, err
	}
	kept, err := u.node.uploads.Append(ctx, up, offset, body, check)
	if err != nil {
		return kept, err
	}
	// It may have been ended meanwhile, and what was kept of it removed before this.
	if s, err := u.fileState(ctx, stream); err != nil || s.Phase == file.Removed {
		return kept, errors.Join(err, u.node.uploads.Remove(context.WithoutCancel(ctx), stream, ""), file.ErrNotFound)
	}
	return kept, nil
}

// Finish implements api.Uploads.
func (u uploads) Finish(ctx context.Context, stream domain.StreamID) (commands.CompleteUpload, error) {
	up, err := u.underWay(ctx, stream)
	if err != nil {
		return commands.CompleteUpload{}, err
	}
	manifest, digest, err := u.node.uploads.Finish(ctx, up)
	return commands.CompleteUpload{File: stream, Blob: string(manifest), Size: up.Size, Digest: digest}, err
}

// Open implements api.Uploads.
func (u uploads) Open(ctx context.Context, stream domain.StreamID) (*api.FileContent, error) {
	s, r, err := u.openFile(ctx, stream)
	if err != nil {
		return nil, err
	}
	return &api.FileContent{ReadSeeker: r, Name: s.Name, MediaType: s.MediaType, Hash: s.Blob}, nil
}

// completeFile is the state of a file that is complete, or why it is not.
func (n *node) completeFile(ctx context.Context, stream domain.StreamID) (file.State, error) {
	s, err := n.fileState(ctx, stream)
	switch {
	case err != nil:
		return s, err
	case s.Phase == file.Uploading:
		return s, file.ErrNotReady
	case s.Phase != file.Ready:
		return s, file.ErrNotFound
	}
	return s, nil
}

// openFile opens a complete file.
func (n *node) openFile(ctx context.Context, stream domain.StreamID) (file.State, *blob.Reader, error) {
	s, err := n.completeFile(ctx, stream)
	if err != nil {
		return s, nil, err
	}
	key, err := fileKey(s)
	if err != nil {
		return s, nil, err
	}
	m, err := blob.ReadManifest(ctx, n.blobs, stream.Tenant(), blob.Address(s.Blob))
	if errors.Is(err, blob.ErrMissing) { // or it was removed since its state was read
		now, why := n.completeFile(ctx, stream)
		if why == nil {
			_, why = fileKey(now)
		}
		if why != nil {
			err = why
		}
	}
	if err != nil {
		return s, nil, err
	}
	return s, blob.NewReader(ctx, n.blobs, stream, key, m), nil
}

// Keys implements api.Uploads.
func (u uploads) Keys(ctx context.Context, stream domain.StreamID) ([]string, error) {
	if _, err := u.completeFile(ctx, stream); err != nil {
		return nil, err
	}
	return u.streamKeys(ctx, stream)
}

// settleFiles gives up uploads that were not complete in time, and orders the
// erasure of files that nothing ever referred to, until the context ends. Every
// process may do it: the files' own states judge.
func (n *node) settleFiles(ctx context.Context) error {
	for {
		if err := n.settleOnce(ctx, clock{}.Now()); err != nil && ctx.Err() == nil {
			n.logger.Warn("settle files", "error", err)
		}
		if !wait(ctx, settleEvery) {
			return context.Cause(ctx)
		}
	}
}

// settleEvery is how late an upload is given up at most.
const settleEvery = time.Minute

func (n *node) settleOnce(ctx context.Context, now time.Time) error {
	for after := domain.StreamID(""); ; {
		page, err := n.store.OpenStreams(ctx, file.Decider.Kind, after, keyPage)
		if err != nil {
			return err
		}
		for _, stream := range page {
			after = stream
			s, err := n.fileState(ctx, stream)
			if err != nil {
				return err
			}
			if s.Phase != file.Uploading || now.Before(s.Expires) {
				continue
			}
			if err := n.as(ctx, stream.Tenant(), "expire_upload", string(stream), commands.RemoveFile{File: stream, Reason: commands.UploadExpired}); err != nil {
				return err
			}
		}
		if len(page) < keyPage {
			break
		}
	}
	if n.cfg.FileExpiry == 0 {
		return nil
	}
	unused, err := projections.Files{DB: n.writer}.Unused(ctx, now.Add(-n.cfg.FileExpiry))
	if err != nil {
		return err
	}
	for _, f := range unused {
		stream := f.Stream()
		s, err := n.fileState(ctx, stream) // the read model may be behind
		if err != nil {
			return err
		}
		if s.Phase != file.Ready || s.Used {
			continue
		}
		keys, err := n.streamKeys(ctx, stream)
		if err != nil {
			return err
		}
		order := commands.ErasureOrder(f.Tenant, commands.EraseFile, stream.Entity())
		err = n.as(ctx, f.Tenant, "expire_file", string(order), commands.OrderErasure{
			Order: order, Subject: commands.EraseFile, ID: stream.Entity(), Keys: keys, Reason: "nothing referred to it in time",
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// as carries out a command of the program itself, once per thing.
func (n *node) as(ctx context.Context, t domain.Tenant, name, thing string, c commands.Command) error {
	_, err := n.dispatcher.Do(ctx, commands.Request{
		ID: domain.DerivedCommandID(name, domain.EventID(thing)), Principal: domain.SystemPrincipal(t, name), Command: c,
	})
	return err
}

// File implements api.Files.
func (q queries) File(ctx context.Context, t domain.Tenant, id string, at domain.Position) (v1.File, error) {
	f, err := projections.Files{DB: q.as(t)}.Get(ctx, t, id, at)
	return fileOf(f), err
}

// Files implements api.Files.
func (q queries) Files(ctx context.Context, t domain.Tenant, f api.FileFilter, p api.Page) ([]v1.File, string, error) {
	page, err := projections.Files{DB: q.as(t)}.List(ctx, t, projections.FileFilter{State: f.State, OldestFirst: f.OldestTop, At: f.At}, p.After, p.Limit)
	return items(page, err, fileOf)
}

func fileOf(f projections.File) v1.File {
	out := v1.File{
		ID: f.File, State: f.State, Name: f.Name, MediaType: f.MediaType, Size: f.Size, Digest: f.Digest, Hash: f.Blob, Used: f.Used,
		Reason: f.Reason, Created: f.Created, CreatedBy: f.CreatedBy, Uploaded: f.Uploaded, Version: v1.Ordinal(f.Version),
	}
	if f.State == projections.FileUploading {
		out.Expires = &f.Expires
	}
	return out
}
