package upload_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/blob/folder"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/upload"
)

const songbird = "kanarie"

// content is a text of a size that can be told from any part of itself.
func content(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		b.WriteString(songbird + strings.Repeat(" ", i%7) + string(rune('a'+i%26)))
	}
	return b.Bytes()[:n]
}

type kit struct {
	*testing.T
	dir    string
	keeper *upload.Keeper
	other  *upload.Keeper // of another process
	blobs  blob.Store
}

func setup(t *testing.T) kit {
	t.Helper()
	pool, dir := pgtest.AsWriter(t, pgtest.New(t)), t.TempDir()
	blobs, err := folder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return kit{t, dir, upload.New(pool, blobs), upload.New(pool, blobs), blobs}
}

func begun(name string, size int) upload.Upload {
	return upload.Upload{Stream: domain.NewStreamID(domain.DefaultTenant, "file_"+name), Key: blob.NewKey(), Size: int64(size)}
}

// whole reads a file that is complete.
func (k kit) whole(u upload.Upload, want []byte) {
	k.Helper()
	manifest, digest, err := k.other.Finish(k.Context(), u)
	if err != nil {
		k.Fatalf("finish: %v", err)
	}
	m, err := blob.ReadManifest(k.Context(), k.blobs, u.Stream.Tenant(), manifest)
	if err != nil {
		k.Fatal(err)
	}
	got, err := io.ReadAll(blob.NewReader(k.Context(), k.blobs, u.Stream, u.Key, m))
	if err != nil || !bytes.Equal(got, want) {
		k.Errorf("%d bytes are kept, %v; want %d", len(got), err, len(want))
	}
	if sum := sha256.Sum256(want); digest != hex.EncodeToString(sum[:]) {
		k.Errorf("digest %s", digest)
	}
}

// files are the blobs in the folder; none may hold a plain word.
func (k kit) files() (n int) {
	k.Helper()
	err := filepath.WalkDir(k.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		n++
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(songbird)) {
			k.Errorf("%s holds plain text", path)
		}
		return err
	})
	if err != nil {
		k.Fatal(err)
	}
	return n
}

func TestAnUploadGoesOnWhereItWasHoweverItIsCut(t *testing.T) {
	t.Parallel()
	k := setup(t)
	const size = 3*blob.PartSize + 12345
	u, all := begun("cut", size), content(size)
	offset := int64(0)
	for i, n := range []int{1, 63, 64, 100_000, blob.PartSize - 5, blob.PartSize + 7} {
		// Every other time another process takes the next piece.
		keeper := []*upload.Keeper{k.keeper, k.other}[i%2]
		broken := io.MultiReader(bytes.NewReader(all[offset:offset+int64(n)]), iotest.ErrReader(errors.New("connection lost")))
		kept, err := keeper.Append(t.Context(), u, offset, broken, nil)
		if !errors.Is(err, upload.ErrCut) || kept != offset+int64(n) {
			t.Fatalf("after %d bytes: %d are kept, %v", offset+int64(n), kept, err)
		}
		offset = kept
		if at, err := k.other.Offset(t.Context(), u.Stream); err != nil || at != offset {
			t.Errorf("it stands at %d, %v; want %d", at, err, offset)
		}
	}
	if _, _, err := k.keeper.Finish(t.Context(), u); !errors.Is(err, upload.ErrOffset) {
		t.Errorf("finish before all is there: %v", err)
	}
	if kept, err := k.keeper.Append(t.Context(), u, offset, bytes.NewReader(all[offset:]), nil); err != nil || kept != size {
		t.Fatalf("the rest: %d, %v", kept, err)
	}
	k.whole(u, all)
	if k.files() == 0 {
		t.Error("the test sees no files")
	}
	manifest, _, err := k.keeper.Finish(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := k.keeper.Remove(t.Context(), u.Stream, manifest); err != nil {
			t.Fatal(err)
		}
	}
	if n := k.files(); n != 0 {
		t.Errorf("%d files are left of what was removed", n)
	}
}

func TestOnlyTheNextBytesOfAFileAreTaken(t *testing.T) {
	t.Parallel()
	k := setup(t)
	u := begun("next", 10)
	if kept, err := k.keeper.Append(t.Context(), u, 0, strings.NewReader("abcd"), nil); err != nil || kept != 4 {
		t.Fatalf("%d, %v", kept, err)
	}
	for _, offset := range []int64{0, 3, 5, 10, 11} {
		if kept, err := k.keeper.Append(t.Context(), u, offset, strings.NewReader("x"), nil); !errors.Is(err, upload.ErrOffset) || kept != 4 {
			t.Errorf("at %d: %d, %v", offset, kept, err)
		}
	}
	if _, err := k.keeper.Append(t.Context(), u, 4, strings.NewReader("efghijk"), nil); !errors.Is(err, upload.ErrBeyond) {
		t.Errorf("more than its size: %v", err)
	}
	k.whole(u, []byte("abcdefghij"))
}

