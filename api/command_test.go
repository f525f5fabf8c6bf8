package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

func TestStartingARunAnswersWithWhereItIs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"},"priority":7}`)
	f.want(a, http.StatusCreated, "")
	r := decode[v1.Receipt](t, a)
	if !strings.HasPrefix(r.ID, "run_") || r.Position == 0 || r.Version == 0 {
		t.Errorf("receipt = %+v", r)
	}
	if got := a.Header.Get("Location"); got != "/api/v1/runs/"+r.ID {
		t.Errorf("Location = %s", got)
	}
	for _, h := range []string{"Hishamos-Position", "Hishamos-Command", "Etag", "X-Request-Id"} {
		if a.Header.Get(h) == "" {
			t.Errorf("no header %s", h)
		}
	}
	run := decode[v1.Run](t, f.call("GET", "/api/v1/runs/"+r.ID, ""))
	if run.Workflow != (v1.Ref{ID: "stock", Version: 4}) || run.Priority != 7 || string(run.Inputs["notes"]) != `"n"` {
		t.Errorf("run = %+v", run)
	}
}

func TestARepeatedKeyRepeatsTheAnswerNotTheEffect(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const path, key = "/api/v1/workflows/stock/runs", "k-1"
	first := f.call("POST", path, `{"inputs":{"notes":"n"},"priority":1}`, "Idempotency-Key", key)
	again := f.call("POST", path+"/", ` {"priority": 1, "inputs": {"notes": "n"}} `, "Idempotency-Key", key)
	f.want(first, http.StatusCreated, "")
	f.want(again, http.StatusCreated, "")
	if first.body != again.body {
		t.Errorf("answers differ:\n%s%s", first.body, again.body)
	}
	for _, h := range []string{"Hishamos-Position", "Hishamos-Command", "Etag", "Location"} {
		if first.Header.Get(h) != again.Header.Get(h) {
			t.Errorf("%s differs: %s, %s", h, first.Header.Get(h), again.Header.Get(h))
		}
	}
	f.want(f.call("POST", path, `{"inputs":{"notes":"other"}}`, "Idempotency-Key", key), http.StatusUnprocessableEntity, "command.id_reused")
	other := f.as(stranger, "POST", path, `{"inputs":{"notes":"other"}}`, "Idempotency-Key", key)
	f.want(other, http.StatusCreated, "")
	if other.body == first.body {
		t.Error("tenants share keys")
	}
}

