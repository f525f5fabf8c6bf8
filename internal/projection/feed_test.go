package projection_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/projection/memory"
	"github.com/hishamos/hishamos/internal/projection/postgres"
	"github.com/hishamos/hishamos/internal/projection/projectiontest"
)

func TestAFormerOwnerCannotWrite(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	s := k.stream()
	zombie := k.feedOf(s)
	owner := k.feedOf(s)
	k.publish(s, issued("one"))
	if _, err := zombie.Step(t.Context()); !errors.Is(err, projection.ErrFenced) {
		t.Errorf("zombie's step: %v, want %v", err, projection.ErrFenced)
	}
	k.step(owner)
	if got := k.tally(); got != 1 {
		t.Errorf("tally is %d, want 1", got)
	}
}

func TestACrashBeforeTheCommitLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	rows := memory.New()
	k := newKit(t, 1, rows)
	s := k.stream()
	f := k.feedOf(s)
	k.publish(s, issued("one"), rotated("two"))
	crash := errors.New("crash")
	rows.Faults = func(projection.Changes) error { return crash }
	if _, err := f.Step(t.Context()); !errors.Is(err, crash) {
		t.Fatalf("step: %v", err)
	}
	if _, there := k.row(s); there {
		t.Error("a row was written without its checkpoint")
	}
	rows.Faults = nil
	k.step(k.feedOf(s))
	if got := k.tally(); got != 2 {
		t.Errorf("tally is %d, want 2", got)
	}
	k.rebuiltIsLive()
}

// forgetful is a database that acknowledges a commit and loses it in a crash,
// which commits that do not wait for the disk allow.
type forgetful struct {
	projection.Store
	lose bool
}

func (f *forgetful) Commit(ctx context.Context, c projection.Changes) error {
	if f.lose {
		f.lose = false
		return nil
	}
	return f.Store.Commit(ctx, c)
}

func TestACommitThatTheDatabaseLostIsNoticedBeforeTheNext(t *testing.T) {
	t.Parallel()
	stores := map[string]func(t *testing.T) projection.Store{
		"memory": func(*testing.T) projection.Store { return memory.New() },
		"postgres": func(t *testing.T) projection.Store {
			_, pool := tables(t)
			return postgres.New(pgtest.AsWriter(t, pool))
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows := &forgetful{Store: open(t)}
			k := newKit(t, 1, rows)
			s := k.stream()
			f := k.feedOf(s)
			k.publish(s, issued("one"))
			k.step(f)
			k.publish(s, rotated("two"))
			rows.lose = true
			k.step(f)
			if err := k.runner.SaveMarks(t.Context()); err != nil {
				t.Fatal(err)
			}
			k.publish(s, rotated("three"))
			if _, err := f.Step(t.Context()); !errors.Is(err, projection.ErrFenced) {
				t.Errorf("the step after the loss: %v, want %v", err, projection.ErrFenced)
			}
			projectiontest.Settle(t, k.feedOf(s))
			if got := k.tally(); got != 3 {
				t.Errorf("tally is %d, want 3", got)
			}
			k.rebuiltIsLive()
		})
	}
}

func TestAHoleIsFilledFromTheStoreInOrder(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	s := k.stream()
	f := k.feedOf(s)
	k.publish(s, issued("one"))
	k.step(f)
	k.world.Skip(k.append(s, rotated("lost"))...)
	k.publish(s, rotated("three"))
	k.step(f)
	if got, _ := k.row(s); !slices.Equal(got.Secrets, []string{"one", "lost", "three"}) {
		t.Errorf("secrets are %v", got.Secrets)
	}
}

func TestWhatTheLogNoLongerHasComesFromTheStore(t *testing.T) {
	t.Parallel()
	k := newKit(t, 2, nil)
	s := k.stream()
	k.publish(s, issued("one"), rotated("two"))
	p := log.Partition{Topic: "hishamos.token.events", ID: log.PartitionOf(string(s), 2)}
	if err := k.world.Log.Trim(t.Context(), p, 2); err != nil {
		t.Fatal(err)
	}
	k.feedOf(s)
	if got, _ := k.row(s); len(got.Secrets) != 2 {
		t.Errorf("secrets are %v", got.Secrets)
	}
}

