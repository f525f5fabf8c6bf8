package checkpoint_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/checkpoint"
)

const (
	logID  = "0193f4d2-0000-7000-8000-000000000001"
	origin = "hishamos/" + logID
)

var began = time.Date(2026, 11, 22, 3, 4, 5, 6000, time.UTC)

// history is a sealed log of so many events on four streams.
func history(size int) []events.Record {
	records := make([]events.Record, size)
	var prev events.Hash
	for i := range records {
		r := &records[i]
		r.Envelope = events.Envelope{
			LogID: logID, Generation: 1, Type: "run.started", Version: 1, Index: i % 2, Count: 2,
			Stream:   domain.StreamID(fmt.Sprintf("default/run_0193f4d2-0000-7000-8000-00000000010%d", i%4)),
			Sequence: domain.Sequence(i/4 + 1), Position: domain.Position(i + 1),
			Time: began.Add(time.Duration(i) * time.Millisecond), Recorded: began.Add(time.Duration(i) * time.Second),
			Correlation: "c-1", Command: domain.CommandID(fmt.Sprint("command-", i)), Actor: `[{"kind":"human","id":"u"}]`,
		}
		if i%3 == 0 {
			r.Causation, r.TraceParent, r.Claims = "e-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", `[{"key":"k","kind":"name"}]`
		}
		r.Data = fmt.Appendf(nil, `{"n":%d}`, i)
		r.Seal(prev)
		prev = r.Hash
	}
	return records
}

func newKey(t testing.TB) checkpoint.Key {
	t.Helper()
	k, err := checkpoint.NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signed makes checkpoints of a log at some positions.
func signed(t testing.TB, keys checkpoint.Keys, records []events.Record, at ...domain.Position) []checkpoint.Signed {
	t.Helper()
	var out []checkpoint.Signed
	tree, before := checkpoint.NewTree(), ""
	for i, r := range records {
		if err := tree.Add(events.LeafHash(r.Envelope, r.Data)); err != nil {
			t.Fatal(err)
		}
		if len(out) == len(at) || r.Position != at[len(out)] {
			continue
		}
		root, err := tree.Root()
		if err != nil {
			t.Fatal(err)
		}
		c := checkpoint.Checkpoint{Origin: origin, Position: r.Position, Root: root, Chain: r.Hash, Time: began.Add(time.Duration(i) * time.Second)}
		s, err := keys.Sign(c, before)
		if err != nil {
			t.Fatal(err)
		}
		out, before = append(out, s), s.Key
	}
	return out
}

// shelf is an anchor in memory.
type shelf struct {
	name    string
	outside bool
	notes   []checkpoint.Signed
	err     error
}

func (s *shelf) Name() string  { return s.name }
func (s *shelf) Outside() bool { return s.outside }

func (s *shelf) Read(context.Context) iter.Seq2[checkpoint.Signed, error] {
	return func(yield func(checkpoint.Signed, error) bool) {
		for _, n := range s.notes {
			if !yield(n, nil) {
				return
			}
		}
		if s.err != nil {
			yield(checkpoint.Signed{}, s.err)
		}
	}
}

func (s *shelf) Newest(context.Context) (checkpoint.Signed, bool, error) {
	if s.err != nil || len(s.notes) == 0 {
		return checkpoint.Signed{}, false, s.err
	}
	return s.notes[len(s.notes)-1], true, nil
}

func (s *shelf) Append(_ context.Context, notes []checkpoint.Signed) error {
	s.notes = append(s.notes, notes...)
	return nil
}

// verify does what `hishamos verify --full` does, on records in memory: the walk
// over the chain, with the audit looking on.
func verify(t testing.TB, records []events.Record, keys []string, sources ...checkpoint.Source) ([]checkpoint.Report, error) {
	t.Helper()
	audit := checkpoint.NewAudit(t.Context(), origin, checkpoint.NewTree(), keys, sources...)
	defer audit.Close()
	var mark events.Mark
	if err := mark.Walk(records, audit.Add); err != nil {
		return audit.Reports(), err
	}
	return audit.Finish(func() (domain.Position, error) { return mark.Position, nil })
}
