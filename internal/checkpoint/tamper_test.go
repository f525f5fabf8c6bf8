package checkpoint_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/checkpoint"
)

// mutation is a way to tamper with a log. It works on a copy, and returns the
// first position that it changed.
type mutation struct {
	name string
	// sealed says that the chain holds again afterwards: only a checkpoint tells.
	sealed bool
	do     func(rng *rand.Rand, log []events.Record) (tampered []events.Record, first domain.Position)
}

var mutations = []mutation{
	{"a bit of a stored column is flipped", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log))
		fields := reflect.ValueOf(&log[i].Envelope).Elem()
		flip(rng, fields.Field(rng.IntN(fields.NumField())))
		moved := log[i]
		log = slices.Delete(log, i, i+1) // the store reads by position
		at, _ := slices.BinarySearchFunc(log, moved.Position, func(r events.Record, p domain.Position) int { return int(int64(r.Position) - int64(p)) })
		return slices.Insert(log, at, moved), domain.Position(min(i, at) + 1)
	}},
	{"a bit of the data is flipped", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log))
		flipBytes(rng, log[i].Data)
		return log, domain.Position(i + 1)
	}},
	{"a bit of a hash is flipped", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log))
		if rng.IntN(2) == 0 {
			flipBytes(rng, log[i].PrevHash[:])
		} else {
			flipBytes(rng, log[i].Hash[:])
		}
		return log, domain.Position(i + 1)
	}},
	{"hashes are made up from some position on", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log))
		prev := events.Hash{byte(rng.Uint32()), 1}
		for j := i; j < len(log); j++ {
			log[j].PrevHash = prev
			log[j].Hash = events.ChainHash(prev, prev)
			prev = log[j].Hash
		}
		return log, domain.Position(i + 1)
	}},
	{"an event is dropped", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log) - 1)
		return slices.Delete(log, i, i+1), domain.Position(i + 1)
	}},
	{"two events are swapped", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log) - 1)
		j := i + 1 + rng.IntN(len(log)-i-1)
		log[i], log[j] = log[j], log[i]
		if rng.IntN(2) == 0 { // with their positions
			log[i].Position, log[j].Position = log[j].Position, log[i].Position
		}
		return log, domain.Position(i + 1)
	}},
	{"a forged event is inserted", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := 1 + rng.IntN(len(log)-1)
		forged := log[rng.IntN(len(log))]
		forged.Position = domain.Position(i + 1)
		forged.Seal(log[i-1].Hash) // as good as the others; what follows it is not
		return slices.Insert(log, i, forged), domain.Position(i + 1)
	}},
	{"an event is doubled", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log))
		at := i + 1 + rng.IntN(len(log)-i)
		return slices.Insert(log, at, log[i]), domain.Position(at + 1)
	}},
	{"an event is changed and sealed, what follows it is not", false, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log) - 1)
		flipBytes(rng, log[i].Data)
		log[i].Seal(log[i].PrevHash)
		return log, domain.Position(i + 1)
	}},
	{"the tail is cut", true, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log))
		return log[:i], domain.Position(i + 1)
	}},
	{"all is sealed anew from a changed event on", true, func(rng *rand.Rand, log []events.Record) ([]events.Record, domain.Position) {
		i := rng.IntN(len(log))
		switch rng.IntN(4) {
		case 0:
			flipBytes(rng, log[i].Data)
		case 1:
			log[i].Recorded = log[i].Recorded.Add(time.Microsecond)
		case 2:
			forged := log[rng.IntN(len(log))]
			forged.Correlation = "forged"
			log = slices.Insert(log, i, forged)
		case 3:
			if i = min(i, len(log)-2); i >= 0 {
				log = slices.Delete(log, i, i+1)
			}
		}
		reseal(log, i)
		return log, domain.Position(i + 1)
	}},
}

func reseal(log []events.Record, from int) {
	var prev events.Hash
	if from > 0 {
		prev = log[from-1].Hash
	}
	for j := from; j < len(log); j++ {
		log[j].Position = domain.Position(j + 1)
		log[j].Seal(prev)
		prev = log[j].Hash
	}
}

func flipBytes(rng *rand.Rand, b []byte) { b[rng.IntN(len(b))] ^= 1 << rng.IntN(8) }

// flip changes one bit of a column's value; a text that is absent becomes present.
func flip(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		b := []byte(v.String())
		if len(b) == 0 {
			b = []byte{'x'}
		} else {
			flipBytes(rng, b)
		}
		v.SetString(string(b))
	case reflect.Int:
		v.SetInt(v.Int() ^ 1<<rng.IntN(31))
	case reflect.Uint64:
		v.SetUint(v.Uint() ^ 1<<rng.IntN(62))
	default:
		at := v.Interface().(time.Time) //nolint:forcetypeassert // an envelope holds nothing else
		v.Set(reflect.ValueOf(time.UnixMicro(at.UnixMicro() ^ 1<<rng.IntN(50)).UTC()))
	}
}

