package embedded_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ulikunitz/xz"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/embedded"
)

const jarPath = "/maven/io/zonky/test/postgres/embedded-postgres-binaries-test-cpu/18.9.0/embedded-postgres-binaries-test-cpu-18.9.0.jar"

type entry struct {
	name, link string
	content    []byte
	mode       int64
}

// jar packs entries the way the real jars are packed, and returns their digest.
func jar(t *testing.T, entries ...entry) ([]byte, string) {
	t.Helper()
	var packed, out bytes.Buffer
	x, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewWriter(x)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := files.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write(e.content); err != nil {
			t.Fatal(err)
		}
	}
	z := zip.NewWriter(&out)
	inner, err := z.Create("postgres-test.txz")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(files.Close(), x.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := inner.Write(packed.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(out.Bytes())
	return out.Bytes(), hex.EncodeToString(sum[:])
}

func postgresJar(t *testing.T) ([]byte, string) {
	t.Helper()
	noise := make([]byte, 200_000) // does not get smaller when it is packed
	random := rand.NewChaCha8([32]byte{})
	if _, err := random.Read(noise); err != nil {
		t.Fatal(err)
	}
	return jar(t, entry{name: "./bin/postgres", content: []byte("#!/bin/sh\n"), mode: 0o755},
		entry{name: "./lib/libpq.so.5", content: noise, mode: 0o600}, entry{name: "./lib/libpq.so", link: "libpq.so.5", mode: 0o777})
}

// maven serves one file, in ranges.
func maven(t *testing.T, content []byte, before func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case before != nil && before(w, r):
		case r.URL.Path != jarPath:
			http.NotFound(w, r)
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/maven"
}

func TestPostgresIsFetchedOnce(t *testing.T) {
	t.Parallel()
	content, sum := postgresJar(t)
	var asked atomic.Int32
	repository := maven(t, content, func(http.ResponseWriter, *http.Request) bool { asked.Add(1); return false })
	cache := filepath.Join(t.TempDir(), "cache")
	var done, total int64
	for range 2 {
		bin, err := embedded.FetchRelease(t.Context(), repository, cache, sum, func(d, n int64) { done, total = d, n })
		if err != nil {
			t.Fatal(err)
		}
		for name, mode := range map[string]os.FileMode{"postgres": 0o755, "../lib/libpq.so.5": 0o644, "../lib/libpq.so": 0o644} {
			if info, err := os.Stat(filepath.Join(bin, name)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v %v", name, info, err)
			}
		}
	}
	if asked.Load() != 1 || done != int64(len(content)) || total != done {
		t.Errorf("asked %d times, progress %d of %d", asked.Load(), done, total)
	}
}

func TestACutDownloadGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	content, sum := postgresJar(t)
	var ranges []string
	repository := maven(t, content, func(w http.ResponseWriter, r *http.Request) bool {
		ranges = append(ranges, r.Header.Get("Range"))
		if len(ranges) > 1 {
			return false
		}
		w.Header().Set("Content-Length", "200000")
		if _, err := w.Write(content[:100_000]); err != nil { // and then the connection breaks
			t.Error(err)
		}
		return true
	})
	if _, err := embedded.FetchRelease(t.Context(), repository, t.TempDir(), sum, nil); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 2 || ranges[0] != "" || ranges[1] != "bytes=100000-" {
		t.Errorf("asked for %q", ranges)
	}
}

func TestAPartOfAnotherFileIsFetchedAgainFromTheStart(t *testing.T) {
	t.Parallel()
	content, sum := postgresJar(t)
	for name, part := range map[string][]byte{
		"other content": bytes.Repeat([]byte("x"), 1000), "as long": bytes.Repeat([]byte("x"), len(content)), "too long": bytes.Repeat([]byte("x"), len(content)+1),
	} {
		cache := t.TempDir()
		if err := os.WriteFile(filepath.Join(cache, filepath.Base(jarPath)+".part"), part, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := embedded.FetchRelease(t.Context(), maven(t, content, nil), cache, sum, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFileWithAnotherContentIsRefused(t *testing.T) {
	t.Parallel()
	content, sum := postgresJar(t)
	wrong := append([]byte("evil"), content...)
	cache := t.TempDir()
	_, err := embedded.FetchRelease(t.Context(), maven(t, wrong, nil), cache, sum, nil)
	if !errors.Is(err, &domain.Error{Code: "postgres.checksum"}) || !strings.Contains(err.Error(), sum) {
		t.Errorf("served: got %v", err)
	}
	left, err := os.ReadDir(cache)
	if err != nil || len(left) != 1 || left[0].Name() != "lock" {
		t.Errorf("left over: %v %v", left, err)
	}
	placed := filepath.Join(cache, filepath.Base(jarPath))
	if err := os.WriteFile(placed, wrong, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.FetchRelease(t.Context(), maven(t, content, nil), cache, sum, nil); !errors.Is(err, &domain.Error{Code: "postgres.checksum"}) {
		t.Errorf("placed: got %v", err)
	}
	if _, err := os.Stat(placed); err != nil {
		t.Errorf("a file the user placed is gone: %v", err)
	}
}

func TestWithoutANetworkTheErrorHasThreeRemedies(t *testing.T) {
	t.Parallel()
	content, sum := postgresJar(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	cache := t.TempDir()
	for name, repository := range map[string]string{"no network": gone.URL, "not there": maven(t, nil, nil) + "/elsewhere"} {
		_, err := embedded.FetchRelease(t.Context(), strings.Replace(repository, "http://", "http://user:pass-word@", 1), cache, sum, nil)
		e, ok := errors.AsType[*domain.Error](err)
		if !ok || e.Kind != domain.Unavailable || e.Code != "postgres.not_available" {
			t.Fatalf("%s: got %v", name, err)
		}
		place := filepath.Join(cache, filepath.Base(jarPath))
		for _, remedy := range []string{"install Postgres 15 or later", "set DATABASE_URL", "set HISHAMOS_MAVEN_URL", "place the file", place} {
			if !strings.Contains(e.Fix, remedy) {
				t.Errorf("%s: %q is missing in %s", name, remedy, e.Fix)
			}
		}
		if strings.Contains(err.Error(), "pass-word") {
			t.Errorf("%s: the mirror's password is in %v", name, err)
		}
	}
	// The third remedy, without a network.
	if err := os.WriteFile(filepath.Join(cache, filepath.Base(jarPath)), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.FetchRelease(t.Context(), gone.URL, cache, sum, nil); err != nil {
		t.Errorf("with the jar placed: %v", err)
	}
}

func TestNoEntryOfAnArchiveLeavesItsFolder(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string][]entry{
		"upwards":       {{name: "../../evil", content: []byte("x")}},
		"absolute":      {{name: "/tmp/hishamos-evil", content: []byte("x")}},
		"through links": {{name: "out", link: "../.."}, {name: "out/evil", content: []byte("x")}},
	} {
		dir := t.TempDir()
		content, sum := jar(t, entries...)
		if _, err := embedded.FetchRelease(t.Context(), maven(t, content, nil), filepath.Join(dir, "cache"), sum, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if found, err := filepath.Glob(filepath.Join(dir, "*evil*")); err != nil || len(found) > 0 {
			t.Errorf("%s: %v %v", name, found, err)
		}
		if found, err := filepath.Glob(filepath.Join(dir, "cache", ".unpacking-*")); err != nil || len(found) > 0 {
			t.Errorf("%s: left over: %v %v", name, found, err)
		}
	}
}
