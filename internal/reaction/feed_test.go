package reaction

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
	"github.com/hishamos/hishamos/internal/log"
)

// The feed is not exported: it is the part whose order and bookkeeping carry
// the guarantee, so its tests stand inside the package.

const parts = 1

var topic = log.Partition{Topic: "hishamos.token.events", ID: 0}

// history appends n rotations each to a number of streams, interleaved by the
// seed, and returns the store and its Kafka copies.
func history(t *testing.T, seed uint64, streams, each int) (*memory.Store, []log.Message) {
	t.Helper()
	store := memory.New(memory.Options{})
	left := make([]int, streams)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range streams * each {
		i := rng.IntN(streams)
		for left[i] == each {
			i = (i + 1) % streams
		}
		left[i]++
		_, err := store.Append(t.Context(), eventstore.Append{
			Command: domain.CommandID(fmt.Sprintf("%d-%d", i, left[i])), Tenant: domain.DefaultTenant, Actor: "[]",
			Writes: []eventstore.Write{{
				Stream: stream(i), Expected: eventstore.Any,
				Events: []eventstore.Proposed{{Type: "token.rotated", Version: 1, Time: time.Unix(1, 0), Data: []byte(`{"secret_hash":"x"}`)}},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	records, err := store.ReadAll(t.Context(), 0, streams*each)
	if err != nil {
		t.Fatal(err)
	}
	var out []log.Message
	for i, r := range records {
		m := log.Encode(log.Published{Record: r, Epoch: 1, PrevPos: domain.Position(i)}, parts)
		m.Offset = int64(i)
		out = append(out, m)
	}
	return store, out
}

func stream(i int) domain.StreamID {
	return domain.NamedStreamID(domain.DefaultTenant, "token", fmt.Sprint(i))
}

func feedOf(store eventstore.Reader, at Resume) *feed {
	return newFeed(topic, parts, Reaction{Types: []string{"token.rotated"}}, 0, at, store)
}

// drive hands out everything ready, acknowledging in an order the seed chooses,
// and checks that a stream never has two events out and never goes back.
func drive(t *testing.T, f *feed, rng *rand.Rand, out *[]events.Recorded[events.Event], seen map[domain.StreamID]domain.Sequence) {
	t.Helper()
	for {
		e, ok := f.next()
		if !ok {
			break
		}
		for _, o := range *out {
			if o.Stream == e.Stream {
				t.Fatalf("stream %s has two events out", e.Stream)
			}
		}
		if e.Sequence != seen[e.Stream]+1 {
			t.Fatalf("stream %s: sequence %d after %d", e.Stream, e.Sequence, seen[e.Stream])
		}
		seen[e.Stream] = e.Sequence
		*out = append(*out, e)
	}
	if len(*out) > 0 {
		i := rng.IntN(len(*out))
		f.ack((*out)[i])
		*out = append((*out)[:i], (*out)[i+1:]...)
	}
}

func TestEveryEventIsHandedOutOnceInTheOrderOfItsStreamWhateverArrivesTwiceOrNotAtAll(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		store, messages := history(t, seed, 5, 8)
		records, err := store.ReadAll(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		f := feedOf(store, Resume{})
		var out []events.Recorded[events.Event]
		seen := make(map[domain.StreamID]domain.Sequence)
		for i, m := range messages {
			if rng.IntN(3) == 0 { // the express lane comes first
				f.express(&records[i])
			}
			if rng.IntN(5) > 0 || i == len(messages)-1 { // some records are lost on Kafka
				for range 1 + rng.IntN(2) { // and some come twice
					if err := f.take(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
			}
			drive(t, f, rng, &out, seen)
		}
		for f.load() > 0 || len(out) > 0 {
			drive(t, f, rng, &out, seen)
		}
		for i := range 5 {
			if seen[stream(i)] != 8 {
				t.Fatalf("seed %d: stream %d ended at %d, want 8", seed, i, seen[stream(i)])
			}
		}
		if f.resume.Position != 40 {
			t.Fatalf("seed %d: resume point %d, want 40", seed, f.resume.Position)
		}
	}
}

func TestOnlyTheLastEventOfAnAppendIsHandedOutIfItSpeaksForAll(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{})
	rotated := eventstore.Proposed{Type: "token.rotated", Version: 1, Time: time.Unix(1, 0), Data: []byte(`{"secret_hash":"x"}`)}
	for i := range 4 {
		_, err := store.Append(t.Context(), eventstore.Append{
			Command: domain.CommandID(fmt.Sprint(i)), Tenant: domain.DefaultTenant, Actor: "[]",
			Writes: []eventstore.Write{{Stream: stream(0), Expected: eventstore.Any, Events: []eventstore.Proposed{rotated, rotated, rotated}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	records, err := store.ReadAll(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	f := newFeed(topic, parts, Reaction{Types: []string{"token.rotated"}, Last: true}, 0, Resume{}, store)
	for i, r := range records {
		if i < 6 {
			f.express(&r)
		}
	}
	var prev domain.Position
	for i, r := range records {
		m := log.Encode(log.Published{Record: r, Epoch: 1, PrevPos: prev}, parts)
		m.Offset, prev = int64(i), r.Position
		if err := f.take(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	var got []domain.Sequence
	for e, ok := f.next(); ok; e, ok = f.next() {
		got = append(got, e.Sequence)
		f.ack(e)
	}
	if want := []domain.Sequence{3, 6, 9, 12}; !slices.Equal(got, want) {
		t.Errorf("handed out %v, want %v", got, want)
	}
	if f.resume.Position != 12 {
		t.Errorf("resume point %d, want 12", f.resume.Position)
	}
}

func TestTheResumePointNeverPassesAnEventThatIsNotHandled(t *testing.T) {
	t.Parallel()
	store, messages := history(t, 1, 2, 3)
	records, _ := store.ReadAll(t.Context(), 0, 10)
	f := feedOf(store, Resume{})
	f.express(&records[0])
	e, ok := f.next()
	if !ok {
		t.Fatal("the express event was not handed out")
	}
	for _, m := range messages { // its copy arrives while it is being handled
		if err := f.take(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if f.resume.Position != 0 {
		t.Errorf("resume point %d while position 1 is being handled", f.resume.Position)
	}
	f.ack(e)
	if f.resume.Position != 1 {
		t.Errorf("resume point %d, want 1", f.resume.Position)
	}
}

func TestOneThatFailedBesideOthersGoesByItself(t *testing.T) {
	t.Parallel()
	store, messages := history(t, 1, 4, 2)
	f := feedOf(store, Resume{})
	for _, m := range messages {
		if err := f.take(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	first := f.batch(3)
	if len(first) != 3 {
		t.Fatalf("%d events together, want 3", len(first))
	}
	f.ack(first[0]) // its second event is ready now, and so is the fourth stream
	f.again(first[1])
	f.ack(first[2])
	var sizes []int
	for batch := f.batch(3); len(batch) > 0; batch = f.batch(3) {
		sizes = append(sizes, len(batch))
		if alone := batch[0].Position == first[1].Position; alone != (len(batch) == 1) {
			t.Errorf("position %d went with %d others", batch[0].Position, len(batch)-1)
		}
		for _, e := range batch {
			if e.Position == first[1].Position {
				f.ack(e)
			}
		}
		if len(sizes) == 3 {
			break
		}
	}
	if want := []int{2, 1, 2}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %v, want %v: once it succeeded its stream goes with others again", sizes, want)
	}
}

func TestAReactionToEnvelopesIsGivenEventsThatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	store, messages := history(t, 1, 1, 1)
	f := newFeed(topic, parts, Reaction{Types: []string{"token.rotated"}, Bare: true}, 0, Resume{}, store)
	bad := messages[0]
	bad.Value = []byte(`{"secret_hash":`)
	if err := f.take(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	e, ok := f.next()
	if !ok || e.Event != nil || e.Position != 1 {
		t.Errorf("handed out %v (%v), want the envelope of position 1 alone", e, ok)
	}
}

func TestAReactionSeesNothingFromBeforeItsDeployment(t *testing.T) {
	t.Parallel()
	store, messages := history(t, 1, 1, 6)
	f := newFeed(topic, parts, Reaction{Types: []string{"token.rotated"}}, 4, Resume{}, store)
	for _, m := range messages {
		if err := f.take(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	e, ok := f.next()
	if !ok || e.Position != 5 {
		t.Errorf("first event is at %d, want 5", e.Position)
	}
}

func TestAnUnknownTypePausesAndAnUndecodableEventIsPoison(t *testing.T) {
	t.Parallel()
	store, messages := history(t, 1, 1, 2)
	f := feedOf(store, Resume{})
	newer := messages[0]
	newer.Headers = append([]log.Header{}, newer.Headers...)
	for i, h := range newer.Headers {
		switch h.Key {
		case "ce_type":
			newer.Headers[i].Value = "token.sharpened"
		case "ce_dataschema":
			newer.Headers[i].Value = "/schema/events/token.sharpened.v1.json"
		}
	}
	var paused *PausedError
	if err := f.take(t.Context(), newer); !errors.As(err, &paused) {
		t.Fatalf("unknown type answered %v", err)
	}
	if err := f.take(t.Context(), messages[0]); err != nil { // offered again, now known
		t.Fatal(err)
	}
	bad := messages[1]
	bad.Value = []byte(`{"secret_hash":`)
	var poison *PoisonError
	if err := f.take(t.Context(), bad); !errors.As(err, &poison) || poison.Record.Position != 2 {
		t.Errorf("undecodable data answered %v", err)
	}
}

func TestAHoleThatCannotBeFilledStopsTheFeed(t *testing.T) {
	t.Parallel()
	_, messages := history(t, 1, 1, 3)
	f := feedOf(broken{}, Resume{})
	if err := f.take(t.Context(), messages[2]); err == nil {
		t.Error("two missing events were passed over")
	}
}

type broken struct{ eventstore.Reader }

func (broken) ReadAll(context.Context, domain.Position, int) ([]events.Record, error) {
	return nil, errors.New("store is down")
}
