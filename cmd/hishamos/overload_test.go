package main

import (
	"context"
	"flag"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

// overloadFor is how long the overload lasts. Short, the test looks at the shape
// of what happens; for figures:
//
//	go test ./cmd/hishamos -run Overload -overload=60s -v
var overloadFor = flag.Duration("overload", 4*time.Second, "how long the overload test overloads")

const (
	modestTenants = 19
	tenfold       = 10
	// memoryCap is what the process may grow by, whatever is sent.
	memoryCap = 512 << 20
)

// load sends commands of several tenants and counts what becomes of them.
type load struct {
	*process
	tenants []domain.Tenant
	done    []atomic.Int64 // by tenant
	shed    atomic.Int64
	wrong   sync.Map // codes that no overload explains
}

func (l *load) send(i int) {
	tenant := l.tenants[i]
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := l.dispatcher.Do(ctx, commands.Request{
		ID: domain.CommandID(uuid.NewString()), Command: startDrill(domain.NewStreamID(tenant, "run_"+uuid.Must(uuid.NewV7()).String())),
		Principal: domain.Principal{Tenant: tenant, Chain: []domain.Actor{{ID: "load", Kind: domain.Human}}, Permissions: []domain.Permission{domain.RunStart}},
	})
	switch kind := domain.KindOf(err); {
	case err == nil:
		l.done[i].Add(1)
	case kind == domain.Exhausted || kind == domain.Unavailable: // 429, 503
		l.shed.Add(1)
	default:
		l.wrong.Store(err.Error(), true)
	}
}

// closed has callers of every tenant send one after another.
func (l *load) closed(ctx context.Context, callers int) {
	var group sync.WaitGroup
	for i := range l.tenants {
		for range callers {
			group.Go(func() {
				for ctx.Err() == nil {
					l.send(i)
				}
			})
		}
	}
	group.Wait()
}

// paced has the modest tenants send at a rate each, and later when one takes
// longer than that.
func (l *load) paced(ctx context.Context, each float64) {
	const callers = 8
	var group sync.WaitGroup
	for i := 1; i < len(l.tenants); i++ {
		for range callers {
			group.Go(func() {
				tick := time.NewTicker(time.Duration(callers / each * float64(time.Second)))
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						l.send(i)
					case <-ctx.Done():
						return
					}
				}
			})
		}
	}
	group.Wait()
}

// flood sends commands of the greedy tenant at a rate, whatever becomes of them.
func (l *load) flood(ctx context.Context, rate float64) {
	const every = 5 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	began, sent := time.Now(), 0.0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for due := time.Since(began).Seconds() * rate; sent < due; sent++ {
			group.Go(func() { l.send(0) })
		}
	}
}

// count is what was done since the counts before, for the greedy tenant and for
// the others.
func (l *load) count(d time.Duration, run func(context.Context)) (greedy, others float64) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	before := make([]int64, len(l.done))
	for i := range l.done {
		before[i] = l.done[i].Load()
	}
	ended := make(chan struct{})
	go func() { defer close(ended); run(ctx) }()
	<-ctx.Done()
	for i := range l.done {
		n := float64(l.done[i].Load()-before[i]) / d.Seconds()
		if i == 0 {
			greedy = n
		} else {
			others += n
		}
	}
	<-ended
	return greedy, others
}

// memory is what the Go runtime holds of the system's.
func memory() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// It is not parallel: it measures.
func TestAnOverloadByOneTenantIsShedAndTheOthersAreServed(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds of all cores")
	}
	p := newDrill(t, "HISHAMOS_QUEUE_LIMIT=1024", "HISHAMOS_MIN_FREE_DISK=0MB", "HISHAMOS_TENANT_QUEUE_SHARE=25").start()
	l := &load{process: p, done: make([]atomic.Int64, 1+modestTenants)}
	for range cap(l.done) {
		l.tenants = append(l.tenants, domain.Tenant("t_"+uuid.Must(uuid.NewV7()).String()))
	}
	part := max(2*time.Second, *overloadFor/4)
	l.count(time.Second, func(ctx context.Context) { l.closed(ctx, 8) }) // warms up
	greedy, others := l.count(part, func(ctx context.Context) { l.closed(ctx, 8) })
	peak := greedy + others
	each := peak / 2 / modestTenants
	_, calm := l.count(part, func(ctx context.Context) { l.paced(ctx, each) })
	if n := l.shed.Load(); n > 0 {
		t.Errorf("%d commands were shed before there was an overload", n)
	}

	var most atomic.Uint64
	before := memory()
	watch, stop := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for wait(watch, 20*time.Millisecond) {
			most.Store(max(most.Load(), memory()))
		}
	}()
	served := make([]int64, len(l.done))
	for i := range l.done {
		served[i] = l.done[i].Load()
	}
	greedy, others = l.count(*overloadFor, func(ctx context.Context) {
		var both sync.WaitGroup
		both.Go(func() { l.paced(ctx, each) })
		both.Go(func() { l.flood(ctx, tenfold*peak) })
		both.Wait()
	})
	stop()
	<-watched
	grown := int64(most.Load()) - int64(before)
	t.Logf("peak %.0f/s; overload of %.0f/s by one of %d tenants: goodput %.0f/s = %.0f %% of peak; the others %.0f/s of %.0f/s = %.0f %%; shed %d; memory %+d MB to %d MB",
		peak, tenfold*peak, len(l.tenants), greedy+others, 100*(greedy+others)/peak, others, calm, 100*others/calm, l.shed.Load(), grown>>20, most.Load()>>20)

	l.wrong.Range(func(what, _ any) bool { t.Errorf("neither 429 nor 503: %v", what); return true })
	for i := range l.done {
		if l.done[i].Load() == served[i] {
			t.Errorf("tenant %d was not served", i)
		}
	}
	if l.shed.Load() == 0 {
		t.Error("nothing was shed: this was no overload")
	}
	if grown > memoryCap {
		t.Errorf("memory grew by %d MB, the cap is %d MB", grown>>20, memoryCap>>20)
	}
	// Half of what they are for: the machine of a test has other work to do.
	if goodput := greedy + others; goodput < 0.4*peak || others < 0.4*calm {
		t.Errorf("goodput fell to %.0f/s of %.0f/s, the others' to %.0f/s of %.0f/s", goodput, peak, others, calm)
	}
	l.calmAgain(t)
}

// calmAgain makes sure that nothing of an overload stays.
func (l *load) calmAgain(t *testing.T) {
	t.Helper()
	began, shed := time.Now(), l.shed.Load()
	for i := range l.tenants {
		l.send(i)
	}
	if d := time.Since(began); d > 10*time.Second || l.shed.Load() > shed {
		t.Errorf("after the overload one command of each tenant took %v, %d of them shed", d, l.shed.Load()-shed)
	}
	if s := l.store.Stats(); s.Waiting > 0 {
		t.Errorf("%d appends still wait", s.Waiting)
	}
}
