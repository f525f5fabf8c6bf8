package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/api/v1"
)

const ownFile = `# a comment
schema: workflow/v1
kind: workflow
id: from-file
version: 1
title: From a file
steps:
  - {id: a, kind: noop}
`

func TestAWorkflowLivesFromCreationToArchive(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.call("POST", "/api/v1/workflows", own)
	f.want(a, http.StatusCreated, "")
	if r := decode[v1.Receipt](t, a); r.ID != "own" || a.Header.Get("Location") != "/api/v1/workflows/own" || a.Header.Get("Etag") != `"1"` {
		t.Errorf("receipt %+v, %v", r, a.Header)
	}
	f.want(f.call("POST", "/api/v1/workflows", own), http.StatusConflict, "workflow.already_created")

	w := f.call("GET", "/api/v1/workflows/own", "")
	if got := decode[v1.Workflow](t, w); got.Version != 1 || got.Stock || got.Definition == nil || w.Header.Get("Etag") != `"1"` {
		t.Errorf("workflow %+v", got)
	}
	revised := strings.Replace(own, "Mine", "Still mine", 1)
	f.want(f.call("PUT", "/api/v1/workflows/own", revised), http.StatusPreconditionRequired, "version.required")
	f.want(f.call("PUT", "/api/v1/workflows/own", revised, "If-Match", "1"), http.StatusUnprocessableEntity, "request.invalid_field")
	f.want(f.call("PUT", "/api/v1/workflows/own", revised, "If-Match", `"7"`), http.StatusPreconditionFailed, "version.stale")
	f.want(f.call("PUT", "/api/v1/workflows/own", revised, "If-Match", `"1"`), http.StatusOK, "")
	f.want(f.call("PUT", "/api/v1/workflows/own", revised, "If-Match", `"1"`), http.StatusPreconditionFailed, "version.stale")
	f.want(f.call("PUT", "/api/v1/workflows/other", revised, "If-Match", `*`), http.StatusUnprocessableEntity, "request.invalid_field")

	if got := decode[v1.Workflow](t, f.call("GET", "/api/v1/workflows/own", "")); got.Version != 2 || got.Title != "Still mine" {
		t.Errorf("revised %+v", got)
	}
	if got := decode[v1.Workflow](t, f.call("GET", "/api/v1/workflows/own?version=1", "")); got.Version != 1 || got.Title != "Mine" {
		t.Errorf("old %+v", got)
	}
	started := f.call("POST", "/api/v1/workflows/own/runs", `{"version":1}`)
	f.want(started, http.StatusCreated, "")
	if run := decode[v1.Run](t, f.call("GET", started.Header.Get("Location"), "")); run.Workflow.Version != 1 {
		t.Errorf("run of %+v", run.Workflow)
	}
	f.want(f.call("DELETE", "/api/v1/workflows/own", ""), http.StatusPreconditionRequired, "version.required")
	f.want(f.call("DELETE", "/api/v1/workflows/own", "", "If-Match", `"2"`), http.StatusOK, "")
	f.want(f.call("POST", "/api/v1/workflows/own/runs", `{}`), http.StatusConflict, "workflow.archived")
	f.want(f.as(stranger, "GET", "/api/v1/workflows/own", ""), http.StatusNotFound, "workflow.not_found")
}

