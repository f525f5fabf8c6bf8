package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/workflow"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
)

// gated is a store whose appends wait until they are let go.
type gated struct {
	eventstore.Store
	mu    sync.Mutex
	order []domain.Tenant
	begun chan domain.Tenant
	let   chan struct{}
}

func gate() *gated {
	return &gated{Store: memory.New(memory.Options{}), begun: make(chan domain.Tenant, 1000), let: make(chan struct{})}
}

func (h *gated) Submit(ctx context.Context, a eventstore.Append) eventstore.Pending {
	h.mu.Lock()
	h.order = append(h.order, a.Tenant)
	h.mu.Unlock()
	h.begun <- a.Tenant
	if !a.Urgent {
		<-h.let
	}
	return h.Store.Submit(ctx, a)
}

func request(t domain.Tenant, name string) commands.Request {
	d := domain.Definition{ID: name, Version: 1, Title: name, Steps: []domain.Step{{ID: "one", Kind: domain.NoopStep}}}
	return commands.Request{
		ID:        domain.CommandID(uuid.NewString()),
		Principal: domain.Principal{Tenant: t, Chain: []domain.Actor{{ID: "a", Kind: domain.Human}}, Permissions: []domain.Permission{domain.AllPermissions}},
		Command:   commands.CreateWorkflow{Workflow: domain.NamedStreamID(t, "workflow", name), Definition: d},
	}
}

func TestTenantsAreLetInByTurnsAndNoneTakesMoreThanItsShare(t *testing.T) {
	t.Parallel()
	store := gate()
	d := dispatch.New(store, dispatch.Options{Limits: dispatch.Limits{Working: 1, Waiting: 12, TenantWaiting: 8}}, dispatch.For(workflow.Decider))
	results := make(chan error, 100)
	send := func(tenant domain.Tenant, name string) {
		go func() { _, err := d.Do(t.Context(), request(tenant, name)); results <- err }()
	}
	send("t_greedy", "first")
	<-store.begun // it works; all others wait
	for i := range 9 {
		send("t_greedy", fmt.Sprint("g", i))
	}
	if err := <-results; !errors.Is(err, dispatch.ErrTenantWaiting) || domain.KindOf(err) != domain.Exhausted {
		t.Fatalf("the ninth that waits: %v", err)
	}
	for i := range 5 {
		send(domain.Tenant(fmt.Sprint("t_modest", i)), "m")
	}
	if err := <-results; !errors.Is(err, eventstore.ErrBusy) || domain.KindOf(err) != domain.Unavailable {
		t.Fatalf("the thirteenth that waits: %v", err)
	}
	close(store.let)
	for range 13 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	modest := 0
	for _, tenant := range store.order[1:9] { // they wait for one of the greedy one's each, not for eight
		if strings.HasPrefix(string(tenant), "t_modest") {
			modest++
		}
	}
	if modest != 4 {
		t.Errorf("%d of 4 were served among the first 8: %v", modest, store.order)
	}
}

func TestAWaitingCommandThatIsGivenUpLeavesItsPlace(t *testing.T) {
	t.Parallel()
	store := gate()
	d := dispatch.New(store, dispatch.Options{Limits: dispatch.Limits{Working: 1, Waiting: 1}}, dispatch.For(workflow.Decider))
	results := make(chan error, 10)
	go func() { _, err := d.Do(t.Context(), request("t_a", "first")); results <- err }()
	<-store.begun
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { _, err := d.Do(ctx, request("t_a", fmt.Sprint(i))); gone <- err }()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	go func() { _, err := d.Do(t.Context(), request("t_b", "last")); results <- err }()
	close(store.let)
	for range 2 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
}

func TestRatesBoundATenantAndAStreamEach(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.Options{})
	d := dispatch.New(store, dispatch.Options{Limits: dispatch.Limits{TenantRate: 1}}, dispatch.For(workflow.Decider))
	do := func(d *dispatch.Dispatcher, r commands.Request) error { _, err := d.Do(t.Context(), r); return err }
	if err := do(d, request("t_a", "one")); err != nil {
		t.Fatal(err)
	}
	if err := do(d, request("t_a", "two")); !errors.Is(err, dispatch.ErrTenantRate) || domain.KindOf(err) != domain.Exhausted {
		t.Errorf("the second in a second: %v", err)
	}
	if err := do(d, request("t_b", "one")); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	own := request("t_a", "three")
	own.Principal = domain.SystemPrincipal(domain.SystemTenant, "test")
	if err := do(d, own); err != nil {
		t.Errorf("the program itself: %v", err)
	}

	d = dispatch.New(memory.New(memory.Options{}), dispatch.Options{Limits: dispatch.Limits{StreamRate: 1}}, dispatch.For(workflow.Decider))
	if err := do(d, request("t_a", "one")); err != nil {
		t.Fatal(err)
	}
	if err := do(d, request("t_a", "one")); !errors.Is(err, dispatch.ErrStreamRate) {
		t.Errorf("the second for a stream in a second: %v", err)
	}
	if err := do(d, request("t_a", "two")); err != nil {
		t.Errorf("another stream: %v", err)
	}
}
