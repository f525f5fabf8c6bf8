// Package s3 keeps blobs in a bucket of an S3-compatible store: one object per
// blob, below a prefix per tenant.
//
// It must not know what a blob is. It imports the contract, domain and minio-go.
// Start at Open.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/blob"
)

// Options say where the bucket is.
type Options struct {
	Endpoint  *url.URL // scheme and host
	Bucket    string
	Prefix    string // before the name of every object; empty: none
	Region    string // empty: asked for
	AccessKey string
	SecretKey string
	Transport http.RoundTripper // nil: the default
}

// Store is a blob store in a bucket.
type Store struct {
	client *minio.Client
	opts   Options
}

var _ blob.Store = (*Store)(nil)

// Open reaches the bucket, which must be there.
func Open(ctx context.Context, opts Options) (*Store, error) {
	client, err := minio.New(opts.Endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(opts.AccessKey, opts.SecretKey, ""),
		Secure: opts.Endpoint.Scheme == "https", Region: opts.Region, Transport: opts.Transport, BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	s := &Store{client, opts}
	return s, s.Check(ctx)
}

func (s *Store) name(t domain.Tenant, a blob.Address) (string, error) {
	folder, name, err := blob.Place(t, a)
	return s.opts.Prefix + folder + "/" + name, err
}

// Put implements blob.Store. An object is there whole or not at all, and S3
// answers when it is durable.
func (s *Store) Put(ctx context.Context, t domain.Tenant, content []byte) (blob.Address, error) {
	a := blob.AddressOf(content)
	name, err := s.name(t, a)
	if err != nil {
		return "", err
	}
	_, err = s.client.PutObject(ctx, s.opts.Bucket, name, bytes.NewReader(content), int64(len(content)),
		minio.PutObjectOptions{ContentType: "application/octet-stream", SendContentMd5: true, DisableMultipart: true})
	if err != nil {
		return "", refused("put", err)
	}
	return a, nil
}

// Get implements blob.Store.
func (s *Store) Get(ctx context.Context, t domain.Tenant, a blob.Address) ([]byte, error) {
	name, err := s.name(t, a)
	if err != nil {
		return nil, err
	}
	object, err := s.client.GetObject(ctx, s.opts.Bucket, name, minio.GetObjectOptions{})
	if err != nil {
		return nil, refused("get", err)
	}
	content, err := io.ReadAll(io.LimitReader(object, blob.MaxSize+1))
	if err = errors.Join(err, object.Close()); err != nil {
		if isMissing(err) {
			return nil, blob.ErrMissing.With("the blob store lacks blob %s", a)
		}
		return nil, refused("get", err)
	}
	return blob.Verified(a, content)
}

func isMissing(err error) bool {
	e, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && e.Code == minio.NoSuchKey
}

// Remove implements blob.Store.
func (s *Store) Remove(ctx context.Context, t domain.Tenant, all ...blob.Address) error {
	for _, a := range all {
		name, err := s.name(t, a)
		if err != nil {
			return err
		}
		if err := s.client.RemoveObject(ctx, s.opts.Bucket, name, minio.RemoveObjectOptions{}); err != nil && !isMissing(err) {
			return refused("remove", err)
		}
	}
	return nil
}

// RemoveTenant implements blob.Store.
func (s *Store) RemoveTenant(ctx context.Context, t domain.Tenant) error {
	folder, err := blob.FolderOf(t)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the listing with us
	defer cancel()
	for object := range s.client.ListObjects(ctx, s.opts.Bucket, minio.ListObjectsOptions{Prefix: s.opts.Prefix + folder + "/", Recursive: true}) {
		if object.Err != nil {
			return refused("list", object.Err)
		}
		if err := s.client.RemoveObject(ctx, s.opts.Bucket, object.Key, minio.RemoveObjectOptions{}); err != nil && !isMissing(err) {
			return refused("remove", err)
		}
	}
	return nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, t domain.Tenant) iter.Seq2[blob.Entry, error] {
	return func(yield func(blob.Entry, error) bool) {
		prefix := s.opts.Prefix
		if t != "" {
			folder, err := blob.FolderOf(t)
			if err != nil {
				yield(blob.Entry{}, err)
				return
			}
			prefix += folder + "/"
		}
		ctx, cancel := context.WithCancel(ctx) // ends the listing with us
		defer cancel()
		for object := range s.client.ListObjects(ctx, s.opts.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if object.Err != nil {
				yield(blob.Entry{}, refused("list", object.Err))
				return
			}
			folder, name, _ := strings.Cut(strings.TrimPrefix(object.Key, s.opts.Prefix), "/")
			e := blob.Entry{Tenant: domain.Tenant(folder), Address: blob.Address(name), Size: object.Size, Put: object.LastModified}
			if _, err := s.name(e.Tenant, e.Address); err != nil {
				continue // it is not ours
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Check implements blob.Store.
func (s *Store) Check(ctx context.Context) error {
	ok, err := s.client.BucketExists(ctx, s.opts.Bucket)
	if err == nil && !ok {
		err = fmt.Errorf("there is no bucket %s", s.opts.Bucket)
	}
	return refused("reach", err)
}

// refused tells a full store from one that does not answer.
func refused(what string, err error) error {
	if err == nil {
		return nil
	}
	e, _ := errors.AsType[minio.ErrorResponse](err)
	if e.StatusCode == http.StatusInsufficientStorage || strings.Contains(e.Code, "StorageFull") || strings.Contains(e.Code, "QuotaExceeded") {
		return fmt.Errorf("%s blob: %w: %w", what, blob.ErrFull, err)
	}
	return fmt.Errorf("%s blob: %w: %w", what, blob.ErrUnreachable, err)
}
