package checkpoint_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/checkpoint"
)

func TestAnInterruptedTreeGoesOnFromItsEdge(t *testing.T) {
	t.Parallel()
	whole, parts := checkpoint.NewTree(), checkpoint.NewTree()
	for _, r := range history(200) {
		leaf := events.LeafHash(r.Envelope, r.Data)
		resumed, err := checkpoint.ResumeTree(parts.Size(), parts.Edge())
		if err != nil {
			t.Fatal(err)
		}
		parts = resumed
		if err := errors.Join(whole.Add(leaf), parts.Add(leaf)); err != nil {
			t.Fatal(err)
		}
		a, err := whole.Root()
		b, err2 := parts.Root()
		if err != nil || err2 != nil || a != b {
			t.Fatalf("%d leaves: %s and %s, %v, %v", r.Position, a, b, err, err2)
		}
	}
	if _, err := checkpoint.ResumeTree(7, make([]byte, 32)); err == nil {
		t.Error("an edge of another size was taken")
	}
}

func TestEveryPositionHasAProofThatOthersAccept(t *testing.T) {
	t.Parallel()
	log := history(70)
	for size := domain.Position(1); size <= 70; size += 3 {
		for at := domain.Position(1); at <= size; at++ {
			p, err := checkpoint.NewProver(at, size)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range log[:size] {
				if err := p.Add(events.LeafHash(r.Envelope, r.Data)); err != nil {
					t.Fatal(err)
				}
			}
			path, root, err := p.Proof()
			if err != nil {
				t.Fatal(err)
			}
			hashes := make([][]byte, len(path))
			for i := range path {
				hashes[i] = path[i][:]
			}
			leaf := events.MerkleLeaf(events.LeafHash(log[at-1].Envelope, log[at-1].Data))
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(at-1), uint64(size), leaf[:], hashes, root[:]); err != nil {
				t.Fatalf("%d of %d: %v", at, size, err)
			}
		}
	}
	for _, at := range []domain.Position{0, 71} {
		if _, err := checkpoint.NewProver(at, 70); domain.KindOf(err) != domain.Invalid {
			t.Errorf("position %d of 70: %v", at, err)
		}
	}
}

// rotated are checkpoints of a log whose key was changed after the first.
func rotated(t *testing.T, log []events.Record) (first, second checkpoint.Key, notes []checkpoint.Signed) {
	t.Helper()
	first, second = newKey(t), newKey(t)
	notes = signed(t, checkpoint.Keys{first}, log, 10)
	later := signed(t, checkpoint.Keys{first, second}, log, 10, 20, 30)
	for _, n := range later[1:] {
		keys := checkpoint.Keys{first, second}
		s, err := keys.Sign(n.Checkpoint, notes[len(notes)-1].Key)
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, s)
	}
	return first, second, notes
}

func TestAKeyThatTheOneBeforeSignedCountsFromThere(t *testing.T) {
	t.Parallel()
	log := history(30)
	first, second, notes := rotated(t, log)
	if notes[0].Key != first.Verifier() || notes[1].Key != second.Verifier() || notes[1].SignedBy(first.Verifier()) != nil {
		t.Fatal("the second checkpoint does not bring in the second key with both signatures")
	}
	if notes[2].SignedBy(first.Verifier()) == nil {
		t.Error("the old key signs on after the rotation")
	}
	for _, pinned := range [][]string{nil, {first.Verifier()}} {
		reports, err := verify(t, log, pinned, &shelf{name: "a", notes: notes})
		if err != nil || reports[0].Checkpoints != 3 || reports[0].Key != second.Verifier() {
			t.Errorf("pinned %v: %+v, %v", pinned, reports, err)
		}
	}
}

func TestATrailThatIsNotAsItWasWrittenIsRefused(t *testing.T) {
	t.Parallel()
	log := history(30)
	key, stranger := newKey(t), newKey(t)
	notes := signed(t, checkpoint.Keys{key}, log, 10, 20, 30)
	foreign := signed(t, checkpoint.Keys{stranger}, log, 10, 20, 30)
	other := foreign[0].Checkpoint
	other.Origin = "hishamos/0193f4d2-0000-7000-8000-00000000000f"
	elsewhere, err := checkpoint.NewKey(other.Origin)
	if err != nil {
		t.Fatal(err)
	}
	of, err := checkpoint.Keys{elsewhere}.Sign(other, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		notes  []checkpoint.Signed
		pinned []string
		says   string
	}{
		"a key nobody brought in": {[]checkpoint.Signed{notes[0], foreign[1]}, nil, "brings in a key"},
		"swapped":                 {[]checkpoint.Signed{notes[0], notes[2], notes[1]}, nil, "position 20 comes after position 30"},
		"another first key":       {foreign, []string{key.Verifier()}, "not a key you gave"},
		"another log":             {[]checkpoint.Signed{of}, nil, "it is of " + other.Origin},
	} {
		_, err := verify(t, log, c.pinned, &shelf{name: "a", notes: c.notes})
		if e := (*checkpoint.TrailError)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	repeated := []checkpoint.Signed{notes[0], notes[1], notes[0], notes[1], notes[2]}
	if _, err := verify(t, log, nil, &shelf{name: "a", notes: repeated}); err != nil {
		t.Errorf("what two processes brought at once: %v", err)
	}
}

func TestAnAnchorThatDoesNotAnswerIsNamedAndProvesNothing(t *testing.T) {
	t.Parallel()
	log := history(30)
	notes := signed(t, checkpoint.Keys{newKey(t)}, log, 10, 30)
	away := &shelf{name: "away", outside: true, err: fmt.Errorf("away %w: no route", checkpoint.ErrUnread)}
	reports, err := verify(t, log, nil, away, &shelf{name: "here", notes: notes})
	if err != nil || reports[0].Unread == "" || reports[0].Checkpoints != 0 || reports[1].Checkpoints != 2 {
		t.Errorf("got %+v, %v", reports, err)
	}
}

func TestKeysAreKeptForTheirOwnerAndNeverShown(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys", "checkpoint.key")
	if _, err := checkpoint.LoadKeys(path, origin); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a missing file: %v", err)
	}
	keys := checkpoint.Keys{newKey(t), newKey(t)}
	if err := keys.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got, err := checkpoint.LoadKeys(path, origin)
	if err != nil || len(got) != 2 || got.Newest().Verifier() != keys[1].Verifier() {
		t.Fatalf("got %v, %v", got, err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("key", "key", got.Newest())
	shown := fmt.Sprintf("%v %+v %#v %s", got, got.Newest(), got.Newest(), got) + logged.String()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		secret := line[strings.LastIndex(line, "+")+1:]
		if strings.Contains(shown, "PRIVATE") || strings.Contains(shown, strings.TrimSpace(secret)) {
			t.Errorf("a private key is shown: %s", shown)
		}
	}
	if _, err := checkpoint.LoadKeys(path, "hishamos/other"); domain.KindOf(err) != domain.Invalid {
		t.Errorf("keys of another log: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.LoadKeys(path, origin); domain.KindOf(err) != domain.Forbidden || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("PRIVATE+KEY+x\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.LoadKeys(path, origin); domain.KindOf(err) != domain.Invalid {
		t.Errorf("no key: %v", err)
	}
}
