// Package checkpoint makes signed statements of what a log held, and holds a log
// against them: who keeps a checkpoint elsewhere sees that the log was cut or
// written anew.
//
// It must not know where checkpoints are kept (internal/anchor does), nor what
// events mean. It may import domain, events, signed notes, Merkle trees and pgx.
//
// Start at Checkpoint; make.go makes them, audit.go checks a log, deliver.go
// brings them to anchors. docs/reference/checkpoint-format.md fixes the form.
package checkpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Checkpoint states what a log held at a position.
type Checkpoint struct {
	Origin   string          // `hishamos/<log id>`
	Position domain.Position // of its last event, and so the size of the tree
	Root     events.Hash     // of the RFC 9162 tree over the leaves
	Chain    events.Hash     // of the last event
	Time     time.Time       // when it was made
	Key      string          // the verifier key of who signed it
}

// Origin names a log in its checkpoints and keys.
func Origin(logID string) string { return "hishamos/" + logID }

// text is what is signed: the lines of C2SP tlog-checkpoint, and three of ours.
func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\nchain %s\ntime %s\nkey %s\n", c.Origin, c.Position,
		base64.StdEncoding.EncodeToString(c.Root[:]), c.Chain, events.FormatTime(c.Time), c.Key)
}

// Signed is a checkpoint with its signatures.
type Signed struct {
	Checkpoint
	Text string // the note as it is kept
}

// ErrForm says that a text is no checkpoint.
var ErrForm = errors.New("not a checkpoint")

// Parse reads a note and checks that its own key signed it.
func Parse(text string) (Signed, error) {
	body, signatures, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(body, "\n")
	if !ok || len(lines) != 6 {
		return Signed{}, fmt.Errorf("%w: it has not six lines and signatures", ErrForm)
	}
	s := Signed{Checkpoint: Checkpoint{Origin: lines[0]}, Text: text}
	position, err := strconv.ParseUint(lines[1], 10, 63)
	s.Position = domain.Position(position)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	copy(s.Root[:], root)
	chain, ok1 := strings.CutPrefix(lines[3], "chain ")
	at, ok2 := strings.CutPrefix(lines[4], "time ")
	key, ok3 := strings.CutPrefix(lines[5], "key ")
	err3 := s.Chain.UnmarshalText([]byte(chain))
	var err4 error
	s.Time, err4 = time.Parse(time.RFC3339Nano, at)
	s.Key = key
	if err := errors.Join(err, err2, err3, err4); err != nil || !ok1 || !ok2 || !ok3 {
		return Signed{}, errors.Join(fmt.Errorf("%w: a line is malformed", ErrForm), err)
	}
	if s.text() != body+"\n" {
		return Signed{}, fmt.Errorf("%w: it is not in its canonical form", ErrForm)
	}
	// One text for one checkpoint: base64 with stray bits would be another.
	for line := range strings.Lines(signatures) {
		encoded := strings.TrimSuffix(line[strings.LastIndexByte(line, ' ')+1:], "\n")
		if _, err := base64.StdEncoding.Strict().DecodeString(encoded); err != nil {
			return Signed{}, fmt.Errorf("%w: a signature is malformed", ErrForm)
		}
	}
	return s, s.SignedBy(s.Key)
}

// SignedBy checks that a verifier key signed it.
func (s Signed) SignedBy(key string) error {
	v, err := note.NewVerifier(key)
	if err != nil {
		return fmt.Errorf("verifier key %q: %w", key, err)
	}
	if v.Name() != s.Origin {
		return fmt.Errorf("key %s is of another log", key)
	}
	n, err := note.Open([]byte(s.Text), note.VerifierList(v))
	if err != nil {
		return fmt.Errorf("signature of %s: %w", key, err)
	}
	if n.Text != s.text() {
		return fmt.Errorf("%w: the signature is of another text", ErrForm)
	}
	return nil
}

// follows checks that a checkpoint may come after another: later, and signed by
// a key that counted then, so that only its owner can bring in another.
func (s Signed) follows(before Signed) error {
	switch {
	case s.Position <= before.Position:
		return fmt.Errorf("position %d comes after position %d", s.Position, before.Position)
	case s.Time.Before(before.Time):
		return fmt.Errorf("time %s comes after %s", events.FormatTime(s.Time), events.FormatTime(before.Time))
	case s.Key == before.Key:
		return nil
	}
	if err := s.SignedBy(before.Key); err != nil {
		return fmt.Errorf("it brings in a key that the one before did not sign: %w", err)
	}
	return nil
}
