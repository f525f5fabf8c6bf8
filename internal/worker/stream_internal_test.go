package worker

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/lease"
)

// flushes counts how often what was written is sent.
type flushes struct {
	*httptest.ResponseRecorder
	n int
}

func (f *flushes) Flush() { f.n++ }

func TestAHolderIsToldOfWithdrawnWorkUnlessItHasReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &flushes{ResponseRecorder: httptest.NewRecorder()}
		out := newStream(w)
		var leases []lease.Lease
		var withdraw []chan struct{}
		for _, path := range []domain.StepPath{"reported", "open"} {
			c := make(chan struct{})
			withdraw = append(withdraw, c)
			leases = append(leases, lease.Lease{Work: domain.Work{Stream: "default/run/run_1", Path: path, Attempt: 1}, Withdrawn: c})
		}
		if err := out.give(t.Context(), leases); err != nil {
			t.Fatal(err)
		}
		if w.n != 1 {
			t.Errorf("two leases went out in %d pieces", w.n)
		}
		if !out.settle(attempt{"default/run/run_1", "reported", 1}) {
			t.Error("a lease that was given is not known")
		}
		for _, c := range withdraw {
			close(c)
		}
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		if len(lines) != 3 || !strings.Contains(lines[2], `"withdrawn":{"stream":"default/run/run_1","path":"open"`) {
			t.Errorf("the holder was told\n%s", w.Body)
		}
		if len(out.given) != 0 {
			t.Errorf("%d leases are still thought to be given", len(out.given))
		}
	})
}
