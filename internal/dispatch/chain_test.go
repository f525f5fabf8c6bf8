package dispatch_test

import (
	"context"
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

// copying is a decider whose next event says what it was decided on: the secret
// hash that was issued.
var copying = domain.Decider[string, commands.Token, events.Token]{
	Kind:    "token",
	Initial: func() string { return "" },
	Evolve: func(s string, e events.Token) string {
		if issued, ok := e.(events.TokenIssued); ok {
			return issued.SecretHash
		}
		return s
	},
	Decide: func(s string, c commands.Token, _ time.Time) ([]events.Token, error) {
		if c, ok := c.(commands.IssueToken); ok {
			if s != "" {
				return nil, errIssued
			}
			return []events.Token{events.TokenIssued{SecretHash: c.SecretHash}}, nil
		}
		return []events.Token{events.TokenRotated{SecretHash: s}}, nil
	},
}

// overtaken lets another process append just before the first append of this one
// arrives, and keeps the answer to that one back.
type overtaken struct {
	*memory.Store
	other     func()
	once      sync.Once
	submitted chan struct{}
	answer    chan struct{}
}

type late struct {
	eventstore.Pending
	answer chan struct{}
}

func (l late) Wait() (eventstore.Receipt, error) {
	<-l.answer
	return l.Pending.Wait()
}

func (s *overtaken) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	p := eventstore.Pending(nil)
	s.once.Do(func() {
		s.other()
		p = late{s.Store.Submit(ctx, a), s.answer}
	})
	if p == nil {
		p = s.Store.Submit(ctx, a)
	}
	s.submitted <- struct{}{}
	return p
}

// Another process has written as many events as the append that failed, so the
// version is the one that the next decision expected.
func TestWhatWasDecidedOnAnAppendThatFailedIsDecidedAgain(t *testing.T) {
	t.Parallel()
	t.Run("whatever the version", func(t *testing.T) { t.Parallel(); decideOnAFailure(t, nil) })
	one := domain.Sequence(1)
	t.Run("at a version that still holds", func(t *testing.T) { t.Parallel(); decideOnAFailure(t, &one) })
}

func decideOnAFailure(t *testing.T, expected *domain.Sequence) {
	const ours, theirs = hash, "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	issueOf := func(id, secret string) commands.Request {
		r := issue(id)
		r.Command = commands.IssueToken{Token: token, SecretHash: secret}
		return r
	}
	store := &overtaken{Store: memory.New(memory.Options{}), submitted: make(chan struct{}, 10), answer: make(chan struct{})}
	store.other = func() {
		other := dispatch.New(store.Store, dispatch.Options{}, dispatch.For(copying))
		if _, err := other.Do(t.Context(), issueOf("theirs", theirs)); err != nil {
			t.Error(err)
		}
	}
	d := dispatch.New(store, dispatch.Options{}, dispatch.For(copying))
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := d.Do(t.Context(), issueOf("ours", ours)); first <- err }()
	<-store.submitted
	next := rotate("next")
	next.Expected = expected
	go func() { _, err := d.Do(t.Context(), next); second <- err }()
	<-store.submitted // decided on what the first would have led to
	close(store.answer)
	if err := <-first; domain.KindOf(err) != domain.Conflict {
		t.Errorf("the first, when another had issued the token: %v", err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	records, err := store.ReadStream(t.Context(), token, 0, 10)
	if err != nil || len(records) != 2 {
		t.Fatalf("%d events, %v", len(records), err)
	}
	e, err := records[1].Decode()
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Event.(events.TokenRotated).SecretHash; got != theirs {
		t.Errorf("the second was decided on %s, which was never issued", got)
	}
}