// whole is how many records follow on.
func whole(log []events.Record) (n int) {
	var mark events.Mark
	for n < len(log) && mark.Walk(log[n:n+1], nil) == nil {
		n++
	}
	return n
}

func copyOf(log []events.Record) []events.Record {
	out := slices.Clone(log)
	for i := range out {
		out[i].Data = bytes.Clone(out[i].Data)
	}
	return out
}

const (
	tampered   = 80 // events of the log that is tampered with
	mutants    = 10_000
	apart      = 20 // events between its checkpoints
	unanchored = 2_000
)

func checkpointsOf(size int) (at []domain.Position) {
	for p := apart; p < size; p += apart {
		at = append(at, domain.Position(p))
	}
	return append(at, domain.Position(size))
}

func TestWithAnAnchorOutsideEveryMutationIsFoundAndItsPlaceNamed(t *testing.T) {
	t.Parallel()
	log := history(tampered)
	at := checkpointsOf(tampered)
	key := newKey(t)
	anchor := &shelf{name: "outside", outside: true, notes: signed(t, checkpoint.Keys{key}, log, at...)}
	if reports, err := verify(t, log, nil, anchor); err != nil || reports[0].Checkpoints != len(at) {
		t.Fatalf("the log as it was: %+v, %v", reports, err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	found := make(map[string]int)
	for n := range mutants {
		m := mutations[n%len(mutations)]
		bad, first := m.do(rng, copyOf(log))
		_, err := verify(t, bad, nil, anchor)
		var chain *events.ChainError
		var lying *checkpoint.TamperError
		switch {
		case err == nil:
			t.Fatalf("mutant %d, %s at %d: not found", n, m.name, first)
		case errors.As(err, &chain):
			// The chain names the record at which it breaks: the changed one, or the
			// one behind a record that is missing or was sealed.
			walked := whole(bad)
			if d := walked + 1 - int(first); m.sealed || d < 0 || d > 1 || chain.Position != bad[walked].Position {
				t.Fatalf("mutant %d, %s at %d: the chain names %d: %v", n, m.name, first, chain.Position, err)
			}
		case errors.As(err, &lying):
			i, _ := slices.BinarySearch(at, first)
			var before domain.Position
			if i > 0 {
				before = at[i-1]
			}
			if !m.sealed || lying.After != before || lying.At != at[i] {
				t.Fatalf("mutant %d, %s at %d: named %d to %d, want %d to %d", n, m.name, first, lying.After+1, lying.At, before+1, at[i])
			}
		default:
			t.Fatalf("mutant %d, %s at %d: %v", n, m.name, first, err)
		}
		found[m.name]++
	}
	for _, m := range mutations {
		t.Logf("%6d found: %s", found[m.name], m.name)
	}
}

// TestWithoutAnAnchorOnlyACutAndARewriteAreNotFound is what verify means by
// "self-anchored: proves no accident, not no owner".
func TestWithoutAnAnchorOnlyACutAndARewriteAreNotFound(t *testing.T) {
	t.Parallel()
	log := history(tampered)
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range unanchored {
		m := mutations[n%len(mutations)]
		bad, first := m.do(rng, copyOf(log))
		if _, err := verify(t, bad, nil); (err == nil) != m.sealed {
			t.Fatalf("mutant %d, %s at %d: %v", n, m.name, first, err)
		}
	}
}

func TestARootThatIsNotOfTheLogIsFoundThoughTheChainIsRight(t *testing.T) {
	t.Parallel()
	log := history(50)
	keys := checkpoint.Keys{newKey(t)}
	notes := signed(t, keys, log, 20, 50)
	lie := notes[1].Checkpoint
	lie.Root[0] ^= 1
	var err error
	if notes[1], err = keys.Sign(lie, notes[0].Key); err != nil {
		t.Fatal(err)
	}
	_, err = verify(t, log, nil, &shelf{name: "a", notes: notes})
	var e *checkpoint.TamperError
	if !errors.As(err, &e) || e.After != 20 || e.At != 50 {
		t.Errorf("got %v", err)
	}
}

func TestEveryFlippedBitOfACheckpointIsFound(t *testing.T) {
	t.Parallel()
	log := history(30)
	notes := signed(t, checkpoint.Keys{newKey(t)}, log, 10, 30)
	for i := range len(notes[1].Text) * 8 {
		b := []byte(notes[1].Text)
		b[i/8] ^= 1 << (i % 8)
		if s, err := checkpoint.Parse(string(b)); err == nil {
			t.Fatalf("bit %d: read as %+v", i, s.Checkpoint)
		}
	}
}
