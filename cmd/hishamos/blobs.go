package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/file"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/blob/folder"
	"github.com/hishamos/hishamos/internal/blob/s3"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/upload"
)

const (
	readBlobStore = `select mark from blob_store`
	saveBlobStore = `insert into blob_store (mark) values ($1) on conflict do nothing`
)

// openBlobs opens the blob store where the settings say it is, and makes sure that
// it is the one of this log.
func (n *node) openBlobs(ctx context.Context, log string) error {
	store, err := n.blobStore(ctx)
	if err != nil {
		return err
	}
	var mark blob.Address
	err = n.writer.QueryRow(ctx, readBlobStore).Scan(&mark)
	if errors.Is(err, pgx.ErrNoRows) {
		if mark, err = blob.Mark(ctx, store, log); err != nil {
			return err
		}
		if _, err := n.writer.Exec(ctx, saveBlobStore, mark); err != nil {
			return fmt.Errorf("save mark of blob store: %w", err)
		}
		// Another process may have been faster, with another store.
		err = n.writer.QueryRow(ctx, readBlobStore).Scan(&mark)
	}
	if err != nil {
		return fmt.Errorf("read mark of blob store: %w", err)
	}
	n.blobs = blob.Marked(store, mark)
	if err := n.blobs.Check(ctx); err != nil {
		return err
	}
	n.uploads = upload.New(n.writer, n.blobs)
	return nil
}

func (n *node) blobStore(ctx context.Context) (blob.Store, error) {
	bucket, prefix, ok := n.cfg.BlobBucket()
	if !ok {
		return folder.Open(n.blobFolder())
	}
	endpoint, err := url.Parse(n.cfg.S3Endpoint)
	if err != nil { // the settings were checked
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if _, err := os.Stat(n.cfg.S3Credentials); err != nil {
		return nil, domain.InvalidField("HISHAMOS_S3_CREDENTIALS", "is a file that cannot be read", "name one that this process may read")
	}
	access, err := credentials.NewFileAWSCredentials(n.cfg.S3Credentials, "default").GetWithContext(nil)
	if err != nil || access.AccessKeyID == "" {
		return nil, domain.InvalidField("HISHAMOS_S3_CREDENTIALS", "names no file with an access key",
			"write aws_access_key_id and aws_secret_access_key below [default] into it")
	}
	return s3.Open(ctx, s3.Options{
		Endpoint: endpoint, Bucket: bucket, Prefix: prefix, Region: n.cfg.S3Region,
		AccessKey: access.AccessKeyID, SecretKey: access.SecretAccessKey,
	})
}

// blobFolder is where blobs are, if they are not in S3.
func (n *node) blobFolder() string {
	if n.cfg.Blobs != "" {
		return n.cfg.Blobs
	}
	return filepath.Join(n.cfg.Data, "blobs")
}

// shelf is the blob store as the key ring needs it.
type shelf struct{ blob.Store }

// Keep implements keys.Blobs.
func (s shelf) Keep(ctx context.Context, t domain.Tenant, raw []byte) (string, error) {
	a, err := s.Put(ctx, t, raw)
	return string(a), err
}

// Fetch implements keys.Blobs.
func (s shelf) Fetch(ctx context.Context, t domain.Tenant, address string) ([]byte, error) {
	return s.Get(ctx, t, blob.Address(address))
}

// fileState is a file as its own events have it.
func (n *node) fileState(ctx context.Context, stream domain.StreamID) (file.State, error) {
	s, _, err := dispatch.Observe(ctx, n.dispatcher, stream, 0, func(s file.State) file.State { return s })
	return s, err
}

// removeFile takes away all that is kept of a file that was removed.
func (n *node) removeFile(ctx context.Context, stream domain.StreamID) error {
	s, err := n.fileState(ctx, stream)
	if err != nil {
		return err
	}
	return n.uploads.Remove(ctx, stream, blob.Address(s.Blob))
}

// removeErased takes away the blobs of what an order erases: nobody can read them
// any more, and they take up space.
func (n *node) removeErased(ctx context.Context, t domain.Tenant, subject, id string) error {
	switch subject {
	case commands.EraseTenant:
		return n.blobs.RemoveTenant(ctx, t)
	case commands.EraseRun:
		return n.removeValues(ctx, domain.RunID(id).Stream(t))
	}
	return nil // a file is removed by an event of its own, and a person has none
}

// removeValues takes away the large values of a stream.
func (n *node) removeValues(ctx context.Context, stream domain.StreamID) error {
	for after := domain.Sequence(0); ; {
		page, err := n.store.ReadStream(ctx, stream, after, keyPage)
		if err != nil {
			return err
		}
		for _, r := range page {
			after = r.Sequence
			values, err := keys.OutsideValues(r)
			if err != nil {
				return err
			}
			for _, v := range values {
				if err := n.blobs.Remove(ctx, stream.Tenant(), blob.Address(v.Address)); err != nil {
					return err
				}
			}
		}
		if len(page) < keyPage {
			return nil
		}
	}
}

// blobError says that a blob is not as an event says.
type blobError struct {
	position domain.Position
	event    domain.EventID
	address  string
	cause    error
}

func (e *blobError) Error() string {
	return fmt.Sprintf("position %d, event %s, names blob %s: %v", e.position, e.event, e.address, e.cause)
}
func (e *blobError) Unwrap() error { return e.cause }

// verifyBlobs looks up every blob that an event names, and reads all of it. What
// was erased or removed since may be gone. It returns the number of blobs.
func (o *operation) verifyBlobs(ctx context.Context, r events.Record) (int, error) {
	wanted, err := o.namedBlobs(ctx, r)
	if err != nil {
		return 0, err
	}
	count := 0
	for i := 0; i < len(wanted); i++ {
		content, err := o.blobs.Get(ctx, r.Stream.Tenant(), wanted[i])
		if err != nil {
			gone, lookup := o.keysGone(ctx, r)
			if lookup != nil {
				return count, lookup
			}
			if gone && errors.Is(err, blob.ErrMissing) {
				return count, nil
			}
			return count, &blobError{r.Position, r.ID(), string(wanted[i]), err}
		}
		count++
		if i == 0 && r.Type == (events.FileUploaded{}).EventType() {
			m, err := blob.ParseManifest(content)
			if err != nil {
				return count, &blobError{r.Position, r.ID(), string(wanted[i]), err}
			}
			for _, p := range m.Parts {
				wanted = append(wanted, p.Blob)
			}
		}
	}
	return count, nil
}

// namedBlobs are the blobs that an event names itself, the manifest of a file
// first. A file that was removed names none any more.
func (o *operation) namedBlobs(ctx context.Context, r events.Record) ([]blob.Address, error) {
	var wanted []blob.Address
	if r.Type == (events.FileUploaded{}).EventType() {
		e, err := r.Decode()
		if err != nil {
			return nil, err
		}
		s, err := o.fileState(ctx, r.Stream)
		if err != nil || s.Phase == file.Removed {
			return nil, err
		}
		wanted = append(wanted, blob.Address(e.Event.(events.FileUploaded).Blob))
	}
	values, err := keys.OutsideValues(r)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		wanted = append(wanted, blob.Address(v.Address))
	}
	return wanted, nil
}

// keysGone reports whether a key that an event names was destroyed.
func (o *operation) keysGone(ctx context.Context, r events.Record) (bool, error) {
	ids, err := keys.IDs(r.Envelope)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if gone, _, err := o.ring.State(ctx, r.Stream.Tenant(), id); err != nil || gone {
			return gone, err
		}
	}
	return false, nil
}
