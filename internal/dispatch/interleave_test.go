package dispatch_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
)

// following is a decider whose every event names the state it was decided on and
// the command that asked: a token's hash is of the hash before and of the
// command's. One command in three leads to two events, one in five is refused.
var following = domain.Decider[string, commands.Token, events.Token]{
	Kind:    "token",
	Initial: func() string { return "" },
	Evolve:  func(_ string, e events.Token) string { return e.(events.TokenRotated).SecretHash },
	Decide: func(s string, c commands.Token, _ time.Time) ([]events.Token, error) {
		asked := c.(commands.RotateToken).SecretHash
		if s != "" && digit(asked)%5 == 0 {
			return nil, errFollowing.With("%s", s)
		}
		out := []events.Token{events.TokenRotated{SecretHash: after(s, asked)}}
		if digit(asked)%3 == 0 {
			out = append(out, events.TokenRotated{SecretHash: after(after(s, asked), asked)})
		}
		return out, nil
	},
}

var errFollowing = &domain.Error{Kind: domain.Conflict, Code: "token.refused"}

func after(state, asked string) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(state+asked)))
}

func digit(hash string) int { return int(hash[len(hash)-1]) }

// slowly is the store of one process: what is submitted waits, in order, for the
// test to carry it out and then to answer it.
type slowly struct {
	*memory.Store
	waiting, done []*step
}

type step struct {
	carryOut func() (eventstore.Receipt, error)
	receipt  eventstore.Receipt
	err      error
	answered chan struct{}
}

func (s *step) Wait() (eventstore.Receipt, error) {
	<-s.answered
	return s.receipt, s.err
}

func (s *slowly) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	p := &step{answered: make(chan struct{}), carryOut: func() (eventstore.Receipt, error) { return s.Store.Submit(ctx, a).Wait() }}
	s.waiting = append(s.waiting, p)
	return p
}

// The faults of carrying one append out.
const (
	committed = iota
	refused   // and not written
	lost      // nobody knows whether it was written; it was not
	unknown   // the same; it was
)

func (s *slowly) carryOut(fault int) bool {
	if len(s.waiting) == 0 {
		return false
	}
	p := s.waiting[0]
	s.waiting = s.waiting[1:]
	if fault == committed || fault == unknown {
		p.receipt, p.err = p.carryOut()
	}
	switch {
	case fault == refused:
		p.err = eventstore.ErrBusy
	case fault == lost, fault == unknown && p.err == nil:
		p.receipt, p.err = eventstore.Receipt{}, eventstore.ErrUnknown
	}
	s.done = append(s.done, p)
	return true
}

func (s *slowly) answer() bool {
	if len(s.done) == 0 {
		return false
	}
	close(s.done[0].answered)
	s.done = s.done[1:]
	return true
}

// outcome is what a caller was told of a command, and how long the stream was when
// they asked.
type outcome struct {
	id   domain.CommandID
	from int
	err  error
}

// Two processes decide at the same time, on what has not committed, while appends
// fail. Every event on the log must have been decided on the events before it, and
// every refusal on a state that was while its caller waited.
func TestWhateverIsDecidedIsDecidedOnTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(2000) {
			interleave(t, seed)
			if t.Failed() {
				t.Fatalf("with the seed %d", seed)
			}
		}
	})
}

func interleave(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	log := memory.New(memory.Options{})
	var stores []*slowly
	var processes []*dispatch.Dispatcher
	for range 2 {
		s := &slowly{Store: log}
		stores = append(stores, s)
		processes = append(processes, dispatch.New(s, dispatch.Options{}, dispatch.For(following)))
	}
	asked := make(map[domain.CommandID]string)
	var ids []domain.CommandID
	outcomes := make(chan outcome, 100)
	for range 40 {
		i := rnd.IntN(2)
		switch n := rnd.IntN(10); {
		case n < 4:
			id := domain.CommandID(fmt.Sprint(len(ids)))
			if len(ids) > 0 && rnd.IntN(7) == 0 { // by a caller who was not answered
				id = ids[rnd.IntN(len(ids))]
			} else {
				ids, asked[id] = append(ids, id), after(fmt.Sprint(seed), string(id))
			}
			r := commands.Request{ID: id, Principal: operator, Command: commands.RotateToken{Token: token, SecretHash: asked[id]}}
			from := versions(t, log)
			go func() {
				_, err := processes[i].Do(t.Context(), r)
				outcomes <- outcome{id, from, err}
			}()
		case n < 8:
			stores[i].carryOut([]int{committed, committed, committed, committed, refused, lost, unknown}[rnd.IntN(7)])
		default:
			stores[i].answer()
		}
		synctest.Wait()
	}
	for moved := true; moved; synctest.Wait() {
		moved = false
		for _, s := range stores {
			moved = s.carryOut(committed) || moved
			moved = s.answer() || moved
		}
	}
	close(outcomes)
	check(t, log, asked, outcomes)
}

// check holds the log against what was asked and what was told.
func check(t *testing.T, log *memory.Store, asked map[domain.CommandID]string, outcomes <-chan outcome) {
	records, err := log.ReadStream(t.Context(), token, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	state := ""
	led, written := map[string]int{"": 0}, map[domain.CommandID]bool{}
	for _, r := range records {
		if r.Index == 0 && written[r.Command] {
			t.Errorf("command %s was carried out twice", r.Command)
		}
		written[r.Command] = true
		e, err := r.Decode()
		if err != nil {
			t.Fatal(err)
		}
		want := after(state, asked[r.Command])
		if state = e.Event.(events.TokenRotated).SecretHash; state != want {
			t.Errorf("event %d was decided on a state that the events before it do not lead to", r.Sequence)
		}
		led[state] = int(r.Sequence)
	}
	for o := range outcomes {
		var no *domain.Error
		switch {
		case o.err == nil && !written[o.id]:
			t.Errorf("command %s was told it was carried out", o.id)
		case errors.As(o.err, &no) && no.Code == errFollowing.Code && written[o.id]:
			t.Errorf("command %s was carried out, and then refused", o.id)
		case errors.As(o.err, &no) && no.Code == errFollowing.Code:
			if at, was := led[no.Message]; !was || at < o.from {
				t.Errorf("command %s was refused for a state that never was, or was before: %d, of %d when it was asked", o.id, at, o.from)
			}
		}
	}
}
