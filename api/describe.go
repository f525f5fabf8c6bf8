package api

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// mount registers one row: who may call it, what it says of itself, and then
// its own registration.
func (s *server) mount(r row) {
	op := huma.Operation{
		OperationID: r.Name, Method: r.Method, Path: r.Path, Summary: r.Summary, DefaultStatus: r.status,
		Tags:         []string{tagOf(r.Path)},
		MaxBodyBytes: -1, BodyReadTimeout: -1, // the guard has read the body by then
		Responses:   map[string]*huma.Response{},
		Middlewares: huma.Middlewares{s.enter(r)},
		Description: explanations[r.Name].text,
	}
	switch {
	case r.Permission != "":
		op.Description += "\n\nNeeds permission `" + string(r.Permission) + "`."
	case r.Open == tokenOnly:
		op.Description += "\n\nFor every caller with a valid token."
	default:
		op.Description += "\n\nFor everybody, without a token."
	}
	if r.Open != public {
		op.Security = []map[string][]string{{"token": {}}}
	}
	r.mount(s, op)
	s.document(r)
}

// tagOf groups the operations: by the thing they are about.
func tagOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	if !ok {
		return "server"
	}
	first, _, _ := strings.Cut(rest, "/")
	if first == "workflows" && strings.HasSuffix(path, "/runs") {
		return "runs"
	}
	return first
}

// document adds what the layers before an endpoint do to the description.
func (s *server) document(r row) {
	op := operationOf(s.huma.OpenAPI(), r.Method, r.Path)
	text := &huma.Schema{Type: huma.TypeString}
	if r.fresh {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: headerPosition, In: "header", Schema: &huma.Schema{Type: huma.TypeString, Pattern: tokenPattern},
			Description: "A position you were given: the answer waits, up to five seconds, until it reflects it",
		})
	}
	for _, p := range op.Parameters {
		if p.Name == "If-Match" { // 428 says so, and not the check of the form
			p.Required = true
		}
	}
	for status, answer := range op.Responses {
		if answer.Headers == nil {
			answer.Headers = map[string]*huma.Param{}
		}
		if r.Open != public {
			answer.Headers["RateLimit-Policy"] = &huma.Param{Schema: text, Description: "How many requests are let through; left out where nothing limits them"}
			answer.Headers["RateLimit"] = &huma.Param{Schema: text, Description: "How many are left"}
		}
		if status == "304" {
			continue
		}
		if r.fresh {
			answer.Headers[headerPosition] = &huma.Param{Schema: text, Description: "The position this answer reflects, or that of the command's last event"}
		}
		if r.command {
			answer.Headers[headerCommand] = &huma.Param{Schema: text, Description: "Identifier of the command: repeat the request with it as Idempotency-Key"}
			answer.Headers["Preference-Applied"] = &huma.Param{Schema: text, Description: "The preferences that were honoured"}
			answer.Headers["ETag"] = &huma.Param{Schema: text, Description: "Version of the thing after the command"}
		}
	}
	if example := explanations[r.Name].body; example != nil && op.RequestBody != nil {
		op.RequestBody.Content["application/json"].Example = example
	}
	s.refusals(r, op)
}

