package s3_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/blob/blobtest"
	"github.com/hishamos/hishamos/internal/blob/s3"
)

// bucket serves an S3 with one bucket. It cares for no signature.
func bucket(t *testing.T, around func(http.Handler) http.Handler) (s3.Options, gofakes3.Backend) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("blobs"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(around(gofakes3.New(backend).Server()))
	t.Cleanup(server.Close)
	endpoint, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s3.Options{Endpoint: endpoint, Bucket: "blobs", Prefix: "hishamos/", Region: "us-east-1", AccessKey: "access", SecretKey: "secret"}, backend
}

func as(h http.Handler) http.Handler { return h }

func open(t *testing.T, opts s3.Options) *s3.Store {
	t.Helper()
	s, err := s3.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestABucketKeepsBlobs(t *testing.T) {
	t.Parallel()
	opts, backend := bucket(t, as)
	blobtest.Exercise(t, func(t *testing.T) blob.Store { return open(t, opts) },
		func(t *testing.T, tenant domain.Tenant, a blob.Address, content []byte) {
			name := "hishamos/" + string(tenant) + "/" + string(a)
			if _, err := backend.PutObject("blobs", name, map[string]string{}, bytes.NewReader(content), int64(len(content)), nil); err != nil {
				t.Fatal(err)
			}
		})
}

func TestABucketThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	opts, _ := bucket(t, as)
	opts.Bucket = "other"
	if _, err := s3.Open(t.Context(), opts); !errors.Is(err, blob.ErrUnreachable) {
		t.Errorf("open: %v", err)
	}
}

func TestAStoreWithoutSpaceIsToldFromOneThatIsAway(t *testing.T) {
	t.Parallel()
	refuse := make(chan int, 100)
	opts, _ := bucket(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case status := <-refuse:
				w.WriteHeader(status)
				_, err := w.Write([]byte(`<?xml version="1.0"?><Error><Code>` + http.StatusText(status) + `</Code></Error>`))
				if err != nil {
					t.Errorf("answer: %v", err)
				}
			default:
				h.ServeHTTP(w, r)
			}
		})
	})
	s := open(t, opts)
	for status, want := range map[int]error{http.StatusInsufficientStorage: blob.ErrFull, http.StatusForbidden: blob.ErrUnreachable} {
		refuse <- status
		if _, err := s.Put(context.Background(), domain.DefaultTenant, []byte("x")); !errors.Is(err, want) {
			t.Errorf("status %d: %v", status, err)
		}
	}
}
