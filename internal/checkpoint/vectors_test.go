package checkpoint_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/checkpoint"
)

const vectorsFile = "../../docs/reference/checkpoint-vectors.json"

// rewrite writes the vectors anew. The format is fixed, so this is only for
// adding vectors: the old ones must not change.
var rewrite = flag.Bool("rewrite-vectors", false, "write docs/reference/checkpoint-vectors.json anew")

type vectors struct {
	PrivateKeys []string      `json:"private_keys"` // for these vectors only
	Keys        []string      `json:"verifier_keys"`
	Leaves      []events.Hash `json:"leaves"` // as hash-rule.md has them
	Roots       []events.Hash `json:"roots"`  // of the first one, two, …
	Chain       []events.Hash `json:"chain"`
	Checkpoints []string      `json:"checkpoints"` // the second is a rotation
	Proof       struct {
		Position domain.Position `json:"position"`
		Path     []events.Hash   `json:"path"`
	} `json:"proof"` // against the second checkpoint
}

func TestTheFormatIsPinnedByVectors(t *testing.T) {
	t.Parallel()
	var v vectors
	path := filepath.Join(t.TempDir(), "keys")
	for i := range 2 {
		seed := sha256.Sum256([]byte{'s', byte(i)})
		private, verifier, err := note.GenerateKey(bytes.NewReader(seed[:]), origin)
		if err != nil {
			t.Fatal(err)
		}
		v.PrivateKeys, v.Keys = append(v.PrivateKeys, private), append(v.Keys, verifier)
	}
	if err := os.WriteFile(path, []byte(v.PrivateKeys[0]+"\n# the next\n"+v.PrivateKeys[1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := checkpoint.LoadKeys(path, origin)
	if err != nil {
		t.Fatal(err)
	}
	log := history(11)
	tree := checkpoint.NewTree()
	v.Proof.Position = 3
	prover, err := checkpoint.NewProver(v.Proof.Position, 11)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range log {
		leaf := events.LeafHash(r.Envelope, r.Data)
		if err := tree.Add(leaf); err != nil {
			t.Fatal(err)
		}
		root, err := tree.Root()
		if err != nil {
			t.Fatal(err)
		}
		if err := prover.Add(leaf); err != nil {
			t.Fatal(err)
		}
		v.Leaves, v.Roots, v.Chain = append(v.Leaves, leaf), append(v.Roots, root), append(v.Chain, r.Hash)
	}
	for _, c := range []struct {
		keys   checkpoint.Keys
		at     int
		before string
	}{{keys[:1], 7, ""}, {keys, 11, v.Keys[0]}} {
		s, err := c.keys.Sign(checkpoint.Checkpoint{
			Origin: origin, Position: domain.Position(c.at), Root: v.Roots[c.at-1], Chain: v.Chain[c.at-1], Time: log[c.at-1].Recorded,
		}, c.before)
		if err != nil {
			t.Fatal(err)
		}
		v.Checkpoints = append(v.Checkpoints, s.Text)
	}
	if v.Proof.Path, _, err = prover.Proof(); err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var want vectors
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("the format has changed:\n%s", diff)
	}
}