// refusals lists the statuses with which a request for a row may be refused.
func (s *server) refusals(r row, op *huma.Operation) {
	delete(op.Responses, "default")
	schema := s.huma.OpenAPI().Components.Schemas.Schema(reflectProblem, true, "Problem")
	takes := func(name string) bool {
		return slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == name })
	}
	refuse := func(when bool, meanings map[int]string) {
		for status, meaning := range meanings {
			code := strconv.Itoa(status)
			if when && op.Responses[code] == nil {
				op.Responses[code] = &huma.Response{
					Description: meaning,
					Content:     map[string]*huma.MediaType{problemType: {Schema: schema, Example: exampleOf(status, meaning)}},
				}
			}
		}
	}
	refuse(true, map[int]string{
		http.StatusUnprocessableEntity: "A parameter, a header or a field of the body is not valid",
		http.StatusInternalServerError: "A fault of ours: report the request id",
	})
	refuse(r.Open != public, map[int]string{
		http.StatusUnauthorized:       "The token is missing or not valid",
		http.StatusTooManyRequests:    "Too many requests, or a limit is reached: wait as long as Retry-After says",
		http.StatusServiceUnavailable: "Something is down, full or not that far: try again after Retry-After",
	})
	refuse(r.Name == "metrics", map[int]string{http.StatusUnauthorized: "The caller may not read it"})
	refuse(r.Name == "ready", map[int]string{http.StatusServiceUnavailable: "Requests cannot be served"})
	refuse(r.Permission != "", map[int]string{http.StatusForbidden: "The permission is missing"})
	refuse(strings.Contains(r.Path, "{"), map[int]string{http.StatusNotFound: "There is no such thing, or it is not yours"})
	refuse(takes("at"), map[int]string{http.StatusBadRequest: "The point in time lies in the future"})
	refuse(takes("Last-Event-ID"), map[int]string{http.StatusConflict: "The place to begin is behind the end of what is followed"})
	refuse(r.fresh, map[int]string{http.StatusConflict: "The position is from before the log was rebuilt"})
	refuse(r.command, map[int]string{
		http.StatusConflict:       "The state does not allow it, or a request with this key is being carried out",
		http.StatusGatewayTimeout: "The outcome is not known: send the same request again under the same key",
	})
	refuse(r.command && r.body, map[int]string{
		http.StatusBadRequest:            "The body is not valid JSON or is nested too deep",
		http.StatusNotFound:              "What the body names is not there",
		http.StatusRequestTimeout:        "The body did not arrive in time",
		http.StatusRequestEntityTooLarge: "The body is too large",
		http.StatusUnsupportedMediaType:  "The body is of a type that is not taken",
	})
	refuse(r.tus, map[int]string{http.StatusPreconditionFailed: "The protocol is spoken in a version that is not taken"})
	refuse(r.Name == "create-upload", map[int]string{
		http.StatusRequestEntityTooLarge: "The file is too large, or the tenant keeps as much as it may",
		http.StatusInsufficientStorage:   "There is no room where files are kept: try again after Retry-After",
	})
	refuse(takes("If-Match"), map[int]string{
		http.StatusPreconditionFailed:   "Somebody changed it meanwhile",
		http.StatusPreconditionRequired: "Say which version you are changing",
	})
	for code, answer := range op.Responses { // those that a row describes itself
		if status, err := strconv.Atoi(code); err == nil && status >= http.StatusBadRequest && answer.Content == nil {
			answer.Content = map[string]*huma.MediaType{problemType: {Schema: schema, Example: exampleOf(status, answer.Description)}}
		}
	}
	if takes("If-None-Match") && op.Responses["304"] == nil {
		op.Responses["304"] = &huma.Response{Description: "You have it already"}
	}
}

// exampleOf is a problem as it looks with a status.
func exampleOf(status int, meaning string) map[string]any {
	e := newestExample[status]
	if e.code == "" {
		e = exampleProblem{"request.invalid_field", "query.limit", "use a number from 1 to 200"}
	}
	out := map[string]any{
		"type": "/problems/" + e.code, "title": cmp.Or(http.StatusText(status), "Checksum Mismatch"), "status": status, "detail": meaning, "code": e.code,
		"fix": e.fix, "request": "0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a",
	}
	if e.field != "" {
		out["field"] = e.field
	}
	return out
}

type exampleProblem struct{ code, field, fix string }

