package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/apitest"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

func TestEveryRouteIsClosedUnlessItSaysItIsOpen(t *testing.T) {
	t.Parallel()
	open := map[string]string{
		"/health": "public", "/ready": "public", "/metrics": "public", "/api/openapi.json": "public", "/api/v1/me": "token",
		"/api/asyncapi.yaml": "public", "/schema/events/{name}": "public", "/api/docs": "public", "/api/docs/{name}": "public",
		"/problems": "public", "/problems/{name}": "public",
	}
	seen := map[string]bool{}
	for _, r := range api.Routes() {
		if r.Method == http.MethodOptions {
			open[r.Path] = "public" // it says what the protocol is
		}
		if r.Open != open[r.Path] {
			t.Errorf("%s %s is open to %q", r.Method, r.Path, r.Open)
		}
		if (r.Permission == "") == (r.Open == "") {
			t.Errorf("%s %s has permission %q and is open to %q: it needs one of them", r.Method, r.Path, r.Permission, r.Open)
		}
		if r.Permission != "" && !slices.Contains(domain.Permissions, r.Permission) {
			t.Errorf("%s %s needs %s, which does not exist", r.Method, r.Path, r.Permission)
		}
		if seen[r.Name] || r.Name == "" || r.Summary == "" {
			t.Errorf("%s %s has no name of its own", r.Method, r.Path)
		}
		seen[r.Name] = true
		if r.Method == http.MethodOptions {
			delete(open, r.Path)
		}
	}
}

// concrete replaces the parameters of a path.
func concrete(path string) string {
	for _, name := range []string{"{workflow}", "{run}", "{agent}", "{task}", "{template}", "{name}"} {
		path = strings.ReplaceAll(path, name, "x")
	}
	return path
}

func TestTheTableIsWhatTheServerEnforces(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, r := range api.Routes() {
		if r.Open == "public" {
			continue
		}
		f.want(f.as("", r.Method, concrete(r.Path), ""), http.StatusUnauthorized, "token.invalid")
		path := concrete(r.Path)
		if strings.HasSuffix(path, "/stream") && !strings.Contains(r.Path, "{") {
			path += "?after=999999" // is refused, or it would never end
		}
		a := f.as(reader, r.Method, path, "")
		allowed := r.Open == "token" || r.Permission == domain.RunRead || r.Permission == domain.LogRead
		if refused := a.StatusCode == http.StatusForbidden; refused == allowed {
			t.Errorf("%s %s: status %d for a caller who may read runs and the log", r.Method, r.Path, a.StatusCode)
		}
	}
	if a := f.as("", "GET", "/api/v1/runs", ""); a.Header.Get("Www-Authenticate") != "Bearer" {
		t.Error("401 without WWW-Authenticate")
	}
}

