package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/blob"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/keys/memory"
)

// shelf is a blob store in memory.
type shelf map[string][]byte

func (s shelf) Keep(_ context.Context, t domain.Tenant, raw []byte) (string, error) {
	a := string(blob.AddressOf(raw))
	s[string(t)+"/"+a] = raw
	return a, nil
}

func (s shelf) Fetch(_ context.Context, t domain.Tenant, address string) ([]byte, error) {
	raw, ok := s[string(t)+"/"+address]
	if !ok {
		return nil, blob.ErrMissing
	}
	return raw, nil
}

func long(n int) events.RunStarted {
	return events.RunStarted{Inputs: map[string]json.RawMessage{
		"large": json.RawMessage(`"` + strings.Repeat(canary, n/len(canary)) + `"`), "small": json.RawMessage(`"` + canary + `"`),
	}}
}

func TestWhatAnEventHasNoRoomForLiesInTheBlobStoreSealed(t *testing.T) {
	t.Parallel()
	blobs := shelf{}
	r := open(t, &memory.Store{}, keys.Options{Blobs: blobs})
	want := long(300_000)
	s := seal(t, r, run, "", want)
	data, err := json.Marshal(s.e)
	if err != nil || len(data) > 1000 {
		t.Fatalf("the event has %d bytes, %v", len(data), err)
	}
	if len(blobs) != 1 {
		t.Fatalf("%d blobs are kept", len(blobs))
	}
	for _, raw := range blobs {
		if strings.Contains(string(raw), canary) {
			t.Error("the blob holds plain text")
		}
	}
	got, key, err := r.Open(t.Context(), s.env, s.e)
	if err != nil || key != s.key || !cmp.Equal(got, events.Event(want)) {
		t.Errorf("opened with key %s: %v, %s", key, err, cmp.Diff(got, events.Event(want)))
	}
	s.env.Stream = other
	if _, _, err := r.Open(t.Context(), s.env, s.e); err == nil {
		t.Error("it opens in another stream")
	}
}

func TestWhatFitsStaysInTheEvent(t *testing.T) {
	t.Parallel()
	blobs := shelf{}
	r := open(t, &memory.Store{}, keys.Options{Blobs: blobs})
	for _, n := range []int{100, 20_000, 48_000} {
		seal(t, r, run, "", long(n))
	}
	if len(blobs) != 0 {
		t.Errorf("%d blobs are kept", len(blobs))
	}
}

func TestAValueAboveItsLimitIsRefused(t *testing.T) {
	t.Parallel()
	blobs := shelf{}
	r := open(t, &memory.Store{}, keys.Options{Blobs: blobs, ValueLimit: 100_000})
	if _, _, _, err := r.Seal(t.Context(), run, "", long(99_000)); err != nil {
		t.Errorf("below it: %v", err)
	}
	if _, _, _, err := r.Seal(t.Context(), run, "", long(110_000)); !errors.Is(err, keys.ErrTooLarge) {
		t.Errorf("above it: %v", err)
	}
	plain := long(90_000)
	plain.Definition.Description = strings.Repeat("x", 70_000)
	if e := seal(t, r, run, "", plain).e; len(e.(events.RunStarted).Inputs["large"]) < 90_000 {
		t.Error("a value was taken out of an event that is too large all the same")
	}
	if len(blobs) != 1 {
		t.Errorf("what is refused leaves %d blobs behind", len(blobs)-1)
	}
}

func TestAnErasedValueNeedsNoBlobAndAMissingBlobIsNoErasure(t *testing.T) {
	t.Parallel()
	blobs := shelf{}
	r := open(t, &memory.Store{}, keys.Options{Blobs: blobs})
	s := seal(t, r, run, "", long(300_000))
	clear(blobs)
	if _, _, err := r.Open(t.Context(), s.env, s.e); !errors.Is(err, blob.ErrMissing) {
		t.Errorf("without its blob: %v", err)
	}
	if err := r.Destroy(t.Context(), order, s.key); err != nil {
		t.Fatal(err)
	}
	got, _, err := r.Open(t.Context(), s.env, s.e)
	if err != nil || len(got.(events.RunStarted).Inputs) != 0 {
		t.Errorf("erased: %v, %v", got, err)
	}
}
