package checkpoint

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/hishamos/hishamos/domain"
)

// Key signs checkpoints. It never shows its private half but to Keys.Save.
type Key struct {
	signer   note.Signer
	verifier string
	private  string
}

// NewKey makes a key for a log.
func NewKey(origin string) (Key, error) {
	private, verifier, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return Key{}, fmt.Errorf("make key: %w", err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return Key{}, fmt.Errorf("make key: %w", err)
	}
	return Key{signer, verifier, private}, nil
}

// Verifier is the public half, as signed notes write it: name, hash, key.
func (k Key) Verifier() string { return k.verifier }

// String shows the public half, whoever prints a key.
func (k Key) String() string { return k.verifier }

// GoString shows the public half, whoever prints a key.
func (k Key) GoString() string { return k.verifier }

// parseKey reads the private form of signed notes, `PRIVATE+KEY+name+hash+key`.
func parseKey(private string) (Key, error) {
	malformed := errors.New("a line is no private key")
	signer, err := note.NewSigner(private)
	if err != nil {
		return Key{}, malformed // the library's own text is not trusted to leave the key out
	}
	parts := strings.SplitN(private, "+", 5)
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return Key{}, malformed
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return Key{}, malformed
	}
	verifier, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return Key{}, malformed
	}
	return Key{signer, verifier, private}, nil
}

// Keys are a log's keys, the oldest first. The newest signs; the others are
// there until a checkpoint that they sign too has brought it in.
type Keys []Key

// Newest is the key that signs.
func (k Keys) Newest() Key { return k[len(k)-1] }

// ErrKey says that the key that signed before is not here.
var ErrKey = &domain.Error{
	Kind: domain.Conflict, Code: "checkpoint.foreign_key", Message: "the last checkpoint was signed by a key that is not here",
	Fix: "give every process with the role relay the same file HISHAMOS_CHECKPOINT_KEY; if the key is lost: hishamos checkpoint rotate --lost, and name new anchors",
}

// Sign signs a checkpoint with the newest key, and with the one that signed
// before if that is another.
func (k Keys) Sign(c Checkpoint, before string) (Signed, error) {
	newest := k.Newest()
	c.Key = newest.verifier
	signers := []note.Signer{newest.signer}
	if before != "" && before != newest.verifier {
		for _, old := range k {
			if old.verifier == before {
				signers = append(signers, old.signer)
			}
		}
		if len(signers) == 1 {
			return Signed{}, ErrKey.With("the last checkpoint was signed by key %s, which is not here", before)
		}
	}
	text, err := note.Sign(&note.Note{Text: c.text()}, signers...)
	if err != nil {
		return Signed{}, fmt.Errorf("sign checkpoint %d: %w", c.Position, err)
	}
	return Signed{c, string(text)}, nil
}

// LoadKeys reads the keys of a log from a file: one a line, the oldest first,
// lines that begin with # left out. A missing file is fs.ErrNotExist; one that
// others may read is refused.
func LoadKeys(path, origin string) (Keys, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint keys: %w", err)
	}
	if info.Mode().Perm()&0o037 != 0 {
		return nil, &domain.Error{
			Kind: domain.Forbidden, Code: "checkpoint.key_readable", Field: "HISHAMOS_CHECKPOINT_KEY",
			Message: path + " holds a private key and is open to others", Fix: "chmod 600 " + path + "; in a Kubernetes Secret: defaultMode: 0440",
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint keys: %w", err)
	}
	var keys Keys
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := parseKey(line)
		if err == nil && k.signer.Name() != origin {
			err = fmt.Errorf("a key is of %s, not of %s", k.signer.Name(), origin)
		}
		if err != nil {
			return nil, badKeys(path, err.Error())
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, badKeys(path, "there is no key in it")
	}
	return keys, nil
}

func badKeys(path, reason string) error {
	return &domain.Error{
		Kind: domain.Invalid, Code: "checkpoint.key_malformed", Field: "HISHAMOS_CHECKPOINT_KEY",
		Message: path + ": " + reason, Fix: "restore the file, or point to the one made for this log",
	}
}

// Save writes the keys for their owner only, all at once.
func (k Keys) Save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save checkpoint keys: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".checkpoint-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("save checkpoint keys: %w", err)
	}
	for _, key := range k {
		if err == nil {
			_, err = f.WriteString(key.private + "\n")
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		if gone := os.Remove(f.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return fmt.Errorf("save checkpoint keys: %w", err)
	}
	return nil
}

// CheckKey checks that a text is a verifier key of a log.
func CheckKey(verifier, origin string) error {
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return fmt.Errorf("%q is no verifier key: %w", verifier, err)
	}
	if v.Name() != origin {
		return fmt.Errorf("the key is of %s, this log is %s", v.Name(), origin)
	}
	return nil
}
