package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/v1"
)

// message is one server-sent event, or a comment.
type message struct{ name, id, data string }

// stream opens an event stream; next waits for its next message.
func (f *fixture) stream(token, path string, headers ...string) (response *http.Response, next func() message) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
	f.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", f.URL+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.Tokens.Secret(token))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err = f.Client().Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewReader(response.Body)
	return response, func() (m message) {
		f.t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return message{name: "closed"}
			}
			switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); name {
			case "event":
				m.name = value
			case "id":
				m.id = value
			case "data":
				m.data = value
			case "":
				if m.name != "" || m.id != "" {
					return m
				}
			}
		}
	}
}

func TestARunsStreamHasItsEventsItsStateAndAnEnd(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.start().ID
	response, next := f.stream(reader, "/api/v1/runs/"+id+"/stream")
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("Content-Type %s", got)
	}
	for _, want := range []string{"1", "2"} {
		m := next()
		var e v1.Event
		if err := json.Unmarshal([]byte(m.data), &e); err != nil || m.name != "event" || m.id != want || e.Sequence.String() != want {
			t.Fatalf("message %+v: %v", m, err)
		}
	}
	if m := next(); m.name != "run" || m.id != "" || !strings.Contains(m.data, `"state":"running"`) {
		t.Fatalf("message %+v", m)
	}
	f.want(f.call("POST", "/api/v1/runs/"+id+"/cancel", ""), http.StatusOK, "")
	if m := next(); m.name != "event" || m.id != "3" {
		t.Fatalf("message %+v", m)
	}
	if m := next(); m.name != "run" || !strings.Contains(m.data, `"state":"cancelled"`) {
		t.Fatalf("message %+v", m)
	}
	if m := next(); m.name != "end" {
		t.Fatalf("message %+v", m)
	}
	if m := next(); m.name != "closed" {
		t.Fatalf("message %+v", m)
	}
	// Who comes back with the last id is told not to.
	again, _ := f.stream(reader, "/api/v1/runs/"+id+"/stream", "Last-Event-ID", "3")
	if again.StatusCode != http.StatusNoContent {
		t.Errorf("status %d after the end", again.StatusCode)
	}
}

func TestABrokenStreamGoesOnAfterItsLastID(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.start().ID
	_, next := f.stream(reader, "/api/v1/runs/"+id+"/stream?after=0", "Last-Event-ID", "1")
	if m := next(); m.id != "2" {
		t.Errorf("message %+v", m)
	}
	f.want(f.as(reader, "GET", "/api/v1/runs/"+id+"/stream?after=99", ""), http.StatusConflict, "stream.behind_end")
	f.want(f.as(reader, "GET", "/api/v1/runs/"+id+"/stream", "", "Last-Event-ID", "x"), http.StatusUnprocessableEntity, "request.invalid_field")
	f.want(f.as(reader, "GET", "/api/v1/runs/run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a/stream", ""), http.StatusNotFound, "not_found")
}

func TestAStreamGoesOnWithoutStatesWhenReadModelsLag(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.start().ID
	f.Waiter.Hold(true)
	_, next := f.stream(reader, "/api/v1/runs/"+id+"/stream")
	next()
	next()
	f.want(f.call("POST", "/api/v1/runs/"+id+"/cancel", ""), http.StatusOK, "")
	if m := next(); m.name != "event" || m.id != "3" {
		t.Errorf("message %+v", m)
	}
}

func TestTheLogsStreamBeginsAtItsEndUnlessAsked(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.start()
	head := decode[v1.Head](t, f.call("GET", "/api/v1/log/head", "")).Position
	_, fresh := f.stream(reader, "/api/v1/log/stream?type=run")
	// Heartbeats prove that the stream stands, and carry its position.
	if m := fresh(); m.name != "" || m.id != head.String() {
		t.Fatalf("message %+v, want a mark at %s", m, head)
	}
	f.as(stranger, "POST", "/api/v1/workflows/stock/runs", `{"inputs":{"notes":"n"}}`)
	r := f.start()
	m := fresh()
	for m.name == "" {
		m = fresh()
	}
	if want := r.Position - 1; m.id != want.String() || !strings.Contains(m.data, r.ID) {
		t.Errorf("message %+v, want position %d", m, want)
	}
	_, past := f.stream(reader, "/api/v1/log/stream?after=0")
	if m := past(); m.id != "1" {
		t.Errorf("message %+v", m)
	}
	f.want(f.as(reader, "GET", "/api/v1/log/stream?after=999999", ""), http.StatusConflict, "stream.behind_end")
}

func TestStreamsEndWhenTheServerStops(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	f := setup(t, func(o *api.Options) { o.Done, o.Heartbeat = done, time.Hour })
	id := f.start().ID
	_, next := f.stream(reader, "/api/v1/runs/"+id+"/stream")
	for range 3 {
		next()
	}
	close(done)
	if m := next(); m.name != "closed" {
		t.Errorf("message %+v", m)
	}
}
