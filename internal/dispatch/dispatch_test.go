package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
)

// rotations is a decider small enough to see through: a token that counts how
// often it was rotated.
var rotations = domain.Decider[int, commands.Token, events.Token]{
	Kind:    "token",
	Initial: func() int { return 0 },
	Evolve:  func(n int, _ events.Token) int { return n + 1 },
	Decide: func(n int, c commands.Token, _ time.Time) ([]events.Token, error) {
		switch c.(type) {
		case commands.IssueToken:
			if n > 0 {
				return nil, errIssued
			}
			return []events.Token{events.TokenIssued{}}, nil
		case commands.RotateToken:
			return []events.Token{events.TokenRotated{}}, nil
		case commands.RevokeToken:
			return nil, nil
		}
		return nil, nil
	},
}

var errIssued = &domain.Error{Kind: domain.Conflict, Code: "token.issued", Message: "issued already"}

const hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

var (
	token    = domain.NamedStreamID(domain.DefaultTenant, "token", "t")
	operator = domain.Principal{
		Tenant: domain.DefaultTenant, Chain: []domain.Actor{{Kind: domain.Operator, ID: "op"}},
		Permissions: []domain.Permission{domain.AllPermissions},
	}
)

func issue(id string) commands.Request {
	return commands.Request{ID: domain.CommandID(id), Principal: operator, Command: commands.IssueToken{Token: token, SecretHash: hash}}
}

func rotate(id string) commands.Request {
	return commands.Request{ID: domain.CommandID(id), Principal: operator, Command: commands.RotateToken{Token: token, SecretHash: hash}}
}

func newDispatcher(o memory.Options) (*dispatch.Dispatcher, *memory.Store) {
	store := memory.New(o)
	return dispatch.New(store, dispatch.Options{}, dispatch.For(rotations)), store
}

