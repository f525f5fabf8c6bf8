package api_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/events"
)

// operation is what the description says of a route.
type operation struct {
	Parameters []parameter `json:"parameters"`
}

type parameter struct {
	Name string `json:"name"`
	In   string `json:"in"`
}

func (o operation) takes(in, name string) bool {
	return slices.Contains(o.Parameters, parameter{name, in})
}

// operations are all routes with their descriptions.
func operations(t *testing.T) map[api.Route]operation {
	t.Helper()
	spec, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Paths map[string]map[string]operation `json:"paths"`
	}
	if err := json.Unmarshal(spec, &d); err != nil {
		t.Fatal(err)
	}
	out := map[api.Route]operation{}
	for _, r := range api.Routes() {
		out[r] = d.Paths[r.Path][strings.ToLower(r.Method)]
	}
	return out
}

// writes is what it takes to carry out every route that changes something:
// bodies with which it is accepted, for a fresh thing each.
func (f *fixture) write(r api.Route, n int) (path, body string, headers []string) {
	f.t.Helper()
	own := fmt.Sprintf(`{"id":"own-%s-%d","version":0,"title":"Mine","steps":[{"id":"a","kind":"noop"}]}`, r.Name, n)
	id := fmt.Sprintf("own-%s-%d", r.Name, n)
	made := func() {
		f.want(f.call("POST", "/api/v1/workflows", own), http.StatusCreated, "")
	}
	switch r.Name {
	case "start-run":
		return "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, nil
	case "cancel-run":
		return "/api/v1/runs/" + f.start().ID + "/cancel", `{"reason":"r"}`, nil
	case "erase-run":
		id := f.start().ID
		f.want(f.call("POST", "/api/v1/runs/"+id+"/cancel", ""), http.StatusOK, "")
		return "/api/v1/runs/" + id + "/erase", `{"reason":"r"}`, nil
	case "erase-person":
		return fmt.Sprintf("/api/v1/people/ada%d/erase", n), `{"reason":"r"}`, nil
	case "create-upload":
		return r.Path, "", []string{"Upload-Length", "5", "Upload-Metadata", "filename cGxhbg=="}
	case "end-upload":
		return "/api/v1/uploads/" + f.upload("5"), "", nil
	case "erase-file":
		return "/api/v1/files/" + f.upload("0") + "/erase", `{"reason":"r"}`, nil
	case "create-workflow":
		return r.Path, own, nil
	case "revise-workflow":
		made()
		return "/api/v1/workflows/" + id, strings.Replace(own, "Mine", "Ours", 1), []string{"If-Match", `"1"`}
	case "archive-workflow":
		made()
		return "/api/v1/workflows/" + id, "", []string{"If-Match", `"1"`}
	case "copy-workflow":
		return "/api/v1/workflows/stock/copy", fmt.Sprintf(`{"id":%q}`, id), nil
	case "create-task":
		return r.Path, `{"agent":"writer","template":"text.write","input":{"notes":"n"}}`, nil
	case "rotate-token":
		return r.Path, `{"secret_hash":"sha256:` + strings.Repeat(fmt.Sprint(n), 64) + `"}`, nil
	}
	f.t.Fatalf("%s has no example of a write: add one here", r.Name)
	return "", "", nil
}

func TestEveryWriteIsRepeatedUnderItsKeyAndStatesItsPosition(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for r, op := range operations(t) {
		if r.Name == "append-upload" { // its offset says what it may be repeated on
			continue
		}
		if r.Method == http.MethodGet || r.Method == http.MethodOptions {
			if op.takes("header", "Idempotency-Key") {
				t.Errorf("%s reads and takes an Idempotency-Key", r.Name)
			}
			continue
		}
		if !op.takes("header", "Idempotency-Key") || !op.takes("header", "Prefer") || !op.takes("header", "Hishamos-Position") {
			t.Errorf("%s writes and does not take Idempotency-Key, Prefer and Hishamos-Position", r.Name)
			continue
		}
		path, body, headers := f.write(r, 1)
		headers = append(headers, "Idempotency-Key", "k"+r.Name, "Prefer", "hishamos-after=logged, wait=1")
		first := f.call(r.Method, path, body, headers...)
		if first.StatusCode >= 300 || first.Header.Get("Hishamos-Position") == "" || first.Header.Get("Hishamos-Command") != "k"+r.Name || first.Header.Get("Etag") == "" {
			t.Errorf("%s: status %d, headers %v: %s", r.Name, first.StatusCode, first.Header, first.body)
			continue
		}
		if r.Name != "rotate-token" && first.Header.Get("Preference-Applied") != "hishamos-after=logged" {
			t.Errorf("%s: Preference-Applied = %q", r.Name, first.Header.Get("Preference-Applied"))
		}
		again := f.call(r.Method, path, body, headers...)
		if again.StatusCode != first.StatusCode || again.body != first.body || again.Header.Get("Hishamos-Position") != first.Header.Get("Hishamos-Position") {
			t.Errorf("%s: repeated it answers %d %s, at first %d %s", r.Name, again.StatusCode, again.body, first.StatusCode, first.body)
		}
		otherPath, other, _ := f.write(r, 2)
		if reused := f.call(r.Method, otherPath, other, headers...); otherPath+other != path+body && reused.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: another request under the key answers %d %s", r.Name, reused.StatusCode, reused.body)
		}
		if bad := f.call(r.Method, otherPath, other, "Hishamos-Position", "x", "If-Match", "*"); bad.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s takes any position: %d", r.Name, bad.StatusCode)
		}
	}
}

