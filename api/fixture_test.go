package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/apitest"
	"github.com/hishamos/hishamos/api/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// own is a definition that users may create.
const own = apitest.Own

const (
	everything = apitest.Everything
	reader     = apitest.Reader
	stranger   = apitest.Stranger
	operator   = apitest.Operator
)

// fixture is a server and the test that calls it.
type fixture struct {
	t *testing.T
	*apitest.Server
}

func setup(t *testing.T, change ...func(*api.Options)) *fixture {
	t.Helper()
	return &fixture{t, apitest.New(t, change...)}
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

func (a answer) problem(t *testing.T) v1.Problem {
	t.Helper()
	var p v1.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("status %d is not a problem: %s %s", a.StatusCode, a.Header.Get("Content-Type"), a.body)
	}
	return p
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("status %d: %v: %s", a.StatusCode, err, a.body)
	}
	return v
}

// call sends a request with the token of everything; headers are name, value.
func (f *fixture) call(method, path, body string, headers ...string) answer {
	f.t.Helper()
	return f.as(everything, method, path, body, headers...)
}

func (f *fixture) as(token, method, path, body string, headers ...string) answer {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+f.Tokens.Secret(token))
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := f.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{response, string(text)}
}

// want fails unless the status is as expected, and returns the problem's code.
func (f *fixture) want(a answer, status int, code string) {
	f.t.Helper()
	if a.StatusCode != status {
		f.t.Errorf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.body)
		return
	}
	if code != "" {
		if !slices.ContainsFunc(api.Explanations(), func(e api.Explanation) bool { return e.Code == code }) {
			f.t.Errorf("problem %s is not explained: make generate", code)
		}
		if p := a.problem(f.t); p.Code != code || p.Status != status || p.Type != "/problems/"+code || p.Title == "" {
			f.t.Errorf("%s %s: problem %+v, want code %s", a.Request.Method, a.Request.URL.Path, p, code)
		}
	}
}

// start starts a run of the stock workflow and returns its id.
func (f *fixture) start(headers ...string) v1.Receipt {
	f.t.Helper()
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, headers...)
	f.want(a, http.StatusCreated, "")
	return decode[v1.Receipt](f.t, a)
}