func TestANewEpochIsResumedByPosition(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	s := k.stream()
	f := k.feedOf(s)
	for range 5 {
		k.publish(k.stream(), issued("other"))
	}
	k.publish(s, issued("one"))
	k.step(f)
	// The refilled log has fewer records, and ends where the old offset points.
	all, err := k.events.ReadAll(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	k.world.Refill(t)
	k.world.Publish(t, all[1:]...)
	k.publish(s, rotated("two"))
	projectiontest.Settle(t, k.feedOf(s))
	if got, _ := k.row(s); !slices.Equal(got.Secrets, []string{"one", "two"}) {
		t.Errorf("secrets are %v", got.Secrets)
	}
	k.rebuiltIsLive()
}

func TestALogThatWasFilledAgainInItsEpochIsResumedByPosition(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	s := k.stream()
	f := k.feedOf(s)
	records := k.append(s, issued("one"))
	k.world.Publish(t, records...)
	k.world.Publish(t, records...) // by a relay that was revived
	k.step(f)
	// The records come once now, and the log ends where the old offset points.
	records = append(records, k.append(s, rotated("two"))...)
	k.world.Refill(t)
	k.world.Epoch--
	k.world.Publish(t, records...)
	projectiontest.Settle(t, k.feedOf(s))
	if got, _ := k.row(s); !slices.Equal(got.Secrets, []string{"one", "two"}) {
		t.Errorf("secrets are %v", got.Secrets)
	}
	k.rebuiltIsLive()
}

func TestALongLogIsNotReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	s := k.stream()
	k.publish(s, issued("one"))
	for range 3000 {
		k.publish(s, rotated("more"))
	}
	if err := k.runner.Rebuild(t.Context(), "secrets"); err != nil {
		t.Fatal(err)
	}
	f := k.feedOf(s) // its offset is not known
	read := 0
	for n := 1; n > 0; {
		n = k.step(f)
		read += n
	}
	if read > 600 {
		t.Errorf("%d records were read again", read)
	}
}

func TestAnEventNewerThanTheBuildPausesItsPartitionOnly(t *testing.T) {
	t.Parallel()
	k := newKit(t, 2, nil)
	s := k.stream()
	other := s
	for log.PartitionOf(string(other), 2) == log.PartitionOf(string(s), 2) {
		other = k.stream()
	}
	feeds := k.feeds()
	records := k.append(s, issued("one"), rotated("from the future"), rotated("three"))
	records[1].Type = "token.teleported"
	k.world.Publish(t, records...)
	k.publish(other, issued("one"))
	projectiontest.Settle(t, feeds...)
	if got, _ := k.row(s); len(got.Secrets) != 1 {
		t.Errorf("secrets are %v: what came before must be applied, what comes after must not", got.Secrets)
	}
	if _, there := k.row(other); !there {
		t.Error("the other partition stands still too")
	}
	paused := feeds[log.PartitionOf(string(s), 2)]
	if err := paused.Paused(); !errors.Is(err, events.ErrUnknownType) {
		t.Errorf("paused: %v", err)
	}
	st := k.status()
	if !st.Degraded || len(st.Parked) != 0 || st.Position != records[0].Position {
		t.Errorf("status: degraded %t, parked %v, position %d", st.Degraded, st.Parked, st.Position)
	}
}