func TestEveryChangeOfAThingThatHasAVersionNeedsItsVersion(t *testing.T) {
	t.Parallel()
	f := setup(t)
	pinned := 0
	for r, op := range operations(t) {
		if strings.HasPrefix(r.Path, "/api/v1/uploads") {
			continue // its protocol knows no versions: an upload only grows, at its offset
		}
		if (r.Method == http.MethodPut || r.Method == http.MethodDelete || r.Method == http.MethodPatch) != op.takes("header", "If-Match") {
			t.Errorf("%s %s: If-Match %t", r.Method, r.Path, op.takes("header", "If-Match"))
		}
		if !op.takes("header", "If-Match") {
			continue
		}
		pinned++
		path, body, _ := f.write(r, 1)
		f.want(f.call(r.Method, path, body), http.StatusPreconditionRequired, "version.required")
		if stale := f.call(r.Method, path, body, "If-Match", `"7"`); stale.StatusCode != http.StatusPreconditionFailed {
			t.Errorf("%s with an old version: %d %s", r.Name, stale.StatusCode, stale.body)
		}
		f.want(f.call(r.Method, path, body, "If-Match", `"1"`), http.StatusOK, "")
	}
	if pinned == 0 {
		t.Error("no operation takes If-Match")
	}
}

func TestWhatHasAnETagIsNotSentTwice(t *testing.T) {
	t.Parallel()
	f := setup(t)
	run, file := f.start(), f.upload("0")
	conditional := 0
	for r, op := range operations(t) {
		if r.Method != http.MethodGet || !op.takes("header", "If-None-Match") {
			continue
		}
		conditional++
		path := strings.NewReplacer("{run}", run.ID, "{file}", file, "{workflow}", "stock", "{agent}", "writer", "{template}", "text.write").Replace(r.Path)
		switch r.Name {
		case "event-schema":
			path = "/schema/events/run.started.v1.json"
		case "docs-file":
			path = "/api/docs/start.js"
		case "problem":
			path = "/problems/not_found"
		}
		first := f.call("GET", path, "")
		f.want(first, http.StatusOK, "")
		again := f.call("GET", path, "", "If-None-Match", `"x", W/`+first.Header.Get("Etag"))
		if again.StatusCode != http.StatusNotModified || again.body != "" || again.Header.Get("Etag") != first.Header.Get("Etag") {
			t.Errorf("%s: %d with ETag %s: %q", path, again.StatusCode, first.Header.Get("Etag"), again.body)
		}
		f.want(f.call("GET", path, "", "If-None-Match", `"x"`), http.StatusOK, "")
	}
	if conditional < 8 {
		t.Errorf("only %d operations answer 304", conditional)
	}
}

