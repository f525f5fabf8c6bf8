package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Source is where checkpoints of a log are kept.
type Source interface {
	Name() string
	// Outside says that who runs the log cannot change what is kept there.
	Outside() bool
	// Read returns all checkpoints, in the order in which they were brought there.
	// An error that is no ErrForm and no signature means that it does not answer.
	Read(ctx context.Context) iter.Seq2[Signed, error]
}

// ErrUnread says that a source does not answer.
var ErrUnread = errors.New("cannot be read")

// TamperError says that a log is not the one a checkpoint was made of, and
// between which positions that must have happened.
type TamperError struct {
	Anchor string
	After  domain.Position // up to here the log is the one that was signed
	At     domain.Position // of the checkpoint that does not hold
	Reason string
}

func (e *TamperError) Error() string {
	return fmt.Sprintf("positions %d to %d: %s (checkpoint %d of %s)", e.After+1, e.At, e.Reason, e.At, e.Anchor)
}

// TrailError says that the checkpoints of a source are not as they were written.
type TrailError struct {
	Anchor string
	After  domain.Position // the last checkpoint that is right
	Reason string
}

func (e *TrailError) Error() string {
	return fmt.Sprintf("checkpoints of %s after %d: %s", e.Anchor, e.After, e.Reason)
}

// Report is what a source's checkpoints say of a log.
type Report struct {
	Anchor      string          `json:"anchor"`
	Outside     bool            `json:"outside"`
	Checkpoints int             `json:"checkpoints"` // that hold
	Position    domain.Position `json:"position"`    // the last of them
	Key         string          `json:"key,omitempty"`
	Unread      string          `json:"unread,omitempty"` // why it could not be read
	Wrong       string          `json:"wrong,omitempty"`
}

// Audit holds a log against checkpoints while it is walked (events.Mark.Walk).
// It belongs to one goroutine. Close it.
type Audit struct {
	origin string
	pinned []string
	tree   *Tree
	trails []*trail
}

// trail is one source, read as far as the log was walked.
type trail struct {
	source Source
	next   func() (Signed, error, bool)
	stop   func()
	report Report
	read   Signed   // the last that was read; the one waiting, if ahead
	recent []string // texts, to know a repetition
	ahead  bool     // read waits to be reached
	failed error
}

// remembered is how many checkpoints back a repetition is known as one: two
// processes may for a moment bring the same ones.
const remembered = 64

// NewAudit begins behind what the tree holds. With pinned verifier keys, the
// first checkpoint of every source must be signed by one of them; else it is
// believed.
func NewAudit(ctx context.Context, origin string, tree *Tree, pinned []string, sources ...Source) *Audit {
	a := &Audit{origin: origin, pinned: pinned, tree: tree}
	for _, s := range sources {
		next, stop := iter.Pull2(s.Read(ctx))
		a.trails = append(a.trails, &trail{
			source: s, report: Report{Anchor: s.Name(), Outside: s.Outside()}, stop: stop,
			next: func() (Signed, error, bool) { return next() },
		})
	}
	for _, t := range a.trails {
		a.advance(t)
	}
	return a
}

// Close ends reading.
func (a *Audit) Close() {
	for _, t := range a.trails {
		t.stop()
	}
}

// Tree is the tree over everything walked.
func (a *Audit) Tree() *Tree { return a.tree }

// advance reads the next checkpoint and checks it against the one before.
func (a *Audit) advance(t *trail) {
	t.ahead = false
	for t.failed == nil {
		s, err, ok := t.next()
		if !ok {
			return
		}
		if err == nil && slices.Contains(t.recent, s.Text) {
			continue
		}
		if err == nil {
			err = a.acceptable(t, s)
		}
		if errors.Is(err, ErrUnread) {
			t.report.Unread = err.Error()
			return
		}
		if err != nil {
			t.fail(&TrailError{t.report.Anchor, t.read.Position, err.Error()})
			return
		}
		t.read, t.ahead = s, true
		if t.recent = append(t.recent, s.Text); len(t.recent) > remembered {
			t.recent = t.recent[1:]
		}
		return
	}
}

func (a *Audit) acceptable(t *trail, s Signed) error {
	if s.Origin != a.origin {
		return fmt.Errorf("it is of %s, this log is %s", s.Origin, a.origin)
	}
	if t.read.Text != "" {
		return s.follows(t.read)
	}
	if len(a.pinned) == 0 || slices.ContainsFunc(a.pinned, func(key string) bool { return s.SignedBy(key) == nil }) {
		return nil
	}
	return fmt.Errorf("the first is signed by %s, which is not a key you gave", s.Key)
}