func TestAPoisonEventParksItsStreamAndRequeueReplaysItInOrder(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	bad, good := k.stream(), k.stream()
	f := k.feedOf(bad)
	k.publish(bad, issued("one"), rotated(poison))
	k.publish(good, issued("one"))
	k.step(f)
	k.publish(bad, rotated("three"))
	k.publish(good, rotated("two"))
	k.step(f)
	if got, _ := k.row(bad); !slices.Equal(got.Secrets, []string{"one"}) {
		t.Errorf("the poison left %v behind", got.Secrets)
	}
	if got, _ := k.row(good); len(got.Secrets) != 2 {
		t.Errorf("the other stream stands at %v", got.Secrets)
	}
	if got := k.tally(); got != 3 {
		t.Errorf("tally is %d, want 3: nothing of the poison event may count", got)
	}
	st := k.status()
	if !st.Degraded || len(st.Parked) != 1 || st.Parked[0].Stream != bad || st.Parked[0].Sequence != 2 {
		t.Errorf("status: %+v", st)
	}
	// A successor knows of it too.
	f = k.feedOf(bad)
	k.publish(bad, rotated("four"))
	k.step(f)

	if err := k.runner.Requeue(t.Context(), "secrets", good); !errors.Is(err, projection.ErrNotParked) {
		t.Errorf("requeue of a healthy stream: %v", err)
	}
	requeue := func() int {
		if err := k.runner.Requeue(t.Context(), "secrets", bad); err != nil {
			t.Fatal(err)
		}
		n, err := f.Requeue(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := requeue(); n != 0 {
		t.Errorf("%d streams mended while the cause lasts", n)
	}
	k.mended.Store(true)
	if n := requeue(); n != 1 {
		t.Errorf("%d streams mended, want 1", n)
	}
	k.publish(bad, rotated("five"))
	k.step(f)
	if got, _ := k.row(bad); !slices.Equal(got.Secrets, []string{"one", poison, "three", "four", "five"}) {
		t.Errorf("secrets are %v", got.Secrets)
	}
	if st := k.status(); st.Degraded {
		t.Errorf("still degraded: %+v", st)
	}
	k.rebuiltIsLive()
}

func TestAPanicOfAHandlerIsPoison(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	bad := k.stream()
	f := k.feedOf(bad)
	k.publish(bad, events.TokenRevoked{})
	k.step(f)
	if st := k.status(); len(st.Parked) != 1 {
		t.Errorf("status: %+v", st)
	}
}

func TestADamagedRecordOnTheLogIsReadFromTheStore(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	s := k.stream()
	f := k.feedOf(s)
	m := log.Encode(log.Published{Record: k.append(s, issued("one"))[0], Epoch: 1}, 1)
	m.Headers = m.Headers[:3]
	if err := k.world.Log.Publish(t.Context(), []log.Message{m}); err != nil {
		t.Fatal(err)
	}
	k.step(f)
	if _, there := k.row(s); !there {
		t.Error("the event was not applied")
	}
}

func TestARowOfTwoStreamsIsRefused(t *testing.T) {
	t.Parallel()
	k := newKit(t, 1, nil)
	k.def.Handlers[0] = projection.On(func(w *projection.Rows, r events.Recorded[events.TokenIssued]) {
		row, _ := secrets.Get(w, secret{Token: "shared"})
		row.Token = "shared"
		secrets.Put(w, row)
	})
	f := k.feedOf(k.stream())
	k.publish(k.stream(), issued("one"))
	k.step(f)
	k.publish(k.stream(), issued("two"))
	k.step(f)
	if st := k.status(); len(st.Parked) != 1 {
		t.Errorf("status: %+v", st)
	}
}

func TestTheMarkOfAnIdlePartitionFollowsTheRelay(t *testing.T) {
	t.Parallel()
	k := newKit(t, 4, nil)
	feeds := k.feeds()
	s := k.stream()
	last := k.publish(s, issued("one"))
	for range 149 { // more than one step takes
		last = k.publish(s, rotated("more"))
	}
	position := func() domain.Position {
		p, err := k.runner.Position(t.Context(), "secrets")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	// The mark is promised while the busy partition has not been read.
	if err := k.runner.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range feeds {
		k.step(f)
	}
	if p := position(); p != 100 {
		t.Errorf("position is %d, want 100: what is behind it is not applied", p)
	}
	projectiontest.Settle(t, feeds...)
	if p := position(); p != last {
		t.Errorf("position is %d, want %d", p, last)
	}
	// Other processes see it once it is saved.
	other := k.world.Runner(t, k.rows, 0, k.def)
	if err := k.runner.SaveMarks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, err := other.Position(t.Context(), "secrets"); err != nil || p != last {
		t.Errorf("another process sees %d, %v", p, err)
	}
}

func TestWaitForEndsWhenThePositionIsReachedOrTheTimeIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, 2, nil)
		feeds := k.feeds()
		s := k.stream()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		mine := log.Partition{Topic: "hishamos.token.events", ID: log.PartitionOf(string(s), 2)}
		waited := make(chan error, 1)
		go func() { waited <- k.runner.WaitFor(ctx, "secrets", 1, mine) }()
		synctest.Wait()
		k.publish(s, issued("one"))
		projectiontest.Settle(t, feeds...)
		if err := <-waited; err != nil {
			t.Errorf("wait for the stream's partition: %v", err)
		}
		// The idle partition was not swept, so the projection as a whole is behind.
		if err := k.runner.WaitFor(ctx, "secrets", 1); !errors.Is(err, projection.ErrWaited) {
			t.Errorf("wait for all: %v", err)
		}
	})
}

func TestALiveBuildIsReplacedWhileItMoves(t *testing.T) {
	t.Parallel()
	stores := map[string]func(*testing.T) projection.Store{
		"memory": func(*testing.T) projection.Store { return nil },
		"postgres": func(t *testing.T) projection.Store {
			_, pool := tables(t)
			return postgres.New(pgtest.AsWriter(t, pool))
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replaceWhileMoving(newKit(t, 2, open(t)))
		})
	}
}

func replaceWhileMoving(k *kit) {
	t := k.T
	t.Helper()
	feeds := k.feeds()
	a, b := k.stream(), k.stream()
	k.publish(a, issued("one"))
	k.publish(b, issued("one"), rotated("two"))
	projectiontest.Settle(t, feeds...)
	before := k.build()
	if err := k.runner.Rebuild(t.Context(), "secrets"); err != nil {
		t.Fatal(err)
	}
	if after := k.build(); after == before {
		t.Fatal("the build was not replaced")
	}
	k.publish(a, rotated("two"))
	fenced := 0
	for _, f := range feeds {
		if _, err := f.Step(t.Context()); errors.Is(err, projection.ErrFenced) {
			fenced++
		}
	}
	if fenced != 1 {
		t.Errorf("%d feeds of the old build were refused, want 1", fenced)
	}
	projectiontest.Settle(t, k.feeds()...)
	if got := k.tally(); got != 4 {
		t.Errorf("tally is %d, want 4", got)
	}
	k.rebuiltIsLive()
}

func TestOtherNumbersOfPartitionsLeadToARebuild(t *testing.T) {
	t.Parallel()
	k := newKit(t, 2, nil)
	k.publish(k.stream(), issued("one"))
	projectiontest.Settle(t, k.feeds()...)
	k.world.Partitions = 3
	k.world.Refill(t)
	before := k.build()
	if err := k.runner.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.build() == before {
		t.Error("the old checkpoints are still in use")
	}
	projectiontest.Settle(t, k.feeds()...)
	if got := k.tally(); got != 1 {
		t.Errorf("tally is %d, want 1", got)
	}
}
