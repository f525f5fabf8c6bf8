package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

func TestAListIsPagedWithItsFilters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.Models.Next = "after-this"
	const query = "/api/v1/runs?state=running,failed&workflow=w&since=2026-11-22T00:00:00Z&sort=started&limit=7"
	a := f.call("GET", query, "")
	f.want(a, http.StatusOK, "")
	page := decode[v1.RunList](t, a)
	if !strings.Contains(a.body, `"items":[]`) || page.Next == "" {
		t.Errorf("page = %s", a.body)
	}
	f.Models.Next = ""
	f.want(f.call("GET", query+"&cursor="+page.Next, ""), http.StatusOK, "")
	filter := api.RunFilter{States: []string{"running", "failed"}, Workflow: "w", Since: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), OldestTop: true}
	want := []any{filter, api.Page{Limit: 7}, filter, api.Page{Limit: 7, After: "after-this"}}
	if diff := cmp.Diff(want, f.Models.Asked); diff != "" {
		t.Error(diff)
	}
	for _, other := range []string{"/api/v1/runs?cursor=", "/api/v1/tasks?cursor=", "/api/v1/workflows?cursor="} {
		f.want(f.call("GET", other+page.Next, ""), http.StatusUnprocessableEntity, "request.invalid_field")
	}
}

func TestARunOfAnotherTenantIsNotThere(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.start().ID
	for _, path := range []string{"", "/events", "/stream", "?at=1"} {
		f.want(f.as(stranger, "GET", "/api/v1/runs/"+id+path, ""), http.StatusNotFound, "")
	}
	f.want(f.as(stranger, "POST", "/api/v1/runs/"+id+"/cancel", ""), http.StatusNotFound, "")
}

func TestARunCanBeReadAsItWas(t *testing.T) {
	t.Parallel()
	f := setup(t)
	r := f.start()
	f.want(f.call("POST", "/api/v1/runs/"+r.ID+"/cancel", ""), http.StatusOK, "")
	now := f.call("GET", "/api/v1/runs/"+r.ID, "")
	then := f.call("GET", "/api/v1/runs/"+r.ID+"?at="+r.Position.String(), "")
	if decode[v1.Run](t, now).State != "cancelled" || decode[v1.Run](t, then).State != "running" {
		t.Errorf("now %s\nthen %s", now.body, then.body)
	}
	if now.Header.Get("Etag") != `"3"` || then.Header.Get("Etag") != `"2"` {
		t.Errorf("ETags %s and %s", now.Header.Get("Etag"), then.Header.Get("Etag"))
	}
	recorded := decode[v1.Head](t, f.call("GET", "/api/v1/log/head", "")).Recorded
	east := time.FixedZone("", 3600)
	for _, at := range []string{recorded.Format(time.RFC3339Nano), recorded.In(east).Format(time.RFC3339Nano), strings.ReplaceAll(recorded.In(east).Format(time.RFC3339Nano), "+", "%2B")} {
		if got := decode[v1.Run](t, f.call("GET", "/api/v1/runs/"+r.ID+"?at="+at, "")); got.State != "cancelled" {
			t.Errorf("at %s it was %s", at, got.State)
		}
	}
	f.want(f.call("GET", "/api/v1/runs/"+r.ID+"?at="+r.Position.String(), "", "If-None-Match", `"2"`), http.StatusNotModified, "")
}

