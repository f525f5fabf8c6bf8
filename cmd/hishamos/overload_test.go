package main

import (
	"testing"
	"time"

	"github.com/hishamos/hishamos/internal/bench"
)

// memoryCap is what the process may grow by, whatever is sent.
const memoryCap = 512e6

// Short, it looks at the shape of what happens; the figures are those of
// `hishamos bench overload`. It is not parallel: it measures.
func TestAnOverloadByOneTenantIsShedAndTheOthersAreServed(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds of all cores")
	}
	p := newDrill(t, crowdSettings...).start()
	var f flooding
	// The tests of another package may begin between the measure and the flood, and
	// take half of the machine away; not every time, if the gate holds.
	const floods = 3
	for flood := 1; ; flood++ {
		f = flooding{Crowd: bench.NewCrowd(modestTenants, onBehalf(p.dispatcher, startDrill)), say: t.Logf}
		values, err := f.run(t.Context(), 4*time.Second, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(values)
		if values["shed"] == 0 {
			t.Error("nothing was shed: this was no overload")
		}
		if n := values["others_shed"]; n > 0 {
			t.Errorf("%.0f runs of tenants that send no more than before were shed", n)
		}
		if grown := values["memory_grown_mb"] * 1e6; grown > memoryCap {
			t.Errorf("memory grew by %.0f bytes, the cap is %.0f", grown, memoryCap)
		}
		// Half of what they are for: the machine of a test has other work to do.
		peak, goodput := values["peak_per_second"], values["goodput_per_second"]
		calm, others := values["others_calm_per_second"], values["others_per_second"]
		if goodput >= 0.4*peak && others >= 0.4*calm {
			break
		}
		if flood == floods {
			t.Fatalf("goodput fell to %.0f/s of %.0f/s, the others' to %.0f/s of %.0f/s, and so each time before", goodput, peak, others, calm)
		}
	}

	// Nothing of it stays.
	before, began := f.Done(), time.Now()
	f.All(t.Context())
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("after the overload one command of each tenant took %v", d)
	}
	for i, n := range f.Done().Less(before) {
		if n != 1 {
			t.Errorf("after the overload tenant %d is not served: %v", i, f.Wrong())
		}
	}
	if s := p.store.Stats(); s.Waiting > 0 {
		t.Errorf("%d appends still wait", s.Waiting)
	}
}