// newestExample is the code that is met most often with a status.
var newestExample = map[int]exampleProblem{
	http.StatusBadRequest:            {errMalformed.Code, "", errMalformed.Fix},
	http.StatusUnauthorized:          {"token.invalid", "", "sign in again, or ask for a new token"},
	http.StatusForbidden:             {errForbidden.Code, "", errForbidden.Fix},
	http.StatusNotFound:              {errNotFound.Code, "", ""},
	http.StatusRequestTimeout:        {errBodyCut.Code, "", errBodyCut.Fix},
	http.StatusConflict:              {errInProgress.Code, errInProgress.Field, errInProgress.Fix},
	http.StatusPreconditionFailed:    {"stream.stale", "If-Match", "read it again and send its new ETag"},
	http.StatusRequestEntityTooLarge: {errTooLarge.Code, "", errTooLarge.Fix},
	http.StatusUnsupportedMediaType:  {errMediaType.Code, "", errMediaType.Fix},
	http.StatusPreconditionRequired:  {errNoIfMatch.Code, errNoIfMatch.Field, errNoIfMatch.Fix},
	http.StatusTooManyRequests:       {errRate.Code, "", errRate.Fix},
	http.StatusInternalServerError:   {errInternal.Code, "", errInternal.Fix},
	http.StatusServiceUnavailable:    {errNotReached.Code, "", errNotReached.Fix},
	http.StatusGatewayTimeout:        {"append.unknown", "", "send it again with the same Idempotency-Key"},

	http.StatusRequestedRangeNotSatisfiable: {errRange.Code, errRange.Field, errRange.Fix},
	http.StatusInsufficientStorage:          {"blob.store_full", "", "try again after the time given in Retry-After, when the operator has made room"},
	statusChecksum:                          {"upload.checksum", headerChecksum, "send the bytes again"},
}

// explanation is what the description says of an operation beyond its row.
type explanation struct {
	text string
	body any // an example of the request's body
}

const (
	aboutLists   = "The next of a page is the cursor of the page after it, with the same filters."
	aboutStreams = "Server-sent events, read from the log without a gap. Come back with the last id as Last-Event-ID; comments are heartbeats. A reader who does not take what is sent is cut off and loses nothing."
	aboutWrites  = "Repeated under the same Idempotency-Key it answers the same and changes nothing."
)