func TestNothingCountsOfABodyWithAnotherChecksum(t *testing.T) {
	t.Parallel()
	k := setup(t)
	const size = blob.PartSize + 100
	u, all := begun("sum", size), content(size)
	sum := sha256.Sum256(all)
	wrong := &domain.Checksum{Hash: sha256.New(), Want: make([]byte, 32)}
	if kept, err := k.keeper.Append(t.Context(), u, 0, bytes.NewReader(all), wrong); !errors.Is(err, upload.ErrChecksum) || kept != 0 {
		t.Errorf("%d, %v", kept, err)
	}
	if n := k.files(); n != 0 {
		t.Errorf("%d files are left", n)
	}
	lost := iotest.ErrReader(errors.New("lost"))
	for name, broken := range map[string]struct {
		body io.Reader
		why  error
	}{
		"cut in the first part":   {io.MultiReader(bytes.NewReader(all[:50]), lost), upload.ErrCut},
		"cut after a whole part":  {io.MultiReader(bytes.NewReader(all[:blob.PartSize]), lost), upload.ErrCut},
		"cut in the second part":  {io.MultiReader(bytes.NewReader(all[:size-1]), lost), upload.ErrCut},
		"cut at the end":          {io.MultiReader(bytes.NewReader(all), lost), upload.ErrCut},
		"longer than it was said": {bytes.NewReader(append(all[:size:size], 0)), upload.ErrBeyond},
	} {
		if kept, err := k.keeper.Append(t.Context(), u, 0, broken.body, &domain.Checksum{Hash: sha256.New(), Want: sum[:]}); !errors.Is(err, broken.why) || kept != 0 {
			t.Errorf("%s: %d, %v", name, kept, err)
		}
		if n := k.files(); n != 0 {
			t.Errorf("%s: %d files are left", name, n)
		}
	}
	if kept, err := k.keeper.Append(t.Context(), u, 0, bytes.NewReader(all), &domain.Checksum{Hash: sha256.New(), Want: sum[:]}); err != nil || kept != size {
		t.Errorf("right: %d, %v", kept, err)
	}
	k.whole(u, all)
}

func TestOfTwoWhoUploadAtOnceOneIsTaken(t *testing.T) {
	t.Parallel()
	k := setup(t)
	for round := range 10 {
		u := begun("race"+string(rune('a'+round)), 100)
		var both sync.WaitGroup
		var errs [2]error
		for i, keeper := range []*upload.Keeper{k.keeper, k.other} {
			both.Go(func() {
				_, errs[i] = keeper.Append(t.Context(), u, 0, bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 100)), nil)
			})
		}
		both.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("outcomes %v and %v", errs[0], errs[1])
		}
		winner := byte(0)
		if errs[0] != nil {
			winner = 1
		}
		k.whole(u, bytes.Repeat([]byte{winner}, 100))
	}
	pipe, in := io.Pipe()
	u := begun("held", 10)
	ended := make(chan error, 1)
	go func() { _, err := k.keeper.Append(t.Context(), u, 0, pipe, nil); ended <- err }()
	if _, err := in.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if _, err := k.keeper.Append(t.Context(), u, 0, strings.NewReader("x"), nil); !errors.Is(err, upload.ErrBusy) {
		t.Errorf("while another uploads: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestATenantKeepsNoMoreThanItMayHoweverManyAskAtOnce(t *testing.T) {
	t.Parallel()
	k := setup(t)
	now := time.Now()
	var all sync.WaitGroup
	var mu sync.Mutex
	granted := 0
	for i := range 20 {
		all.Go(func() {
			err := []*upload.Keeper{k.keeper, k.other}[i%2].MakeRoom(t.Context(), begun(string(rune('a'+i)), 0).Stream, 10, 75, now)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				granted++
			case !errors.Is(err, upload.ErrQuota):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if granted != 7 {
		t.Errorf("%d of 10 bytes each were granted, and the tenant may keep 75", granted)
	}
	if err := k.keeper.MakeRoom(t.Context(), domain.NewStreamID("t_other", "file_1"), 70, 75, now); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	if err := k.keeper.GiveBack(t.Context(), domain.NewStreamID("t_other", "file_1")); err != nil {
		t.Fatal(err)
	}
	if err := k.keeper.MakeRoom(t.Context(), domain.NewStreamID("t_other", "file_2"), 75, 75, now); err != nil {
		t.Errorf("after room was given back: %v", err)
	}
	if err := k.keeper.MakeRoom(t.Context(), begun("late", 0).Stream, 75, 75, now.Add(2*time.Hour)); err != nil {
		t.Errorf("when all promises have lapsed: %v", err)
	}
}