func TestAKeyThatTheServerMadeCanBeRepeated(t *testing.T) {
	t.Parallel()
	f := setup(t)
	first := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`)
	again := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, "Idempotency-Key", first.Header.Get("Hishamos-Command"))
	if first.body != again.body {
		t.Errorf("answers differ:\n%s%s", first.body, again.body)
	}
}

func TestARepetitionStandsWhenTheRequestWouldBeRefusedNow(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.want(f.call("POST", "/api/v1/workflows", own), http.StatusCreated, "")
	first := f.call("POST", "/api/v1/workflows/own/runs", `{}`, "Idempotency-Key", "k")
	f.want(first, http.StatusCreated, "")
	f.want(f.call("DELETE", "/api/v1/workflows/own", "", "If-Match", "*"), http.StatusOK, "")
	f.want(f.call("POST", "/api/v1/workflows/own/runs", `{}`, "Idempotency-Key", "fresh"), http.StatusConflict, "workflow.archived")
	if again := f.call("POST", "/api/v1/workflows/own/runs", `{}`, "Idempotency-Key", "k"); again.body != first.body {
		t.Errorf("the repetition answers %s", again.body)
	}
	f.want(f.call("POST", "/api/v1/workflows/own/runs", `{"priority":1}`, "Idempotency-Key", "k"), http.StatusConflict, "workflow.archived")
}

func TestKeysAreVisibleCharacters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, key := range []string{strings.Repeat("k", 256), "a b", "ключ"} {
		f.want(f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, "Idempotency-Key", key), http.StatusUnprocessableEntity, "request.invalid_field")
	}
	f.start("Idempotency-Key", strings.Repeat("k", 255))
}

// slow is a dispatcher that waits until it is let go.
type slow struct {
	commands.Dispatcher
	entered, let chan struct{}
}

func (s *slow) Do(ctx context.Context, r commands.Request) (commands.Receipt, error) {
	if strings.HasPrefix(string(r.ID), "key:") {
		s.entered <- struct{}{}
		<-s.let
	}
	return s.Dispatcher.Do(ctx, r)
}

func TestAKeyInProgressIsAConflict(t *testing.T) {
	t.Parallel()
	s := &slow{entered: make(chan struct{}), let: make(chan struct{})}
	f := setup(t, func(o *api.Options) { s.Dispatcher, o.Dispatcher = o.Dispatcher, s })
	var wait sync.WaitGroup
	wait.Go(func() { f.start("Idempotency-Key", "k") })
	<-s.entered
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, "Idempotency-Key", "k")
	f.want(a, http.StatusConflict, "command.in_progress")
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.let <- struct{}{}
	wait.Wait()
}

// broken answers every command of a client with an error.
type broken struct {
	commands.Dispatcher
	err error
}

func (b broken) Do(ctx context.Context, r commands.Request) (commands.Receipt, error) {
	if strings.HasPrefix(string(r.ID), "key:") {
		return commands.Receipt{}, b.err
	}
	return b.Dispatcher.Do(ctx, r)
}

func TestAnUnknownOutcomeNamesTheCommandToRepeat(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) {
		o.Dispatcher = broken{o.Dispatcher, &domain.Error{Kind: domain.Unknown, Code: "append.unknown", Message: "not known"}}
	})
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, "Idempotency-Key", "k-9")
	f.want(a, http.StatusGatewayTimeout, "append.unknown")
	if p := a.problem(t); p.Command != "k-9" || a.Header.Get("Hishamos-Command") != "k-9" {
		t.Errorf("problem = %+v", p)
	}
}

func TestAFaultOfOursShowsNothingButTheRequest(t *testing.T) {
	t.Parallel()
	f := setup(t, func(o *api.Options) { o.Dispatcher = broken{o.Dispatcher, errors.New("password=hunter2")} })
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, "X-Request-Id", "r-42")
	f.want(a, http.StatusInternalServerError, "internal")
	if strings.Contains(a.body, "hunter2") || a.problem(t).Request != "r-42" {
		t.Errorf("body = %s", a.body)
	}
	if !strings.Contains(f.Log.String(), "hunter2") || !strings.Contains(f.Log.String(), "r-42") {
		t.Error("the log does not say what happened")
	}
}

func TestPreferencesAreHonouredAndSaidSo(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for prefer, want := range map[string]string{
		"":                               "",
		"wait=5":                         "",
		"hishamos-after=logged":          "hishamos-after=logged",
		"wait=1, hishamos-after=logged":  "hishamos-after=logged",
		`hishamos-after="projected"; x`:  "hishamos-after=projected",
		"hishamos-after=sometime":        "",
		"respond-async,,, =;wait=banana": "",
	} {
		a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, "Prefer", prefer)
		f.want(a, http.StatusCreated, "")
		if got := a.Header.Get("Preference-Applied"); got != want {
			t.Errorf("%q: Preference-Applied = %q, want %q", prefer, got, want)
		}
	}
	f.Waiter.Hold(true)
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`, "Prefer", "wait=0, hishamos-after=logged")
	f.want(a, http.StatusCreated, "") // the command stands
	if got := a.Header.Get("Preference-Applied"); got != "" {
		t.Errorf("applied %q, though it was not", got)
	}
}

func TestARefusedCommandIsRefusedByTheDecider(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":{}}`)
	f.want(a, http.StatusUnprocessableEntity, "request.invalid_field")
	if p := a.problem(t); p.Field != "inputs.notes" || p.Fix == "" {
		t.Errorf("problem = %+v", p)
	}
	f.want(f.call("POST", "/api/v1/workflows/nope/runs", `{}`), http.StatusNotFound, "workflow.not_found")
	f.want(f.call("POST", "/api/v1/workflows/stock/runs", `{"version":3,"inputs":{"notes":"n"}}`), http.StatusNotFound, "not_found")
	f.want(f.call("POST", "/api/v1/runs/run_nope/cancel", ""), http.StatusNotFound, "not_found")
	f.want(f.call("POST", "/api/v1/runs/run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a/cancel", ""), http.StatusNotFound, "run.not_found")
}

