package reaction_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/reaction"
)

func TestARunnerHandlesWhatComesAndGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	came := make(chan events.Recorded[events.Event])
	stop := b.run(0, true, collect(came, nil))
	b.append(6)
	for range 6 {
		<-came
	}
	b.saved.until(t, lastOf(6))
	stop()
	b.append(3)
	b.run(0, false, collect(came, nil))
	for range 3 {
		if e := <-came; e.Position <= 6 {
			t.Errorf("position %d was handled again after a clean stop", e.Position)
		}
	}
}

func TestTheExpressLaneLeadsEachEventToItsPartitionOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	came, beside := make(chan events.Recorded[events.Event]), make(chan events.Recorded[events.Event])
	other := collect(beside, nil)
	other.Name = "beside"
	b.run(0, true, collect(came, nil), other)
	b.append(6)
	for range 6 {
		<-came
		<-beside
	}
	const more = 6
	b.write(more) // Kafka has none of it yet
	fresh, err := b.store.ReadAll(t.Context(), more, 2*more)
	if err != nil {
		t.Fatal(err)
	}
	b.runner.Express(fresh)
	for range more {
		<-came
		<-beside
	}
	b.publish()
	b.append(1)
	for _, c := range []chan events.Recorded[events.Event]{came, beside} {
		if e := <-c; e.Position != 2*more+1 {
			t.Errorf("position %d was handled again when Kafka brought it", e.Position)
		}
	}
}

// Not parallel: it counts what the process allocates.
func TestTheExpressLaneSortsACommitOnceForAllReactions(t *testing.T) {
	b := newBench(t)
	b.write(100)
	fresh, err := b.store.ReadAll(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	allocs := func(reactions int) float64 {
		rs := make([]reaction.Reaction, reactions)
		for i := range rs {
			rs[i] = collect(nil, nil)
			rs[i].Name = fmt.Sprintf("collect-%d", i)
		}
		runner, err := reaction.NewRunner(t.Context(), b.options(0, true), rs...)
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(20, func() { runner.Express(fresh) })
	}
	if one, ten := allocs(1), allocs(10); ten >= 2*one {
		t.Errorf("%v allocations for ten reactions, %v for one", ten, one)
	}
}

func TestANewReactionSeesNothingOfTheHistoryBeforeIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.append(10_000)
	head, err := b.store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan events.Recorded[events.Event])
	b.run(head.Position, true, collect(came, nil))
	b.append(1)
	if e := <-came; e.Position != head.Position+1 {
		t.Errorf("the first event handled is at %d, want %d", e.Position, head.Position+1)
	}
}

func TestLostResumePointsLeadToTheHeadAndToRecovery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.append(50)
	came, recovered := make(chan events.Recorded[events.Event]), make(chan bool, 10)
	r := collect(came, nil)
	r.Recover = func(_ context.Context, owned func(domain.StreamID) bool) error {
		recovered <- owned(token(0)) || owned(token(1)) || owned(token(2))
		return nil
	}
	b.run(0, false, r) // deployed at 0 long ago, no resume point is left
	if !<-recovered {
		t.Error("recovery was not asked for the partitions that were taken")
	}
	b.append(1)
	if e := <-came; e.Position != 51 {
		t.Errorf("the first event handled is at %d, want 51: history was reacted to again", e.Position)
	}
}

func TestALogThatEndsAtTheResumePointWithOtherRecordsIsReadAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p := log.Partition{Topic: "hishamos.token.events", ID: log.PartitionOf(string(token(0)), partitions)}
	for range 3 {
		b.append(1)
	}
	// Before the log was lost and filled again, the first event was there three times.
	if err := b.resumes.Save(t.Context(), "collect", p, reaction.Resume{Position: 1, Epoch: 1, Offset: 3}); err != nil {
		t.Fatal(err)
	}
	came := make(chan events.Recorded[events.Event])
	b.run(0, false, collect(came, nil))
	for want := domain.Position(2); want <= 3; want++ {
		if e := <-came; e.Position != want {
			t.Errorf("the event at %d is handled, want %d", e.Position, want)
		}
	}
}

func TestWhatAFailedRecoveryFoundIsForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	did := make(chan string, 10)
	r := collect(nil, nil)
	failed := false
	r.Recover = func(_ context.Context, owned func(domain.StreamID) bool) error {
		did <- fmt.Sprint("recover ", owned(token(0)))
		if !failed {
			failed = true
			return errors.New("planned")
		}
		return nil
	}
	r.Forget = func(owned func(domain.StreamID) bool) { did <- fmt.Sprint("forget ", owned(token(0))) }
	b.run(0, true, r)
	for _, want := range []string{"recover true", "forget true", "recover true"} {
		if got := <-did; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}