func (t *trail) fail(err error) {
	t.failed, t.ahead, t.report.Wrong = err, false, err.Error()
}

// holds counts the checkpoint that waited, and goes on to the next.
func (a *Audit) holds(t *trail) {
	t.report.Checkpoints++
	t.report.Position, t.report.Key = t.read.Position, t.read.Key
	a.advance(t)
}

// Before checks the checkpoints up to where the audit begins: their roots were
// checked when that part was walked, so it is enough that the log still has the
// chain hashes they name. Hashes finds those that the log has.
func (a *Audit) Before(ctx context.Context, hashes func(context.Context, []domain.Position) (map[domain.Position]events.Hash, error)) error {
	const page = 500
	for _, t := range a.trails {
		var waiting []Signed
		check := func() error {
			positions := make([]domain.Position, len(waiting))
			for i, s := range waiting {
				positions[i] = s.Position
			}
			has, err := hashes(ctx, positions)
			if err != nil {
				return err
			}
			for _, s := range waiting {
				if h, ok := has[s.Position]; !ok || h != s.Chain {
					t.fail(&TamperError{t.report.Anchor, t.report.Position, s.Position, "the log was written anew"})
					break
				}
				t.report.Checkpoints++
				t.report.Position, t.report.Key = s.Position, s.Key
			}
			waiting = waiting[:0]
			return nil
		}
		for t.ahead && t.read.Position <= a.tree.Size() {
			waiting = append(waiting, t.read)
			a.advance(t)
			if len(waiting) == page {
				if err := check(); err != nil {
					return err
				}
			}
		}
		if len(waiting) > 0 {
			if err := check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Add takes the next record of the log with its leaf, as events.Mark.Walk hands
// them over. It fails only if it cannot go on: what checkpoints say comes with
// Finish.
func (a *Audit) Add(r *events.Record, leaf events.Hash) error {
	if err := a.tree.Add(leaf); err != nil {
		return err
	}
	for _, t := range a.trails {
		if !t.ahead || t.read.Position != r.Position {
			continue
		}
		root, err := a.tree.Root()
		if err != nil {
			return err
		}
		if root != t.read.Root || r.Hash != t.read.Chain {
			t.fail(&TamperError{t.report.Anchor, t.report.Position, r.Position, "the log was written anew"})
			continue
		}
		a.holds(t)
	}
	return nil
}

// Finish says what the checkpoints of every source say of a log that was walked
// to its end, and the first that does not hold, if one does not. Head is asked
// for the end of the log after all checkpoints were read: those that lie behind
// it are of events that are missing.
func (a *Audit) Finish(head func() (domain.Position, error)) ([]Report, error) {
	behind := make([][]domain.Position, len(a.trails))
	for i, t := range a.trails {
		for t.ahead {
			behind[i] = append(behind[i], t.read.Position)
			a.advance(t)
		}
	}
	end, err := head()
	if err != nil {
		return nil, err
	}
	for i, t := range a.trails {
		// Who cut the log may also have written anew what is left behind the last
		// checkpoint that holds.
		first, _ := slices.BinarySearch(behind[i], end+1)
		if first < len(behind[i]) {
			t.fail(&TamperError{
				t.report.Anchor, t.report.Position, behind[i][first],
				fmt.Sprintf("the log ends at %d, a checkpoint was made at %d: events are missing", end, t.read.Position),
			})
		}
	}
	return a.Reports(), a.Wrong()
}

// Reports is what was found so far.
func (a *Audit) Reports() []Report {
	out := make([]Report, len(a.trails))
	for i, t := range a.trails {
		out[i] = t.report
	}
	return out
}

// Wrong is what does not hold: first what is wrong with the log, and of that
// what narrows the place down most.
func (a *Audit) Wrong() error {
	var tampered *TamperError
	var first error
	for _, t := range a.trails {
		var e *TamperError
		switch {
		case errors.As(t.failed, &e):
			if tampered == nil || e.At-e.After < tampered.At-tampered.After {
				tampered = e
			}
		case first == nil:
			first = t.failed
		}
	}
	if tampered != nil {
		return tampered
	}
	return first
}