func TestARunThatHasEndedCannotBeCancelled(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.start().ID
	f.want(f.call("POST", "/api/v1/runs/"+id+"/cancel", `{"reason":"enough"}`), http.StatusOK, "")
	if r := decode[v1.Run](t, f.call("GET", "/api/v1/runs/"+id, "")); r.State != v1.RunCancelled || r.Reason != "enough" {
		t.Errorf("run = %+v", r)
	}
	f.want(f.call("POST", "/api/v1/runs/"+id+"/cancel", ""), http.StatusConflict, "run.already_ended")
}

func TestATaskIsARunOfOneStep(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.call("POST", "/api/v1/tasks", `{"agent":"writer","template":"text.write","input":{"notes":"${1+1} is text"},"priority":3}`)
	f.want(a, http.StatusCreated, "")
	r := decode[v1.Receipt](t, a)
	id, path, _ := strings.Cut(r.ID, ".")
	if path != "task" || a.Header.Get("Location") != "/api/v1/tasks/"+r.ID {
		t.Errorf("receipt = %+v, Location %s", r, a.Header.Get("Location"))
	}
	task := decode[v1.Task](t, f.call("GET", "/api/v1/tasks/"+r.ID, ""))
	if task.ID != r.ID || task.Path != "task" || task.Run != id {
		t.Errorf("task = %+v", task)
	}
	run := decode[v1.Run](t, f.call("GET", "/api/v1/runs/"+id, ""))
	if string(run.Inputs["notes"]) != `"${1+1} is text"` || string(run.Inputs["words"]) != "5" || run.Priority != 3 {
		t.Errorf("inputs = %s", run.Inputs)
	}
	// The input reaches the template as a parameter, never as an expression.
	if a := f.call("GET", "/api/v1/runs/"+id+"/events", ""); !strings.Contains(a.body, `"with":{"notes":"${inputs.notes}","words":"${inputs.words}"}`) {
		t.Errorf("definition: %s", a.body)
	}
	f.want(f.call("POST", "/api/v1/tasks", `{"agent":"nobody","template":"text.write"}`), http.StatusUnprocessableEntity, "request.invalid_field")
	f.want(f.call("POST", "/api/v1/tasks", `{"agent":"writer","template":"none"}`), http.StatusUnprocessableEntity, "request.invalid_field")
	f.want(f.call("GET", "/api/v1/tasks/run_x", ""), http.StatusNotFound, "not_found")
}

func TestRotatingReplacesTheSecretAndShowsItOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	a := f.call("POST", "/api/v1/tokens/rotate", "", "Idempotency-Key", "k")
	f.want(a, http.StatusOK, "")
	r := decode[v1.RotatedToken](t, a)
	if !strings.HasPrefix(r.Secret, "hos_") || !strings.HasPrefix(r.ID, "token_") {
		t.Errorf("answer = %+v", r)
	}
	again := f.call("POST", "/api/v1/tokens/rotate", "", "Idempotency-Key", "k")
	if r := decode[v1.RotatedToken](t, again); r.Secret != "" {
		t.Error("the secret was shown again, and it cannot be the same")
	}
	mine := f.call("POST", "/api/v1/tokens/rotate", `{"secret_hash":"sha256:`+strings.Repeat("a", 64)+`"}`)
	f.want(mine, http.StatusOK, "")
	if r := decode[v1.RotatedToken](t, mine); r.Secret != "" {
		t.Error("a secret of the client's was answered with one of the server's")
	}
	f.want(f.call("POST", "/api/v1/tokens/rotate", `{"secret_hash":"md5:x"}`), http.StatusUnprocessableEntity, "request.invalid_field")
	if asked := f.Waiter.Asked(); len(asked) == 0 || !strings.HasPrefix(asked[0], "projected ") {
		t.Errorf("waited for %v; the next request needs the new secret", asked)
	}
}
