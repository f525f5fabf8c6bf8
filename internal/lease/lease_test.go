package lease_test

import (
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/lease"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func run(tenant, id string) domain.StreamID {
	return domain.NamedStreamID(domain.Tenant(tenant), "run", id)
}

func work(s domain.StreamID, path string, attempt, priority int) domain.Work {
	return domain.Work{Stream: s, Path: domain.StepPath(path), Attempt: attempt, Priority: priority}
}

func newBoard() (*lease.Board, *clock) {
	c := &clock{time.Unix(1000, 0)}
	return lease.NewBoard(c), c
}

func paths(ls []lease.Lease) string {
	out := ""
	for _, l := range ls {
		out += string(l.Path)
	}
	return out
}

func TestTheHigherPriorityIsClaimedFirstAndThenTheOlder(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	b.Reconcile(run("default", "1"), []domain.Work{work(run("default", "1"), "a", 1, 0)})
	b.Reconcile(run("default", "2"), []domain.Work{work(run("default", "2"), "b", 1, 5)})
	b.Reconcile(run("default", "3"), []domain.Work{work(run("default", "3"), "c", 1, 0)})
	if got := paths(b.Claim("w", 9, 0)); got != "bac" {
		t.Errorf("claimed in order %q, want bac", got)
	}
}

func TestTenantsOfEqualPriorityTakeTurns(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	for _, id := range []string{"1", "2", "3"} {
		b.Reconcile(run("greedy", id), []domain.Work{work(run("greedy", id), "g", 1, 0)})
	}
	b.Reconcile(run("modest", "1"), []domain.Work{work(run("modest", "1"), "m", 1, 0)})
	if got := paths(b.Claim("w", 2, 0)); got != "gm" {
		t.Errorf("claimed %q, want gm", got)
	}
}

func TestReconcilingTwiceOffersOnce(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	s := run("default", "1")
	for range 2 {
		b.Reconcile(s, []domain.Work{work(s, "a", 1, 0)})
	}
	if got := paths(b.Claim("w", 9, 0)); got != "a" {
		t.Errorf("claimed %q, want a", got)
	}
	b.Reconcile(s, []domain.Work{work(s, "a", 1, 0)})
	if got := b.Claim("w", 9, 0); got != nil {
		t.Errorf("leased work was offered again: %v", got)
	}
}

func TestWorkThatIsNoLongerOpenIsWithdrawnFromItsHolder(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	s := run("default", "1")
	b.Reconcile(s, []domain.Work{work(s, "a", 1, 0)})
	l := b.Claim("w", 1, 0)[0]
	b.Reconcile(s, nil)
	select {
	case <-l.Withdrawn:
	default:
		t.Error("the holder was not told to stop")
	}
	if o, h := b.Counts(); o+h != 0 {
		t.Errorf("board still holds %d offered and %d leased", o, h)
	}
}

func TestADroppedHoldersWorkIsOfferedAgainOnlyAsALaterAttempt(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	s := run("default", "1")
	b.Reconcile(s, []domain.Work{work(s, "a", 1, 0)})
	b.Claim("dead", 1, 0)
	lapsed := b.Drop("dead")
	if len(lapsed) != 1 || lapsed[0] != (lease.Lapsed{Stream: s, Path: "a", Attempt: 1, Holder: "dead"}) {
		t.Fatalf("lapsed %v", lapsed)
	}
	b.Reconcile(s, []domain.Work{work(s, "a", 1, 0)})
	if got := b.Claim("w", 1, 0); got != nil {
		t.Errorf("attempt 1 was given out twice: %v", got)
	}
	b.Reconcile(s, []domain.Work{work(s, "a", 2, 0)})
	if got := b.Claim("w", 1, 0); len(got) != 1 || got[0].Attempt != 2 {
		t.Errorf("claimed %v, want attempt 2", got)
	}
}

func TestALeaseExpiresUnlessItIsExtended(t *testing.T) {
	t.Parallel()
	b, c := newBoard()
	s := run("default", "1")
	b.Reconcile(s, []domain.Work{work(s, "a", 1, 0), work(s, "b", 1, 0)})
	b.Claim("kept", 1, time.Second)
	b.Claim("silent", 1, time.Second)
	c.now = c.now.Add(900 * time.Millisecond)
	b.Extend("kept", time.Second)
	c.now = c.now.Add(200 * time.Millisecond)
	if got := b.Expire(); len(got) != 1 || got[0].Holder != "silent" {
		t.Errorf("expired %v, want only silent's", got)
	}
}

func TestAWaitingWorkerIsToldOfAnOffer(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	offered := b.Offered()
	s := run("default", "1")
	b.Reconcile(s, []domain.Work{work(s, "a", 1, 0)})
	select {
	case <-offered:
	default:
		t.Error("nobody was told")
	}
}

func TestForgettingAPartitionWithdrawsItsWorkOnly(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	mine, other := run("default", "1"), run("default", "2")
	b.Reconcile(mine, []domain.Work{work(mine, "a", 1, 0)})
	b.Reconcile(other, []domain.Work{work(other, "b", 1, 0)})
	b.Forget(func(s domain.StreamID) bool { return s == mine })
	if got := paths(b.Claim("w", 9, 0)); got != "b" {
		t.Errorf("claimed %q, want b", got)
	}
}

func TestAnAtMostOnceEffectThatWasBegunElsewhereIsNotOfferedAgain(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	s := run("default", "1")
	once, keyed := work(s, "once", 1, 0), work(s, "keyed", 1, 0)
	once.Effect, once.Begun = domain.AtMostOnce, true
	keyed.Effect, keyed.Begun = domain.Keyed, true
	b.Reconcile(s, []domain.Work{once, keyed})
	if got := paths(b.Claim("w", 9, 0)); got != "keyed" {
		t.Errorf("claimed %q, want only what its key protects", got)
	}
}
