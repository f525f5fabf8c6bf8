package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hishamos/hishamos/internal/checker"
)

// report is what a run of TestChaos did and found.
type report struct {
	Seed      uint64          `json:"seed"`
	Wanted    int             `json:"kills_wanted"`
	Kills     int             `json:"kills"`
	Before    int             `json:"acknowledged_before_the_first_fault"`
	Planned   map[string]int  `json:"faults_planned"`   // by kind: roles, servers, marks
	Confirmed map[string]int  `json:"faults_confirmed"` // of them
	Hit       int             `json:"failpoints_hit"`
	KilledAt  map[string]int  `json:"killed_at_failpoints"`
	Missed    []string        `json:"failpoints_missed"`
	Recovery  []float64       `json:"recovery_seconds"` // from the last kill of a step to the end of a fresh run
	Judgement *checker.Report `json:"judgement"`
	OK        bool            `json:"ok"`

	last time.Time // of the last kill
}

func newReport(seed uint64, wanted int) *report {
	return &report{Seed: seed, Wanted: wanted, Planned: map[string]int{}, Confirmed: map[string]int{}}
}

// planned notes a fault, and whether it was seen to happen.
func (r *report) planned(kind string, happened bool) {
	r.Planned[kind]++
	if happened {
		r.Confirmed[kind]++
		r.Kills++
		r.last = time.Now()
	}
}

// confirmed is the share of planned faults that happened.
func (r *report) confirmed() float64 {
	planned, confirmed := 0, 0
	for kind, n := range r.Planned {
		planned += n
		confirmed += r.Confirmed[kind]
	}
	return float64(confirmed) / float64(max(1, planned))
}

func (r *report) recovered(after time.Duration) {
	r.Recovery = append(r.Recovery, float64(after.Milliseconds())/1000)
}

// quantile of the recovery times, in seconds.
func (r *report) quantile(q float64) float64 {
	if len(r.Recovery) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Recovery))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func (r *report) json() []byte {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil { // it holds numbers and text only
		panic(err)
	}
	return append(b, '\n')
}

func (r *report) String() string {
	var b strings.Builder
	verdict := "FAILED"
	if r.OK {
		verdict = "ok"
	}
	fmt.Fprintf(&b, "verdict          %s (seed %d)\n", verdict, r.Seed)
	fmt.Fprintf(&b, "kills            %d of %d wanted, %.0f %% of the planned faults seen to happen\n", r.Kills, r.Wanted, 100*r.confirmed())
	fmt.Fprintf(&b, "failpoints       %d come by, killed at %d of them\n", r.Hit, len(r.KilledAt))
	fmt.Fprintf(&b, "works again      p50 %.1f s, p99 %.1f s after the last kill of a step\n", r.quantile(0.5), r.quantile(0.99))
	fmt.Fprintf(&b, "before faults    %d commands acknowledged\n", r.Before)
	if r.Judgement != nil {
		fmt.Fprintf(&b, "judgement        %s\n", r.Judgement)
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Planned)) {
		fmt.Fprintf(&b, "  %-28s %d of %d\n", kind, r.Confirmed[kind], r.Planned[kind])
	}
	return b.String()
}
