package api_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestNullIsRefusedWhereTheDescriptionKnowsNone(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const runs, tasks, workflows = "/api/v1/workflows/stock/runs", "/api/v1/tasks", "/api/v1/workflows"
	run := f.start().ID
	own := func(more string) string { return own[:len(own)-1] + "," + more + "}" }
	for body, c := range map[string]struct{ path, field, fix string }{
		`{"reason":null}`: {"/api/v1/runs/" + run + "/cancel", "body.reason", "leave it out"},
		`{"Reason":null}`: {"/api/v1/runs/" + run + "/erase", "body.Reason", "leave it out"},
		`{"inputs":{"notes":"n"},"priority": null}`: {runs, "body.priority", "leave it out"},
		`{"inputs":null}`:                    {runs, "body.inputs", "leave it out"},
		`{"agent":"writer","template":null}`: {tasks, "body.template", "give it a value"},
		own(`"outputs":null`):                {workflows, "body.outputs", "leave it out"},
		own(`"outputs":{"a":"x","b":null}`):  {workflows, "body.outputs.b", "leave it out"},
		own(`"parameters":[null]`):           {workflows, "body.parameters[0]", "give it a value"},
		own(`"parameters":[{"name":"n","type":"text"},{"name":"m","type":"text","validation":{"pattern":null}}]`): {workflows, "body.parameters[1].validation.pattern", "leave it out"},
		`{"id":"own","version":0,"title":"Mine","steps":null}`:                                                    {workflows, "body.steps", "give it a value"},
		`{"id":"own","version":null,"title":"Mine","steps":[{"id":"a","kind":"noop"}]}`:                           {workflows, "body.version", "give it a value"},
	} {
		a := f.call("POST", c.path, body)
		f.want(a, http.StatusUnprocessableEntity, "request.invalid_field")
		if p := a.problem(t); p.Field != c.field || !strings.HasPrefix(p.Fix, c.fix) {
			t.Errorf("%s: field %s, fix %q", body, p.Field, p.Fix)
		}
	}
	if a := f.call("POST", "/api/v1/runs/"+run+"/cancel", "null"); a.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("null for a whole body: %d %s", a.StatusCode, a.body)
	}

	// What may hold anything takes it.
	a := f.call("POST", runs, `{"inputs":{"notes":null}}`)
	if p := a.problem(t); p.Field != "inputs.notes" {
		t.Errorf("an input is refused by what the workflow says of it: %+v", p)
	}
	f.want(f.call("POST", workflows, own(`"parameters":[{"name":"n","type":"text","examples":[null]}]`)), http.StatusCreated, "")
}