// explanations has one entry for every row; a test compares them.
var explanations = map[string]explanation{
	"start-run": {
		"Starts a run of a workflow, stock or your own. The definition, the agents and the templates it uses are fixed by then. " + aboutWrites,
		map[string]any{"inputs": map[string]any{"notes": "Sign-in must work without a password."}, "priority": 0},
	},
	"list-runs":       {"Runs of your tenant, the newest first unless sort says otherwise, without their steps. " + aboutLists, nil},
	"stream-runs":     {"Every run that changes, as it then is, without its steps. " + aboutStreams, nil},
	"get-run":         {"A run with its steps, inputs and outputs.", nil},
	"list-run-events": {"What happened to a run, in order, with the data of every event. Next is the sequence to send as after.", nil},
	"stream-run":      {"Every event of a run (event), the run after them (run), and end once nothing more will happen. " + aboutStreams, nil},
	"cancel-run":      {"Ends a run: no further step begins, and results that arrive later only count as cost. " + aboutWrites, map[string]any{"reason": "It is not needed any more."}},

	"erase-run":    {"Destroys the key of what people and models wrote in a run that has ended. The events stay, and their chain stays whole; the content is gone for ever. " + aboutWrites, map[string]any{"reason": "The customer asked for it."}},
	"erase-person": {"Destroys the key of the names of a person. What they did stays, by their id. " + aboutWrites, map[string]any{"reason": "They left."}},

	"list-workflows":         {"The workflows that come with the product, on the first page, and then your own by id. " + aboutLists, nil},
	"create-workflow":        {"Stores a workflow of your own, as JSON or as the YAML of the library. " + aboutWrites, exampleDefinition},
	"get-workflow":           {"A workflow with its definition, in its newest version unless another is asked for.", nil},
	"revise-workflow":        {"Stores a new version. Runs that have begun go on with the version they began with. " + aboutWrites, exampleDefinition},
	"archive-workflow":       {"Takes a workflow out of use: no run can be started, and its versions stay readable. " + aboutWrites, nil},
	"copy-workflow":          {"Makes a workflow of your own from any other. " + aboutWrites, map[string]any{"id": "my-review", "title": "Our review"}},
	"list-workflow-versions": {"Who stored which version when, the newest first unless sort says otherwise. " + aboutLists, nil},

	"list-agents":    {"The agents of the library. " + aboutLists, nil},
	"get-agent":      {"An agent with its prompt, its model and its limits.", nil},
	"list-templates": {"The templates of the command library. " + aboutLists, nil},
	"get-template":   {"A template with its parameters and the JSON Schema of its answer.", nil},

	"create-task": {
		"Gives one agent one piece of work: a run of one step. " + aboutWrites,
		map[string]any{"agent": "business-analyst", "template": "requirements.extract-requirements", "input": map[string]any{"document": "Users sign in with a passkey."}},
	},
	"list-tasks":   {"The steps of runs that an agent works on, the newest first unless sort says otherwise, without outputs. " + aboutLists, nil},
	"stream-tasks": {"Every task that changes, as it then is. " + aboutStreams, nil},
	"get-task":     {"A task with its result.", nil},

	"workflow-analytics": {"What the runs of every workflow did and cost, day by day (UTC). " + aboutLists, nil},
	"agent-analytics":    {"What every agent did and cost, day by day (UTC). " + aboutLists, nil},

	"read-log":   {"Every event that you may see, in the order of the log. Next is the position to send as after.", nil},
	"stream-log": {"Every event that you may see, as it happens. " + aboutStreams, nil},
	"log-head":   {"The newest position, its hash and the identity of the log.", nil},

	"upload-options":   {"Uploads follow the tus protocol, version 1.0.0, so its clients can be used as they are.", nil},
	"create-upload":    {"Begins an upload of a size. Send the content with PATCH to where Location says. Its room is taken at once; what the tenant may keep is HISHAMOS_UPLOAD_QUOTA. " + aboutWrites, nil},
	"get-upload":       {"Where to go on, after a broken connection or a restart of the server: also asked with HEAD.", nil},
	"append-upload":    {"Takes content as it comes; it is encrypted before it is written anywhere. When the connection breaks, what arrived is kept, in full after every 4 MiB. The last byte completes the file.", nil},
	"end-upload":       {"Nothing of it is kept. A file that is complete can only be erased.", nil},
	"list-files":       {"Files and uploads of the tenant, without those that were removed. " + aboutLists, nil},
	"get-file":         {"What is known of a file. Name, media type and digest need `content:read`.", nil},
	"get-file-content": {"The content, as it was uploaded; parts of it with Range. Needs `content:read` besides.", nil},
	"erase-file":       {"Destroys the key of a file that is complete: nobody can read it any more, in no copy and no backup, and its blobs are removed. A run that still needs it fails. " + aboutWrites, map[string]any{"reason": "no longer needed"}},

	"list-tokens": {"The access tokens of the tenant, also those that were revoked: whom each acts as, what it may do and since when. " +
		"Secrets are kept nowhere, and their hashes are not shown.", nil},
	"rotate-token": {"The old secret stops working; the new one works when the answer comes. " + aboutWrites, map[string]any{}},
	"me":           {"Whose token this is, and what it may do.", nil},
	"metrics-v1":   {"Everything the process counts and measures.", nil},

	"health":       {"Answers as long as the process is alive, whatever else is down.", nil},
	"ready":        {"Whether the database and the log can be reached. Which of them cannot is said to callers on this machine and to those with `analytics:read` only.", nil},
	"metrics":      {"For callers on this machine, with `analytics:read`, or with the token of HISHAMOS_METRICS_TOKEN.", nil},
	"openapi":      {"The OpenAPI 3.1 description of this build.", nil},
	"asyncapi":     {"The AsyncAPI 3 description of the topics that carry every event.", nil},
	"event-schema": {"Where the dataschema of every event leads.", nil},
	"docs":         {"Everything it needs comes from this server.", nil},
	"docs-file":    {"Scripts and styles of the page.", nil},
	"problems":     {"Codes, statuses, meanings and remedies.", nil},
	"problem":      {"Where the type of every problem leads.", nil},
}

var exampleDefinition = map[string]any{
	"id": "my-review", "version": 1, "title": "Our review",
	"parameters": []any{map[string]any{"name": "notes", "type": "text", "required": true}},
	"steps":      []any{map[string]any{"id": "wait", "kind": "noop", "with": map[string]any{"notes": "${inputs.notes}"}}},
}

// undescribed names rows without an explanation, for the test.
func undescribed(rows []row) []string {
	var out []string
	for _, r := range rows {
		if explanations[r.Name].text == "" {
			out = append(out, fmt.Sprint(r.Method, " ", r.Path))
		}
	}
	return out
}
