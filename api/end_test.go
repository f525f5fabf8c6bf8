package api_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/apitest"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

// hasty cancels every run right after its start.
type hasty struct{ commands.Dispatcher }

func (h hasty) Do(ctx context.Context, r commands.Request) (commands.Receipt, error) {
	receipt, err := h.Dispatcher.Do(ctx, r)
	if c, ok := r.Command.(commands.StartRun); ok && err == nil && !receipt.Replayed {
		_, err = h.Dispatcher.Do(ctx, commands.Request{
			ID: "cancel:" + r.ID, Principal: domain.SystemPrincipal(c.Run.Tenant(), "test"),
			Command: commands.CancelRun{Run: c.Run, Reason: "too slow"},
		})
	}
	return receipt, err
}

const untilEnded = "wait=30, hishamos-after=ended"

func TestAnAnswerMayWaitForTheEndOfTheRun(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) { o.Dispatcher = hasty{o.Dispatcher} })
	f.want(f.call("POST", "/api/v1/workflows", apitest.Own), http.StatusCreated, "")
	for _, call := range []string{"the first time", "as a repetition"} {
		a := f.call("POST", "/api/v1/workflows/own/runs", `{}`, "Prefer", untilEnded, "Idempotency-Key", "k")
		f.want(a, http.StatusCreated, "")
		got := decode[v1.Started](t, a)
		if got.Ended == nil || got.Ended.State != v1.RunCancelled || got.Ended.Reason != "too slow" {
			t.Errorf("%s: %s", call, a.body)
		}
		if a.Header.Get("Preference-Applied") != "hishamos-after=ended" {
			t.Errorf("%s: it is not said that the preference was honoured", call)
		}
	}
}

func TestARunThatDoesNotEndInTimeGoesOn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.want(f.call("POST", "/api/v1/workflows", apitest.Own), http.StatusCreated, "")
	a := f.call("POST", "/api/v1/workflows/own/runs", `{}`, "Prefer", "wait=0, hishamos-after=ended")
	f.want(a, http.StatusCreated, "")
	got := decode[v1.Started](t, a)
	if got.Ended != nil || a.Header.Get("Preference-Applied") != "" {
		t.Errorf("answer: %s", a.body)
	}
	run := decode[v1.Run](t, f.call("GET", "/api/v1/runs/"+got.ID, ""))
	if run.State != v1.RunRunning {
		t.Errorf("the run is %s", run.State)
	}
}