func versions(t *testing.T, store *memory.Store) int {
	t.Helper()
	records, err := store.ReadStream(t.Context(), token, 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return len(records)
}

func TestARepeatedCommandIsAnsweredAsTheFirstTimeEvenIfItWouldNowBeRefused(t *testing.T) {
	t.Parallel()
	d, store := newDispatcher(memory.Options{})
	first, err := d.Do(t.Context(), issue("a"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Do(t.Context(), issue("a"))
	if err != nil {
		t.Fatal(err)
	}
	first.Replayed = true
	if again != first {
		t.Errorf("repeated %+v, first %+v", again, first)
	}
	if _, err := d.Do(t.Context(), issue("b")); !errors.Is(err, errIssued) {
		t.Errorf("another id answered %v, want a refusal", err)
	}
	if n := versions(t, store); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestTheSameIdWithAnotherBodyIsRefused(t *testing.T) {
	t.Parallel()
	d, _ := newDispatcher(memory.Options{})
	r := issue("a")
	r.Body = []byte("one")
	if _, err := d.Do(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.Body = []byte("two")
	if _, err := d.Do(t.Context(), r); !errors.Is(err, eventstore.ErrBodyMismatch) {
		t.Errorf("answered %v, want a body mismatch", err)
	}
}

func TestAPrincipalWithoutThePermissionOrOfAnotherTenantChangesNothing(t *testing.T) {
	t.Parallel()
	d, store := newDispatcher(memory.Options{})
	r := issue("a")
	r.Principal.Permissions = []domain.Permission{domain.RunRead}
	if _, err := d.Do(t.Context(), r); domain.KindOf(err) != domain.Forbidden {
		t.Errorf("without the permission: %v", err)
	}
	r = issue("a")
	r.Principal.Tenant = "t_other"
	if _, err := d.Do(t.Context(), r); domain.KindOf(err) != domain.NotFound {
		t.Errorf("of another tenant: %v", err)
	}
	if n := versions(t, store); n != 0 {
		t.Errorf("%d events, want none", n)
	}
}

func TestAPinnedVersionIsRefusedOnceTheStreamHasMovedOn(t *testing.T) {
	t.Parallel()
	d, _ := newDispatcher(memory.Options{})
	if _, err := d.Do(t.Context(), issue("a")); err != nil {
		t.Fatal(err)
	}
	r, at := rotate("b"), domain.Sequence(1)
	r.Expected = &at
	if _, err := d.Do(t.Context(), r); err != nil {
		t.Fatalf("at its version: %v", err)
	}
	r.ID = "c"
	if _, err := d.Do(t.Context(), r); !errors.Is(err, dispatch.ErrStale) {
		t.Errorf("behind its version: %v", err)
	}
	r.ID = "b"
	if got, err := d.Do(t.Context(), r); err != nil || !got.Replayed {
		t.Errorf("the repetition of the first: %+v, %v", got, err)
	}
}

func TestConcurrentCommandsToOneStreamAllSucceedAndTakeSuccessiveVersions(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{})
	// Two dispatchers stand for two processes.
	ds := []*dispatch.Dispatcher{dispatch.New(store, dispatch.Options{}, dispatch.For(rotations)), dispatch.New(store, dispatch.Options{}, dispatch.For(rotations))}
	const callers, each = 16, 25
	seen := make([]map[domain.Sequence]bool, callers)
	var all sync.WaitGroup
	for c := range callers {
		seen[c] = make(map[domain.Sequence]bool)
		all.Go(func() {
			for i := range each {
				got, err := ds[c%2].Do(t.Context(), rotate(fmt.Sprintf("%d/%d", c, i)))
				if err != nil {
					t.Errorf("rotate: %v", err)
					return
				}
				seen[c][got.Version] = true
			}
		})
	}
	all.Wait()
	distinct := make(map[domain.Sequence]bool)
	for _, m := range seen {
		for v := range m {
			distinct[v] = true
		}
	}
	if len(distinct) != callers*each || versions(t, store) != callers*each {
		t.Errorf("%d distinct versions, %d events, want %d", len(distinct), versions(t, store), callers*each)
	}
}

func TestAfterAnUnknownOutcomeTheStateIsLoadedAgain(t *testing.T) {
	t.Parallel()
	cut := true
	d, store := newDispatcher(memory.Options{Faults: memory.Faults{AfterCommit: func(eventstore.Append) error {
		if cut {
			cut = false
			return eventstore.ErrUnknown
		}
		return nil
	}}})
	if _, err := d.Do(t.Context(), issue("a")); !errors.Is(err, eventstore.ErrUnknown) {
		t.Fatalf("cut commit answered %v", err)
	}
	got, err := d.Do(t.Context(), issue("a"))
	if err != nil || !got.Replayed || got.Version != 1 {
		t.Errorf("the same id settles it: %+v, %v", got, err)
	}
	if n := versions(t, store); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestARefusalThatRestsOnAnAppendThatFailedIsDecidedAgain(t *testing.T) {
	t.Parallel()
	slow := &slowStore{Store: memory.New(memory.Options{}), hold: make(chan struct{}), submitted: make(chan struct{}, 1)}
	d := dispatch.New(slow, dispatch.Options{}, dispatch.For(rotations))
	first := make(chan error, 1)
	go func() { _, err := d.Do(t.Context(), issue("doomed")); first <- err }()
	<-slow.submitted
	second := make(chan error, 1)
	go func() { _, err := d.Do(t.Context(), issue("b")); second <- err }()
	close(slow.hold) // the first append fails now
	if err := <-first; err == nil {
		t.Fatal("the doomed append succeeded")
	}
	if err := <-second; err != nil {
		t.Errorf("the second was refused because of an event that never was: %v", err)
	}
}

// slowStore fails its first append, when told to.
type slowStore struct {
	*memory.Store
	hold      chan struct{}
	submitted chan struct{}
	once      sync.Once
}

type held struct{ hold chan struct{} }

func (h held) Wait() (eventstore.Receipt, error) {
	<-h.hold
	return eventstore.Receipt{}, errors.New("disk on fire")
}

func (s *slowStore) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	first := false
	s.once.Do(func() { first = true })
	if first {
		s.submitted <- struct{}{}
		return held{s.hold}
	}
	return s.Store.Submit(ctx, a)
}

func TestObservingAStreamShowsCommittedStateAtOrAfterAVersion(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{})
	here := dispatch.New(store, dispatch.Options{}, dispatch.For(rotations))
	elsewhere := dispatch.New(store, dispatch.Options{}, dispatch.For(rotations))
	if _, err := here.Do(t.Context(), issue("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Do(t.Context(), rotate("b")); err != nil {
		t.Fatal(err)
	}
	identity := func(n int) int { return n }
	if n, v, err := dispatch.Observe(t.Context(), here, token, 1, identity); err != nil || n != 1 || v != 1 {
		t.Errorf("at 1: state %d, version %d, %v", n, v, err)
	}
	if n, v, err := dispatch.Observe(t.Context(), here, token, 2, identity); err != nil || n != 2 || v != 2 {
		t.Errorf("at 2: state %d, version %d, %v", n, v, err)
	}
}

func TestAStateInDoubtIsComparedWithTheStoreOnce(t *testing.T) {
	t.Parallel()
	store := &counted{Store: memory.New(memory.Options{})}
	here := dispatch.New(store, dispatch.Options{}, dispatch.For(rotations))
	elsewhere := dispatch.New(store.Store, dispatch.Options{}, dispatch.For(rotations))
	if _, err := here.Do(t.Context(), issue("a")); err != nil {
		t.Fatal(err)
	}
	observe := func(want, reads int) {
		t.Helper()
		before := store.reads
		n, _, err := dispatch.Observe(t.Context(), here, token, 1, func(n int) int { return n })
		if n != want || err != nil || store.reads-before != reads {
			t.Errorf("state %d, %v, with %d reads, want %d with %d", n, err, store.reads-before, want, reads)
		}
	}
	here.Doubt()
	observe(1, 1)
	observe(1, 0)
	if _, err := elsewhere.Do(t.Context(), rotate("b")); err != nil {
		t.Fatal(err)
	}
	observe(1, 0) // nobody asks for more
	here.Doubt()
	observe(2, 2) // there is news, so it is loaded
	observe(2, 0)
}

// counted counts the reads of streams.
type counted struct {
	eventstore.Store
	reads int
}

func (s *counted) ReadStream(ctx context.Context, id domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error) {
	s.reads++
	return s.Store.ReadStream(ctx, id, after, limit)
}

func TestIdleStreamsAreForgottenBeyondTheLimit(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{})
	d := dispatch.New(store, dispatch.Options{CacheStreams: 2}, dispatch.For(rotations))
	for i := range 10 {
		s := domain.NamedStreamID(domain.DefaultTenant, "token", fmt.Sprint(i))
		r := issue(fmt.Sprint(i))
		r.Command = commands.IssueToken{Token: s, SecretHash: hash}
		if _, err := d.Do(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.Cached(); n > 2 {
		t.Errorf("%d streams in memory, want at most 2", n)
	}
}

func TestClosedStreamsLeaveMemoryBeforeThoseThatGoOn(t *testing.T) {
	t.Parallel()
	ending := rotations
	ending.Decide = func(n int, c commands.Token, now time.Time) ([]events.Token, error) {
		if _, ends := c.(commands.RevokeToken); ends {
			return []events.Token{events.TokenRevoked{}}, nil
		}
		return rotations.Decide(n, c, now)
	}
	const limit, keep, open, closed = 32, 2, 10, 20
	store := &counted{Store: memory.New(memory.Options{})}
	id := func(i int) domain.StreamID {
		return domain.NamedStreamID(domain.DefaultTenant, "token", fmt.Sprint(i))
	}
	do := func(d *dispatch.Dispatcher, name string, i int, c commands.Token) {
		t.Helper()
		r := commands.Request{ID: domain.CommandID(fmt.Sprint(name, i)), Principal: operator, Command: c}
		if _, err := d.Do(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	d := dispatch.New(store, dispatch.Options{CacheStreams: limit}, dispatch.For(ending))
	for i := range open + closed {
		do(d, "issue", i, commands.IssueToken{Token: id(i), SecretHash: hash})
	}
	for i := range closed {
		do(d, "revoke", open+i, commands.RevokeToken{Token: id(open + i)})
	}
	if n := d.Cached(); n != open+keep {
		t.Errorf("%d streams in memory, want %d that go on and %d that are closed", n, open, keep)
	}
	before := store.reads
	for i := range open {
		do(d, "rotate", i, commands.RotateToken{Token: id(i), SecretHash: hash})
	}
	if n := store.reads - before; n != 0 {
		t.Errorf("%d streams that go on were read again", n)
	}

	other := dispatch.New(store, dispatch.Options{CacheStreams: limit}, dispatch.For(ending))
	for i := range open + closed {
		if _, _, err := dispatch.Observe(t.Context(), other, id(i), 1, func(n int) int { return n }); err != nil {
			t.Fatal(err)
		}
	}
	if n := other.Cached(); n != open+keep {
		t.Errorf("%d streams in the memory of who reads them, want %d that go on and %d that are closed", n, open, keep)
	}
}

// Two dispatchers are two processes: neither is told of the other's commits.
func TestWhatIsRefusedOrSatisfiedIsDecidedOnWhatOtherProcessesWrote(t *testing.T) {
	t.Parallel()
	errNone := &domain.Error{Kind: domain.NotFound, Code: "token.not_found", Message: "not found"}
	careful := rotations
	careful.Decide = func(n int, c commands.Token, now time.Time) ([]events.Token, error) {
		if _, rotates := c.(commands.RotateToken); rotates && n == 0 {
			return nil, errNone
		}
		return rotations.Decide(n, c, now)
	}
	store := memory.New(memory.Options{})
	one := dispatch.New(store, dispatch.Options{}, dispatch.For(careful))
	other := dispatch.New(store, dispatch.Options{}, dispatch.For(careful))
	if _, err := other.Do(t.Context(), rotate("early")); !errors.Is(err, errNone) {
		t.Fatalf("rotate what was not issued: %v", err)
	}
	if _, err := one.Do(t.Context(), issue("issue")); err != nil {
		t.Fatal(err)
	}
	if r, err := other.Do(t.Context(), rotate("rotate")); err != nil || r.Version != 2 {
		t.Fatalf("rotate after another process issued: %+v, %v", r, err)
	}
	satisfied := commands.Request{ID: "revoke", Principal: operator, Command: commands.RevokeToken{Token: token}}
	if r, err := one.Do(t.Context(), satisfied); err != nil || r.Version != 2 {
		t.Fatalf("satisfied at another version than the store's: %+v, %v", r, err)
	}
	if _, err := one.Do(t.Context(), rotate("again")); err != nil {
		t.Fatal(err)
	}
	n, version, err := dispatch.Observe(t.Context(), other, token, 0, func(n int) int { return n })
	if err != nil || version != 3 || n != 3 {
		t.Fatalf("observed %d at version %d, %v", n, version, err)
	}
}

// reads counts how often a stream is read.
type reads struct {
	*memory.Store
	n int
}

func (r *reads) ReadStream(ctx context.Context, s domain.StreamID, after domain.Sequence, limit int) ([]events.Record, error) {
	r.n++
	return r.Store.ReadStream(ctx, s, after, limit)
}

func TestAStreamWithAFreshIDIsNotReadAndOneThatIsThereAllTheSameIsRespected(t *testing.T) {
	t.Parallel()
	store := &reads{Store: memory.New(memory.Options{})}
	fresh := issue("a")
	fresh.Fresh = true
	if _, err := dispatch.New(store, dispatch.Options{}, dispatch.For(rotations)).Do(t.Context(), fresh); err != nil || store.n != 0 {
		t.Fatalf("%d reads, %v", store.n, err)
	}
	fresh.ID = "b"
	elsewhere := dispatch.New(store, dispatch.Options{}, dispatch.For(rotations)) // has not seen the stream
	if _, err := elsewhere.Do(t.Context(), fresh); !errors.Is(err, errIssued) {
		t.Errorf("answered %v, want the refusal of what is there", err)
	}
	if n := versions(t, store.Store); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestWhoWatchesIsToldOnceOfWhatHasCommitted(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{})
	var states []any
	told := 0
	d := dispatch.New(store, dispatch.Options{Watch: func(state any, decided []events.Event) func(time.Time, eventstore.Receipt) {
		states = append(states, state)
		return func(_ time.Time, r eventstore.Receipt) {
			if told += len(decided); int(r.Last) != told {
				t.Errorf("told of %d events, the receipt ends at %d", told, r.Last)
			}
		}
	}}, dispatch.For(rotations))
	for _, r := range []commands.Request{issue("a"), issue("a"), issue("b"), rotate("c"), rotate("c")} {
		if _, err := d.Do(t.Context(), r); err != nil && !errors.Is(err, errIssued) {
			t.Fatal(err)
		}
	}
	if n := versions(t, store); told != n || n != 2 {
		t.Errorf("told of %d events, %d have committed", told, n)
	}
	if len(states) < 2 || states[0] != 1 || states[1] != 2 {
		t.Errorf("states %v, want those that the events lead to", states)
	}
}