func TestEveryListIsPagedAndEveryReadOfTheReadModelsAnswersAsOfThePast(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.start().ID
	concrete := func(path string) string {
		return concrete(strings.NewReplacer("{run}", id, "{task}", id+".write").Replace(path))
	}
	for r, op := range operations(t) {
		if !strings.HasPrefix(r.Path, "/api/v1/") || r.Method != http.MethodGet || strings.HasSuffix(r.Path, "stream") {
			continue
		}
		if a := f.call("GET", concrete(r.Path), ""); strings.Contains(a.body, `"items":`) != op.takes("query", "limit") && a.StatusCode == http.StatusOK {
			t.Errorf("%s is a list: %t, takes a limit: %t", r.Name, strings.Contains(a.body, `"items":`), op.takes("query", "limit"))
		}
		if op.takes("query", "limit") {
			if !op.takes("query", "cursor") && !op.takes("query", "after") {
				t.Errorf("%s has no cursor", r.Name)
			}
			if op.takes("query", "cursor") && !op.takes("query", "sort") {
				t.Errorf("%s cannot be sorted", r.Name)
			}
		}
		// Library items are files of the build (docs/adr/0032), and the rest is about
		// the caller or the process.
		timeless := slices.ContainsFunc([]string{"/agents", "/templates", "/me", "/monitoring", "/log/head", "/uploads"}, func(p string) bool { return strings.HasPrefix(r.Path, "/api/v1"+p) })
		timeless = timeless || r.Name == "get-file-content" // which never changes
		if op.takes("query", "at") == timeless {
			t.Errorf("%s takes at: %t", r.Name, op.takes("query", "at"))
		}
		if timeless {
			f.want(f.call("GET", concrete(r.Path)+"?at=1", ""), http.StatusUnprocessableEntity, "history.none")
		}
		if !timeless {
			f.want(f.call("GET", concrete(r.Path)+"?at=99999", ""), http.StatusBadRequest, "position.future")
		}
	}
}

func TestAgentsAndTemplatesArePagedInOrder(t *testing.T) {
	t.Parallel()
	f := setup(t)
	one := decode[v1.TemplateList](t, f.call("GET", "/api/v1/templates?limit=1", ""))
	if len(one.Items) != 1 || one.Items[0].ID != "text.write" || one.Next != "" {
		t.Errorf("templates: %+v", one)
	}
	if got := decode[v1.Template](t, f.call("GET", "/api/v1/templates/text.write", "")); len(got.Parameters) != 2 || got.Output == nil {
		t.Errorf("template: %+v", got)
	}
	f.want(f.call("GET", "/api/v1/templates/nothing", ""), http.StatusNotFound, "not_found")
}

func TestThePageOfTheAPINeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	f := setup(t)
	page := f.as("", "GET", "/api/docs", "")
	f.want(page, http.StatusOK, "")
	policy := page.Header.Get("Content-Security-Policy")
	if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "script-src 'self'") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("policy %s", policy)
	}
	if strings.Contains(page.body, "://") || regexp.MustCompile(`<script>|\son[a-z]+=|style=`).MatchString(page.body) {
		t.Errorf("the page has a script of its own or loads from elsewhere:\n%s", page.body)
	}
	loaded := regexp.MustCompile(`(?:src|href)="(/api/docs/[^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(loaded) != 3 {
		t.Fatalf("the page loads %v", loaded)
	}
	for _, m := range loaded {
		f.want(f.as("", "GET", m[1], ""), http.StatusOK, "")
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", f.URL+"/api/docs/swagger-ui-bundle.js", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "gzip")
	packed, err := f.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Body.Close()
	z, err := gzip.NewReader(packed.Body)
	if err != nil || packed.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v: %v", packed.Header, err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !strings.Contains(string(text), "SwaggerUIBundle") {
		t.Errorf("%d bytes: %v", len(text), err)
	}
	f.want(f.as("", "GET", "/api/docs/LICENSE-swagger-ui.txt", ""), http.StatusOK, "")
	for _, no := range []string{"/api/docs/nothing.js", "/api/docs/README.md", "/api/docs/..%2fapi.go", "/schema/events/..%2f..%2fopenapi.yaml", "/docs"} {
		if a := f.as("", "GET", no, ""); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", no, a.StatusCode)
		}
	}
}

func TestTheDataschemaOfEveryEventLeadsToItsSchema(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, typ := range events.Types() {
		path := (events.Envelope{Type: typ.Name, Version: typ.Version}).DataSchema()
		a := f.as("", "GET", path, "")
		if a.StatusCode != http.StatusOK || !json.Valid([]byte(a.body)) || a.Header.Get("Content-Type") != "application/schema+json" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.Header.Get("Content-Type"))
		}
	}
	topics := f.as("", "GET", "/api/asyncapi.yaml", "")
	if topics.StatusCode != http.StatusOK || strings.Contains(topics.body, "./schema") || !strings.Contains(topics.body, "/schema/events/run.started.v1.json") {
		t.Errorf("asyncapi: %d", topics.StatusCode)
	}
}

func TestTheTypeOfAProblemLeadsToItsExplanation(t *testing.T) {
	t.Parallel()
	f := setup(t)
	p := f.call("GET", "/api/v1/runs?at=99999", "").problem(t)
	page := f.as("", "GET", p.Type, "")
	if page.StatusCode != http.StatusOK || !strings.Contains(page.body, "position.future") || !strings.Contains(page.body, "leave it out") {
		t.Errorf("%s: %d %s", p.Type, page.StatusCode, page.body)
	}
	if all := f.as("", "GET", "/problems", ""); !strings.Contains(all.body, "/problems/position.future") {
		t.Errorf("problems: %d", all.StatusCode)
	}
	f.want(f.as("", "GET", "/problems/nothing.such", ""), http.StatusNotFound, "not_found")
}

// still is a clock that moves when it is told to.
type still struct{ at *time.Time }

func (s still) Now() time.Time { return *s.at }

func TestTooManyRequestsAreRefusedUntilTimeHasPassed(t *testing.T) {
	t.Parallel()
	now := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
	f := setup(t, func(o *api.Options) { o.TokenRate, o.TenantRate, o.Clock = 1, 2, still{&now} })
	first := f.call("GET", "/api/v1/me", "")
	if got := first.Header.Values("Ratelimit-Policy"); !slices.Equal(got, []string{`"token";q=10;w=10`, `"tenant";q=20;w=10`}) {
		t.Errorf("policy %q", got)
	}
	if got := first.Header.Values("Ratelimit"); !slices.Equal(got, []string{`"token";r=9;t=1`, `"tenant";r=19;t=1`}) {
		t.Errorf("limit %q", got)
	}
	for range 9 {
		f.want(f.call("GET", "/api/v1/me", ""), http.StatusOK, "")
	}
	refused := f.call("GET", "/api/v1/me", "")
	f.want(refused, http.StatusTooManyRequests, "request.rate_limited")
	if refused.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", refused.Header.Get("Retry-After"))
	}
	// Another token of the tenant has requests of its own, until the tenant has none.
	for range 9 {
		f.want(f.as(reader, "GET", "/api/v1/me", ""), http.StatusOK, "")
	}
	f.want(f.as(reader, "GET", "/api/v1/me", ""), http.StatusTooManyRequests, "request.rate_limited")
	f.want(f.as(stranger, "GET", "/api/v1/me", ""), http.StatusOK, "") // another tenant
	f.want(f.as("", "GET", "/health", ""), http.StatusOK, "")
	now = now.Add(2 * time.Second)
	f.want(f.call("GET", "/api/v1/me", ""), http.StatusOK, "")
}

func TestWhoCollectsMetricsMayReadNothingElse(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) {
		o.ScrapeHash = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" // of "test"
	})
	as := func(path string) answer { return f.as("", "GET", path, "", "Authorization", "Bearer test") }
	f.want(as("/metrics"), http.StatusOK, "")
	f.want(as("/api/v1/runs"), http.StatusUnauthorized, "token.invalid")
	f.want(f.as("", "GET", "/metrics", "", "Authorization", "Bearer tess"), http.StatusUnauthorized, "token.invalid")
}

func TestTheListOfRunsIsFollowedWithoutAGap(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.start()
	head := decode[v1.Head](t, f.call("GET", "/api/v1/log/head", ""))
	_, next := f.stream(everything, "/api/v1/runs/stream?state=cancelled&after="+head.Position.String())
	second := f.start()
	f.want(f.call("POST", "/api/v1/runs/"+second.ID+"/cancel", ""), http.StatusOK, "")
	m := next()
	for m.name == "" { // only the place moves
		m = next()
	}
	if m.name != "run" || !strings.Contains(m.data, second.ID) || !strings.Contains(m.data, `"state":"cancelled"`) || strings.Contains(m.data, `"steps"`) {
		t.Errorf("the stream of runs says %+v", m)
	}
	if m := next(); m.name != "" || m.id == "" {
		t.Errorf("the place does not move: %+v", m)
	}
	_, next = f.stream(everything, "/api/v1/tasks/stream", "Last-Event-ID", head.Position.String())
	if m := next(); m.name != "task" || !strings.Contains(m.data, second.ID+".write") {
		t.Errorf("the stream of tasks says %+v", m)
	}
	_, next = f.stream(stranger, "/api/v1/runs/stream?after=0")
	if m := next(); m.name != "" {
		t.Errorf("a stranger is told %+v", m)
	}
	f.want(f.call("GET", "/api/v1/runs/stream?after=99999", ""), http.StatusConflict, "stream.behind_end")
	f.want(f.as(reader, "GET", "/api/v1/tasks/stream", ""), http.StatusForbidden, "permission.missing")
}