func TestStockWorkflowsAreReadOnlyButCanBeCopied(t *testing.T) {
	t.Parallel()
	f := setup(t)
	got := decode[v1.Workflow](t, f.call("GET", "/api/v1/workflows/stock", ""))
	if !got.Stock || got.Version != 4 || got.Definition == nil || got.Hash == "" {
		t.Errorf("stock %+v", got)
	}
	f.want(f.call("PUT", "/api/v1/workflows/stock", own, "If-Match", "*"), http.StatusConflict, "workflow.read_only")
	f.want(f.call("DELETE", "/api/v1/workflows/stock", "", "If-Match", "*"), http.StatusConflict, "workflow.read_only")
	f.want(f.call("POST", "/api/v1/workflows", strings.Replace(own, `"own"`, `"stock"`, 1)), http.StatusConflict, "workflow.exists")

	a := f.call("POST", "/api/v1/workflows/stock/copy", `{"id":"mine","title":"My copy"}`, "Idempotency-Key", "k")
	f.want(a, http.StatusCreated, "")
	if again := f.call("POST", "/api/v1/workflows/stock/copy", `{"id":"mine","title":"My copy"}`, "Idempotency-Key", "k"); again.body != a.body {
		t.Errorf("repeated: %s", again.body)
	}
	copied := decode[v1.Workflow](t, f.call("GET", "/api/v1/workflows/mine", ""))
	if copied.Version != 1 || copied.Title != "My copy" || *copied.CopiedFrom != (v1.Ref{ID: "stock", Version: 4}) || len(copied.Definition.Steps) != 1 {
		t.Errorf("copy %+v", copied)
	}
	f.want(f.call("POST", "/api/v1/workflows/stock/copy", `{"id":"Not OK"}`), http.StatusUnprocessableEntity, "request.invalid_field")
	f.want(f.call("POST", "/api/v1/workflows/none/copy", `{"id":"ok"}`), http.StatusNotFound, "workflow.not_found")

	list := decode[v1.WorkflowList](t, f.call("GET", "/api/v1/workflows", ""))
	if len(list.Items) != 2 || list.Items[0].ID != "stock" || list.Items[0].Definition != nil {
		t.Errorf("list %+v", list)
	}
	if v := decode[v1.WorkflowVersions](t, f.call("GET", "/api/v1/workflows/stock/versions", "")); len(v.Items) != 1 || v.Items[0].Version != 4 {
		t.Errorf("versions %+v", v)
	}
}

func TestADefinitionIsReadAsJSONOrAsAFile(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.want(f.call("POST", "/api/v1/workflows", ownFile, "Content-Type", "application/yaml"), http.StatusCreated, "")
	f.want(f.call("POST", "/api/v1/workflows", `{"schema":"workflow/v1","kind":"workflow","version":1,`+own[1:len(own)-1]+`}`), http.StatusUnprocessableEntity, "") // version twice
	if got := decode[v1.Workflow](t, f.call("GET", "/api/v1/workflows/from-file", "")); got.Title != "From a file" {
		t.Errorf("workflow %+v", got)
	}
	agent := func(agent, template string) string {
		return `{"id":"x","title":"x","version":0,"steps":[{"id":"a","kind":"agent","agent":"` + agent + `","template":"` + template + `","with":{"notes":"n"}}]}`
	}
	for name, c := range map[string]struct {
		body, media string
		status      int
		field       string
	}{
		"no body":                          {" ", "application/json", 400, ""},
		"not JSON":                         {"{", "application/json", 400, ""},
		"two documents":                    {own + own, "application/json", 400, ""},
		"an unknown field":                 {`{"id":"x","colour":1}`, "application/json", 422, "colour"},
		"a wrong type":                     {`{"id":"x","steps":{}}`, "application/json", 422, "steps"},
		"a bad duration":                   {`{"id":"x","title":"x","deadline":"soon"}`, "application/json", 422, ""},
		"a bad id":                         {strings.Replace(own, `"own"`, `"a/b"`, 1), "application/json", 422, "id"},
		"no title":                         {strings.Replace(own, "Mine", "", 1), "application/json", 422, "title"},
		"no steps":                         {`{"id":"x","title":"x","steps":[]}`, "application/json", 422, "steps"},
		"a cycle":                          {`{"id":"x","title":"x","steps":[{"id":"a","kind":"noop","needs":["b"]},{"id":"b","kind":"noop","needs":["a"]}]}`, "application/json", 422, "steps[0].needs"},
		"an unknown agent":                 {agent("nobody", "text.write"), "application/json", 422, "steps[0].agent"},
		"an unknown template":              {agent("writer", "none"), "application/json", 422, "steps[0].template"},
		"an unknown step in an expression": {`{"id":"x","title":"x","steps":[{"id":"a","kind":"noop","when":"steps.z.output == 1"}]}`, "application/json", 422, "steps[0].when"},
		"a file with a mistake":            {strings.Replace(ownFile, "noop", "loop", 1), "application/yaml", 422, "steps[0].kind"},
		"a bomb of aliases":                {"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "application/yaml", 422, ""},
		"YAML that is too deep":            {strings.Repeat("[", 100_000), "application/yaml", 422, ""},
		"another content type":             {own, "text/csv", 415, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := *f
			f.t = t
			a := f.call("POST", "/api/v1/workflows", c.body, "Content-Type", c.media)
			if a.StatusCode != c.status {
				if c.field != "" || a.StatusCode < 400 || a.StatusCode >= 500 {
					t.Fatalf("status %d: %s", a.StatusCode, a.body)
				}
			}
			if p := a.problem(t); p.Field != c.field && c.field != "" {
				t.Errorf("problem %+v", p)
			}
		})
	}
}
