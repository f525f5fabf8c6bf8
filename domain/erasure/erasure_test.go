package erasure_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/erasure"
	"github.com/hishamos/hishamos/events"
)

var (
	order  = commands.ErasureOrder(domain.DefaultTenant, commands.EraseRun, "run_1")
	asked  = commands.OrderErasure{Order: order, Subject: commands.EraseRun, ID: "run_1", Keys: []string{"b-2.1", "b-1.1", "b-2.1"}, Reason: "asked to"}
	orders = events.ErasureOrdered{Subject: "run", ID: "run_1", Keys: []string{"b-1.1", "b-2.1"}, Reason: "asked to"}
)

func TestAThingIsOrderedToBeErasedOnce(t *testing.T) {
	t.Parallel()
	d := domaintest.For(t, erasure.Decider)
	d.Given().When(asked).Then(orders)
	d.Given(orders).When(asked).ThenNothing()
	d.Given(orders, events.ErasureCompleted{}).When(asked).ThenNothing()
}

func TestAnErasureIsCompletedOnceAndOnlyAfterItWasOrdered(t *testing.T) {
	t.Parallel()
	d := domaintest.For(t, erasure.Decider)
	d.Given().When(commands.CompleteErasure{Order: order}).ThenError(erasure.ErrNotOrdered)
	d.Given(orders).When(commands.CompleteErasure{Order: order}).Then(events.ErasureCompleted{})
	d.Given(orders, events.ErasureCompleted{}).When(commands.CompleteErasure{Order: order}).ThenNothing()
}

func TestTheSystemItselfCannotBeErased(t *testing.T) {
	t.Parallel()
	c := asked
	c.Subject, c.ID = commands.EraseTenant, string(domain.SystemTenant)
	domaintest.For(t, erasure.Decider).Given().When(c).ThenError(erasure.ErrSystem)
}

func TestLaws(t *testing.T) {
	t.Parallel()
	domaintest.Laws(t, domaintest.Model[erasure.State, commands.Erasure, events.Erasure]{
		Decider: erasure.Decider,
		Next: func(t *rapid.T, _ erasure.State) commands.Erasure {
			if rapid.Bool().Draw(t, "order") {
				return asked
			}
			return commands.CompleteErasure{Order: order}
		},
		Control: func(s erasure.State) any {
			keys, ok := s.Ordered()
			return []any{keys, ok, s.Completed()}
		},
		Ended: erasure.State.Completed,
	})
}
