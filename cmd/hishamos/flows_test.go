package main

import (
	"errors"
	"testing"

	v1 "github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

func TestAWorkflowIsReadOnceInAnEditionOfTheReadModel(t *testing.T) {
	t.Parallel()
	f, reads := newFlows(), 0
	get := func(tenant domain.Tenant, edition uint64) v1.Workflow {
		w, err := f.get(flowKey{tenant, "mine", 0}, edition, func() (v1.Workflow, error) {
			reads++
			return v1.Workflow{ID: "mine", Version: reads}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for _, c := range []struct {
		tenant  domain.Tenant
		edition uint64
		want    int
	}{{"a", 1, 1}, {"a", 1, 1}, {"a", 2, 2}, {"b", 2, 3}, {"a", 2, 2}, {"a", 1, 4}} {
		if w := get(c.tenant, c.edition); w.Version != c.want {
			t.Errorf("tenant %s, edition %d: answer %d, want %d", c.tenant, c.edition, w.Version, c.want)
		}
	}
	away := errors.New("away")
	if _, err := f.get(flowKey{"a", "other", 0}, 1, func() (v1.Workflow, error) { return v1.Workflow{}, away }); !errors.Is(err, away) {
		t.Errorf("a failure: %v", err)
	}
	for i := range 3 * flowLimit {
		if _, err := f.get(flowKey{"a", "many", i}, 1, func() (v1.Workflow, error) { return v1.Workflow{}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.known) > flowLimit {
		t.Errorf("%d are kept", len(f.known))
	}
}
