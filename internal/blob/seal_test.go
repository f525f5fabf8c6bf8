package blob_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/blob/folder"
)

const chunk = 64 << 10

func content(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i * 7 >> 3)
	}
	return out
}

func TestWhatIsSealedOpensAgainAtEverySize(t *testing.T) {
	t.Parallel()
	key := blob.NewKey()
	for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 3*chunk + 5} {
		sealed, err := blob.Seal(key, "here", content(n))
		if err != nil || len(sealed) != blob.SealedSize(n) {
			t.Fatalf("seal %d: %d bytes, %v", n, len(sealed), err)
		}
		got, err := blob.Open(key, "here", sealed)
		if err != nil || !bytes.Equal(got, content(n)) {
			t.Errorf("open %d: %d bytes, %v", n, len(got), err)
		}
	}
}

func TestTheSameContentIsSealedAnewEachTime(t *testing.T) {
	t.Parallel()
	key := blob.NewKey()
	one, err := blob.Seal(key, "here", content(100))
	two, err2 := blob.Seal(key, "here", content(100))
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one[16:40], two[16:40]) {
		t.Error("two blobs share their key and nonces")
	}
}

func TestNoChangeToASealedBlobOpens(t *testing.T) {
	t.Parallel()
	key := blob.NewKey()
	sealed, err := blob.Seal(key, "here", content(3*chunk))
	if err != nil {
		t.Fatal(err)
	}
	const salt, whole = 16, chunk + 16
	swapped := slices.Concat(sealed[:salt], sealed[salt+whole:salt+2*whole], sealed[salt:salt+whole], sealed[salt+2*whole:])
	for name, harmed := range map[string][]byte{
		"empty": nil, "salt alone": sealed[:salt], "last chunk cut off": sealed[:salt+2*whole], "cut in a chunk": sealed[:salt+whole+9],
		"chunks swapped": swapped, "a chunk twice": slices.Concat(sealed[:salt+whole], sealed[salt:]), "more behind the end": append(slices.Clone(sealed), 0),
	} {
		if _, err := blob.Open(key, "here", harmed); !errors.Is(err, blob.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := blob.Open(key, "there", sealed); !errors.Is(err, blob.ErrSealed) {
		t.Errorf("at another place: %v", err)
	}
	if _, err := blob.Open(blob.NewKey(), "here", sealed); !errors.Is(err, blob.ErrSealed) {
		t.Errorf("with another key: %v", err)
	}
	rapid.Check(t, func(t *rapid.T) {
		harmed := slices.Clone(sealed)
		harmed[rapid.IntRange(0, len(harmed)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := blob.Open(key, "here", harmed); !errors.Is(err, blob.ErrSealed) {
			t.Fatalf("a flipped bit: %v", err)
		}
	})
}

func TestAFileIsReadFromAnyPlaceAndItsPartsCannotBeExchanged(t *testing.T) {
	t.Parallel()
	s, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stream, key, all := domain.StreamID("default/file_1"), blob.NewKey(), content(300_000)
	var parts []blob.Part
	for start := 0; start < len(all); {
		n := min(len(all)-start, 70_000+len(parts))
		sealed, err := blob.Seal(key, blob.PartPlace(stream, int64(start)), all[start:start+n])
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Put(t.Context(), stream.Tenant(), sealed)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, blob.Part{Blob: a, Size: int64(n)})
		start += n
	}
	raw, err := blob.Encode(stream, parts)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Put(t.Context(), stream.Tenant(), raw)
	if err != nil {
		t.Fatal(err)
	}
	m, err := blob.ReadManifest(t.Context(), s, stream.Tenant(), a)
	if err != nil || m.Size() != int64(len(all)) {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	r := blob.NewReader(t.Context(), s, stream, key, m)
	for _, at := range []int{0, 1, 69_999, 70_000, 140_500, 299_999, 300_000, 10} {
		if _, err := r.Seek(int64(at), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, all[at:]) {
			t.Errorf("from %d: %d bytes, %v", at, len(got), err)
		}
	}
	m.Parts[0].Blob, m.Parts[1].Blob = m.Parts[1].Blob, m.Parts[0].Blob
	if _, err := io.ReadAll(blob.NewReader(t.Context(), s, stream, key, m)); !errors.Is(err, blob.ErrDamaged) {
		t.Errorf("with two parts exchanged: %v", err)
	}
}

func TestNoTwoFilesShareAManifestEvenIfBothAreEmpty(t *testing.T) {
	t.Parallel()
	one, err := blob.Encode("default/file_1", nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := blob.Encode("default/file_2", nil)
	if err != nil {
		t.Fatal(err)
	}
	if blob.AddressOf(one) == blob.AddressOf(two) {
		t.Error("the end of one file would take the other's manifest away")
	}
}