func TestEveryRouteIsDescribed(t *testing.T) {
	t.Parallel()
	spec, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	again, err := api.OpenAPI()
	if err != nil || !bytes.Equal(spec, again) {
		t.Error("two descriptions differ")
	}
	var d struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Description string `json:"description"`
			RequestBody *struct {
				Content map[string]any `json:"content"`
			} `json:"requestBody"`
			Responses map[string]any `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(spec, &d); err != nil || d.OpenAPI != "3.1.0" {
		t.Fatalf("openapi %s: %v", d.OpenAPI, err)
	}
	described := 0
	for _, item := range d.Paths {
		described += len(item)
	}
	if described != len(api.Routes()) {
		t.Errorf("%d operations are described, %d routes exist", described, len(api.Routes()))
	}
	for _, r := range api.Routes() {
		op, ok := d.Paths[r.Path][strings.ToLower(r.Method)]
		if !ok || op.OperationID != r.Name || op.Description == "" || op.Responses["422"] == nil || op.Responses["500"] == nil || (op.Responses["401"] == nil) != (r.Open == "public" && r.Name != "metrics") {
			t.Errorf("%s %s is described as %+v", r.Method, r.Path, op)
		}
	}
	create := d.Paths["/api/v1/workflows"]["post"].RequestBody
	if create == nil || create.Content["application/json"] == nil || create.Content["application/yaml"] == nil {
		t.Errorf("the body of create-workflow is %+v", create)
	}
	// No list may be described as null: clients would have to check.
	if strings.Contains(string(spec), `"null"`) {
		t.Error("the description allows null")
	}
	f := setup(t)
	if a := f.as("", "GET", "/api/openapi.json", ""); a.StatusCode != http.StatusOK || !json.Valid([]byte(a.body)) {
		t.Errorf("served: %d", a.StatusCode)
	}
}

func TestMalformedRequestsAreRefusedClearly(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) { o.MaxBody = 4096 })
	const runs = "/api/v1/workflows/stock/runs"
	deep := func(n int) string {
		return `{"inputs":{"notes":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`
	}
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		code, field        string
	}{
		"no such path":             {"GET", "/api/v1/nope", "", nil, 404, "route.not_found", ""},
		"no such method":           {"PATCH", "/api/v1/runs", "", nil, 405, "route.method_not_allowed", ""},
		"not JSON":                 {"POST", runs, `{"inputs":`, nil, 400, "request.malformed", ""},
		"no body":                  {"POST", runs, "", nil, 400, "request.malformed", ""},
		"an unknown field":         {"POST", runs, `{"inputs":{"notes":"n"},"wrong":1}`, nil, 422, "request.invalid_field", "body.wrong"},
		"a field of another type":  {"POST", runs, `{"inputs":{"notes":"n"},"priority":"high"}`, nil, 422, "request.invalid_field", "body.priority"},
		"a number out of range":    {"POST", runs, `{"inputs":{"notes":"n"},"priority":101}`, nil, 422, "request.invalid_field", "body.priority"},
		"another content type":     {"POST", runs, `a=b`, []string{"Content-Type", "text/csv"}, 415, "request.media_type", ""},
		"a body that is too large": {"POST", runs, `{"inputs":{"notes":"` + strings.Repeat("n", 5000) + `"}}`, nil, 413, "request.too_large", ""},
		"a body that is too deep":  {"POST", runs, deep(63), nil, 400, "request.too_deep", ""},
		"too large a PATCH":        {"PATCH", "/api/v1/runs", strings.Repeat(" ", 5000), nil, 413, "request.too_large", ""},
		"brackets in text":         {"POST", runs, `{"inputs":{"notes":"` + strings.Repeat(`[\"{`, 100) + `"}}`, nil, 201, "", ""},
		"a field twice":            {"POST", runs, `{"inputs":{"notes":"n","notes":"m"}}`, nil, 422, "request.invalid_field", "body.inputs.notes"},
		"a field twice in a list":  {"POST", runs, `{"inputs":{"notes":[{"a":1},{"a":1,"b":2,"a":3}]}}`, nil, 422, "request.invalid_field", "body.inputs.notes[1].a"},
		"a query without a value":  {"GET", "/api/v1/runs?state=", "", nil, 422, "request.invalid_field", "query.state"},
		"a query twice":            {"GET", "/api/v1/runs?limit=1&limit=2", "", nil, 422, "request.invalid_field", "query.limit"},
		"a query that is none":     {"GET", "/api/v1/runs?limit=%zz", "", nil, 400, "request.malformed_query", ""},
		"the future":               {"GET", "/api/v1/runs?at=99999999", "", nil, 400, "position.future", ""},
		"the future of a run":      {"GET", "/api/v1/runs/run_x?at=99999999", "", nil, 400, "position.future", ""},
		"tomorrow":                 {"GET", "/api/v1/tasks?at=2999-01-01T00:00:00Z", "", nil, 400, "position.future", ""},
		"before the beginning":     {"GET", "/api/v1/workflows?at=1999-01-01T00:00:00Z", "", nil, 422, "request.invalid_field", "query.at"},
		"an unknown query":         {"GET", "/api/v1/runs?colour=red", "", nil, 422, "request.invalid_field", "query.colour"},
		"a limit out of range":     {"GET", "/api/v1/runs?limit=201", "", nil, 422, "request.invalid_field", "query.limit"},
		"a limit of nothing":       {"GET", "/api/v1/runs?limit=0", "", nil, 422, "request.invalid_field", "query.limit"},
		"an unknown state":         {"GET", "/api/v1/runs?state=running,lost", "", nil, 422, "request.invalid_field", "query.state"},
		"an unknown order":         {"GET", "/api/v1/runs?sort=colour", "", nil, 422, "request.invalid_field", "query.sort"},
		"a bad instant":            {"GET", "/api/v1/runs?since=yesterday", "", nil, 422, "request.invalid_field", "query.since"},
		"a bad cursor":             {"GET", "/api/v1/runs?cursor=AAAA", "", nil, 422, "request.invalid_field", "query.cursor"},
		"a bad point of the past":  {"GET", "/api/v1/runs/run_x?at=yesterday", "", nil, 422, "request.invalid_field", "query.at"},
		"the time before time":     {"GET", "/api/v1/runs/run_x?at=0", "", nil, 422, "request.invalid_field", "query.at"},
		"a bad position":           {"GET", "/api/v1/runs", "", []string{"Hishamos-Position", "x"}, 422, "request.invalid_field", "Hishamos-Position"},
		"a position of old":        {"GET", "/api/v1/runs", "", []string{"Hishamos-Position", "AQAAAAIAAAAAAAAACA"}, 409, "position.other_epoch", ""},
		"a bad period":             {"GET", "/api/v1/analytics/workflows?from=2026-02-01&to=2026-01-01", "", nil, 422, "request.invalid_field", "query.from"},
		"too long a period":        {"GET", "/api/v1/analytics/agents?from=2024-02-01&to=2026-01-01", "", nil, 422, "request.invalid_field", "query.from"},
		"a day that is none":       {"GET", "/api/v1/analytics/agents?to=2026-02-30", "", nil, 422, "request.invalid_field", "query.to"},
		"a null for a list":        {"POST", "/api/v1/tasks", `{"agent":null,"template":"text.write"}`, nil, 422, "request.invalid_field", "body.agent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := *f
			f.t = t
			a := f.call(c.method, c.path, c.body, c.headers...)
			f.want(a, c.status, c.code)
			if c.field == "" || t.Failed() {
				return
			}
			if p := a.problem(t); !strings.HasPrefix(p.Field, c.field) || len(p.Errors) == 0 || p.Detail == "" {
				t.Errorf("problem = %+v", p)
			}
		})
	}
}

func TestABodyOfUnknownLengthIsBoundedToo(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) { o.MaxBody = 100 })
	r, err := http.NewRequestWithContext(t.Context(), "POST", f.URL+"/api/v1/tasks", struct{ *strings.Reader }{strings.NewReader(strings.Repeat(" ", 101))})
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.Tokens.Secret(everything))
	response, err := f.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestMethodsSlashesAndHeads(t *testing.T) {
	t.Parallel()
	f := setup(t)
	if a := f.call("PATCH", "/api/v1/workflows/x", ""); a.Header.Get("Allow") == "" {
		t.Error("405 without Allow")
	}
	f.want(f.call("GET", "/api/v1/runs/", ""), http.StatusOK, "")
	if a := f.call("HEAD", "/api/v1/runs", ""); a.StatusCode != http.StatusOK || a.body != "" {
		t.Errorf("HEAD: %d %q", a.StatusCode, a.body)
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, path := range []string{"/health", "/nope", "/api/v1/runs"} {
		a := f.call("GET", path, "", "X-Request-Id", "abc-1")
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Request-Id": "abc-1", "Referrer-Policy": "no-referrer"} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s = %q", path, name, got)
			}
		}
	}
	if a := f.call("GET", "/health", "", "X-Request-Id", "no spaces\tplease"); strings.Contains(a.Header.Get("X-Request-Id"), " ") {
		t.Error("a request id of the caller's was taken unchecked")
	}
	if !strings.Contains(f.Log.String(), `"route":"/api/v1/runs","status":200`) || !strings.Contains(f.Log.String(), `"user":"everything"`) {
		t.Errorf("access log:\n%s", f.Log)
	}
}

func TestOtherOriginsAreLockedOutUnlessListed(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) { o.CORSOrigins = []string{"https://console.example"} })
	if a := f.call("GET", "/api/v1/runs", "", "Origin", "https://evil.example"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("an origin that is not listed may read")
	}
	a := f.as("", "OPTIONS", "/api/v1/runs", "", "Origin", "https://console.example", "Access-Control-Request-Method", "POST")
	if a.StatusCode != http.StatusNoContent || a.Header.Get("Access-Control-Allow-Origin") != "https://console.example" ||
		!strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Idempotency-Key") {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
	if a := f.call("GET", "/api/v1/runs", "", "Origin", "https://console.example"); !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "Hishamos-Position") {
		t.Error("a listed origin may not read the position")
	}
}

func TestHealthIsForAllAndDetailsAreNot(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	f := setup(t, func(o *api.Options) {
		o.Missing = func(context.Context) []string { return []string{"kafka"} }
		o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	})
	f.want(f.as("", "GET", "/health", ""), http.StatusOK, "")
	a := f.as("", "GET", "/ready", "")
	if a.StatusCode != http.StatusServiceUnavailable || strings.Contains(a.body, "kafka") {
		t.Errorf("a stranger reads %d %s", a.StatusCode, a.body)
	}
	if a := f.call("GET", "/ready", ""); !strings.Contains(a.body, "kafka") {
		t.Errorf("a permitted caller reads %s", a.body)
	}
	if log := logged.String(); !strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("not to be ready is logged as %s", log)
	}
	f = setup(t, func(o *api.Options) { o.Degraded = func() []string { return []string{"anchor git:/vault"} } })
	if a := f.as("", "GET", "/ready", ""); a.StatusCode != http.StatusOK || strings.Contains(a.body, "vault") {
		t.Errorf("a stranger reads %d %s", a.StatusCode, a.body)
	}
	if a := f.call("GET", "/ready", ""); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "anchor git:/vault") {
		t.Errorf("a permitted caller reads %d %s", a.StatusCode, a.body)
	}
	f.want(f.as("", "GET", "/metrics", ""), http.StatusUnauthorized, "token.invalid")
	f.want(f.as(reader, "GET", "/metrics", ""), http.StatusUnauthorized, "token.invalid")
	for _, path := range []string{"/metrics", "/api/v1/monitoring/prometheus/metrics/"} {
		if a := f.call("GET", path, ""); !strings.Contains(a.body, "hishamos_http_requests_total") {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

func TestOnlyCallersFromThisMachineAreTrustedAsLocal(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) { o.LoopbackTrusted = true })
	f.want(f.as("", "GET", "/metrics", ""), http.StatusOK, "")
	f.want(f.as("", "GET", "/metrics", "", "X-Forwarded-For", "127.0.0.1"), http.StatusUnauthorized, "token.invalid")
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.RemoteAddr = "192.0.2.7:1234"
	w := httptest.NewRecorder()
	api.New(f.Options).ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("status %d from elsewhere", w.Code)
	}
}

// panicking is a read model with a fault.
type panicking struct{ *apitest.Models }

func (panicking) Tasks(context.Context, domain.Tenant, api.TaskFilter, api.Page) ([]v1.Task, string, error) {
	panic("secret detail")
}

func TestAPanicIsAnAnswerAndALogLine(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) { o.Tasks = panicking{} })
	a := f.call("GET", "/api/v1/tasks", "")
	f.want(a, http.StatusInternalServerError, "internal")
	if strings.Contains(a.body, "secret detail") || !strings.Contains(f.Log.String(), "secret detail") {
		t.Errorf("body %s", a.body)
	}
}

func TestAShortDigestKeyIsRefused(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("it was taken")
		}
	}()
	api.New(api.Options{DigestKey: []byte("short")})
}