func TestWhoHasLostItsLocksSavesNoResumePoint(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.save = time.Hour // but at the end
	came, took := make(chan events.Recorded[events.Event], 1), make(chan struct{}, 10)
	r := collect(came, nil)
	r.Recover = func(context.Context, func(domain.StreamID) bool) error { took <- struct{}{}; return nil }
	b.append(1) // so that there is a topic
	stop := b.run(1, true, r)
	<-took
	for range 2 { // when the second event of a stream comes, the first is done
		b.append(1)
		<-came
	}
	b.locks.lose()
	<-took // those who had them have ended
	b.saved.mu.Lock()
	furthest := slices.Max(slices.Collect(maps.Values(b.saved.at)))
	b.saved.mu.Unlock()
	if furthest > 1 { // where it began
		t.Fatalf("%d was saved over the resume point of the next owner", furthest)
	}
	for range 2 {
		<-came // again, because it was not saved
	}
	stop()
	b.saved.until(t, lastOf(1))
}

func TestAPassingFailureIsTriedUntilItPassesAndADefiniteOneIsBuried(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var mu sync.Mutex
	tries := 0
	came := make(chan events.Recorded[events.Event])
	b.run(0, true, collect(came, func(e events.Recorded[events.Event]) error {
		mu.Lock()
		defer mu.Unlock()
		switch e.Stream {
		case token(0):
			if tries++; tries < 10 { // more often than it is tried at once
				return &domain.Error{Kind: domain.Unavailable, Code: "x", Message: "down"}
			}
		case token(1):
			return errors.New("cannot ever work")
		}
		return nil
	}))
	b.append(3)
	handled := map[domain.StreamID]bool{}
	for range 2 {
		handled[(<-came).Stream] = true
	}
	if !handled[token(0)] || !handled[token(2)] {
		t.Errorf("handled %v, want the passing failure and the one behind", handled)
	}
	dead := <-b.graves.came
	if dead.Metadata.Get("ce_stream") != string(token(1)) || dead.Metadata.Get("cause") == "" {
		t.Errorf("buried %v", dead.Metadata)
	}
}

func TestOfEventsHandledTogetherEachFailsForItselfAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	came := make(chan events.Recorded[events.Event])
	r := collect(came, func(e events.Recorded[events.Event]) error {
		switch e.Stream {
		case token(1):
			return errors.New("cannot ever work")
		case token(3):
			panic("a fault of the program")
		}
		return nil
	})
	r.Together = 100
	b.append(8) // before anybody reads: each partition's events are ready at once
	b.run(0, true, r)
	handled := map[domain.StreamID]int{}
	for range 6 {
		handled[(<-came).Stream]++
	}
	buried := map[string]string{}
	for range 2 {
		m := <-b.graves.came
		buried[m.Metadata.Get("ce_stream")] = string(m.Payload)
	}
	for i := range 8 {
		fails := i == 1 || i == 3
		if _, dead := buried[string(token(i))]; dead != fails || (handled[token(i)] == 1) == fails {
			t.Errorf("token %d: handled %d times, buried %v", i, handled[token(i)], dead)
		}
	}
	if want := `{"secret_hash":"x"}`; buried[string(token(1))] != want {
		t.Errorf("buried %s, want the data as it is stored, %s", buried[string(token(1))], want)
	}
	b.saved.until(t, lastOf(8))
}

func TestWhenTheLocksAreLostThePartitionsAreTakenAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	came, took := make(chan events.Recorded[events.Event]), make(chan struct{}, 10)
	r := collect(came, nil)
	r.Recover = func(context.Context, func(domain.StreamID) bool) error { took <- struct{}{}; return nil }
	b.run(0, true, r)
	<-took
	b.append(1)
	<-came
	b.locks.lose()
	<-took
	b.append(1)
	for e := <-came; e.Position != 2; e = <-came { // the first may come again: at least once
	}
}

func TestTwoRunnersShareThePartitionsAndNoEventGoesToBoth(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	came := make(chan events.Recorded[events.Event])
	stop := b.run(0, true, collect(came, nil))
	b.run(0, false, collect(came, nil))
	b.append(20)
	seen := map[domain.Position]int{}
	for range 20 {
		seen[(<-came).Position]++
	}
	b.saved.until(t, lastOf(20)) // else what was handled and not saved may come again
	stop()                       // the other takes over
	b.append(5)
	for len(seen) < 25 {
		seen[(<-came).Position]++
	}
	for p, n := range seen {
		if n != 1 {
			t.Errorf("position %d was handled %d times", p, n)
		}
	}
}