func TestAQueryWaitsForThePositionItIsGiven(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`)
	position := a.Header.Get("Hishamos-Position")
	read := f.call("GET", "/api/v1/runs", "", "Hishamos-Position", position)
	f.want(read, http.StatusOK, "")
	if got := read.Header.Get("Hishamos-Position"); got != position {
		t.Errorf("the answer reflects %s, want %s", got, position)
	}
	f.Waiter.Hold(true)
	late := f.call("GET", "/api/v1/runs", "", "Hishamos-Position", position)
	f.want(late, http.StatusServiceUnavailable, "position.not_reached")
	if late.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	f.want(f.call("GET", "/api/v1/runs", ""), http.StatusOK, "") // without it, nobody waits
}

func TestATimelineIsReadInPages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.start().ID
	first := decode[v1.EventList](t, f.call("GET", "/api/v1/runs/"+id+"/events?limit=1", ""))
	if len(first.Items) != 1 || first.Items[0].Type != "run.started" || !first.More || first.Next != 1 {
		t.Fatalf("first page %+v", first)
	}
	e := first.Items[0]
	if e.ID != "default/"+id+"/1" || e.Hash == "" || !json.Valid(e.Data) || !strings.Contains(string(e.Actor), "everything") {
		t.Errorf("event %+v", e)
	}
	rest := decode[v1.EventList](t, f.call("GET", "/api/v1/runs/"+id+"/events?after=1", ""))
	if len(rest.Items) != 1 || rest.Items[0].Sequence != 2 || rest.More {
		t.Errorf("rest %+v", rest)
	}
	if end := decode[v1.EventList](t, f.call("GET", "/api/v1/runs/"+id+"/events?after=2", "")); len(end.Items) != 0 || end.Next != 2 {
		t.Errorf("end %+v", end)
	}
	f.want(f.call("GET", "/api/v1/runs/run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a/events", ""), http.StatusNotFound, "not_found")
}

func TestTheLogShowsATenantItsOwnEvents(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.start()
	f.as(stranger, "POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`)
	mine := decode[v1.EventList](t, f.call("GET", "/api/v1/log?limit=1000", ""))
	for _, e := range mine.Items {
		if !strings.HasPrefix(e.Stream, "default/") {
			t.Errorf("event of %s", e.Stream)
		}
	}
	head := decode[v1.Head](t, f.call("GET", "/api/v1/log/head", ""))
	if mine.Next != head.Position || mine.More {
		t.Errorf("read to %d of %d", mine.Next, head.Position)
	}
	all := decode[v1.EventList](t, f.as(operator, "GET", "/api/v1/log?tenants=all&limit=1000", ""))
	if v1.Ordinal(len(all.Items)) != head.Position {
		t.Errorf("the operator reads %d of %d events", len(all.Items), head.Position)
	}
	own := decode[v1.EventList](t, f.as(operator, "GET", "/api/v1/log?limit=1000", ""))
	for _, e := range own.Items {
		if !strings.HasPrefix(e.Stream, "system/") {
			t.Errorf("the operator did not ask for the event of %s", e.Stream)
		}
	}
	for _, path := range []string{"/api/v1/log", "/api/v1/log/stream"} { // may do everything, but of another tenant
		f.want(f.call("GET", path+"?tenants=all", ""), http.StatusForbidden, "permission.missing")
	}
	// Paging with a filter finds the same, one by one.
	var runs []v1.Ordinal
	for after, more := v1.Ordinal(0), true; more; {
		page := decode[v1.EventList](t, f.call("GET", "/api/v1/log?limit=1&type=run&after="+after.String(), ""))
		for _, e := range page.Items {
			runs = append(runs, e.Position)
		}
		after, more = page.Next, page.More
	}
	var want []v1.Ordinal
	for _, e := range mine.Items {
		if strings.HasPrefix(e.Type, "run.") {
			want = append(want, e.Position)
		}
	}
	if diff := cmp.Diff(want, runs); diff != "" {
		t.Error(diff)
	}
}

func TestAgentsAreListedWithWhatTheyCanDo(t *testing.T) {
	t.Parallel()
	f := setup(t)
	list := decode[v1.AgentList](t, f.call("GET", "/api/v1/agents?capability=writing", ""))
	if len(list.Items) != 1 || list.Items[0].ID != "writer" || list.Items[0].Version != 3 || list.Items[0].Status == "" || list.Items[0].Configuration != nil {
		t.Errorf("list %+v", list)
	}
	if none := decode[v1.AgentList](t, f.call("GET", "/api/v1/agents?capability=flying", "")); len(none.Items) != 0 {
		t.Errorf("none %+v", none)
	}
	one := decode[v1.Agent](t, f.call("GET", "/api/v1/agents/writer", ""))
	if c := one.Configuration; c == nil || c.MaxTokens != 100 || c.BudgetAmount != 7 || len(c.Prompt) != 7 {
		t.Errorf("agent %+v", one)
	}
	f.want(f.call("GET", "/api/v1/agents/nobody", ""), http.StatusNotFound, "not_found")
}

func TestAnalyticsAreOfTheLast30DaysUnlessAsked(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) { o.Clock = fixed{} })
	for query, want := range map[string]string{"": "2026-10-24 2026-11-22", "?to=2026-01-30": "2026-01-01 2026-01-30", "?from=2026-11-20": "2026-11-20 2026-11-22"} {
		if got := decode[v1.WorkflowAnalytics](t, f.call("GET", "/api/v1/analytics/workflows"+query, "")); got.Items[0].Day != want {
			t.Errorf("%q: %s, want %s", query, got.Items[0].Day, want)
		}
	}
	if a := f.call("GET", "/api/v1/analytics/agents", ""); !strings.Contains(a.body, `"items":[]`) {
		t.Errorf("agents: %s", a.body)
	}
}

type fixed struct{}

func (fixed) Now() time.Time { return time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC) }

func TestMeIsWhoAsks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	me := decode[v1.Me](t, f.as(reader, "GET", "/api/v1/me", ""))
	want := v1.Me{Tenant: "default", Actor: reader, Kind: domain.Human, Permissions: []string{"run:read", "log:read"}, Token: me.Token}
	if diff := cmp.Diff(want, me); diff != "" || !strings.HasPrefix(me.Token, "token_") {
		t.Error(me.Token, diff)
	}
}
