package hishamos_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hishamos/hishamos/api/v1"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served answers requests one after another; what came is kept.
type served struct {
	mu      sync.Mutex
	answers []func(http.ResponseWriter)
	came    []*http.Request
}

func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.came = append(s.came, r.Clone(context.Background()))
	next := s.answers[min(len(s.came), len(s.answers))-1]
	s.mu.Unlock()
	next(w)
}

func setup(t *testing.T, answers ...func(http.ResponseWriter)) (*hishamos.Client, *served) {
	t.Helper()
	s := &served{answers: answers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := hishamos.New(server.URL+"/", "hos_x", hishamos.Options{HTTP: server.Client(), Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func text(status int, contentType, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Hishamos-Position", "p")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func TestABrokenStreamIsTakenUpAfterTheLastWholeEvent(t *testing.T) {
	t.Parallel()
	event := func(n int) string {
		return fmt.Sprintf("event: event\nid: %d\ndata: {\"sequence\":\"%d\"}\n\n", n, n)
	}
	const stream = "text/event-stream"
	c, s := setup(t,
		text(200, stream, ": stream\n\n"+event(1)+event(2)+"event: event\nid: 3\n"), // half an event
		text(503, "application/problem+json", `{"status":503,"code":"x"}`),
		text(200, stream, ": beat\nid: 2\n\n"+event(3)+"event: news\ndata: {}\n\nevent: run\ndata: {\"state\":\"completed\"}\n\n"),
		text(200, stream, "event: end\ndata: {}\n\n"))
	var got []string
	err := c.FollowRun(t.Context(), "run_1", 0, func(u hishamos.Update) error {
		if u.Event != nil {
			got = append(got, u.Event.Sequence.String())
		} else {
			got = append(got, u.Run.State)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "completed"}, got); diff != "" {
		t.Error(diff)
	}
	var ids []string
	for _, r := range s.came {
		ids = append(ids, r.Header.Get("Last-Event-Id"))
	}
	if !slices.Equal(ids, []string{"", "2", "2", "3"}) {
		t.Errorf("came back with %q", ids)
	}
}

func TestAStreamThatHasEndedIsNotTakenUp(t *testing.T) {
	t.Parallel()
	c, _ := setup(t, text(204, "", ""))
	if err := c.FollowRun(t.Context(), "run_1", 0, nil); err != nil {
		t.Error(err)
	}
	gone, _ := setup(t, text(404, "application/problem+json", `{"code":"not_found","detail":"not found"}`))
	var refused *hishamos.Error
	if err := gone.FollowLog(t.Context(), nil, nil, nil); !errors.As(err, &refused) || refused.Code != "not_found" {
		t.Errorf("err = %v", err)
	}
}

func TestAServerThatStaysAwayEndsAStream(t *testing.T) {
	t.Parallel()
	c, s := setup(t, text(503, "text/plain", "later"))
	var away *hishamos.UnreachableError
	if err := c.FollowRun(t.Context(), "run_1", 0, nil); !errors.As(err, &away) {
		t.Errorf("err = %v", err)
	}
	if len(s.came) != 5 {
		t.Errorf("%d tries", len(s.came))
	}
}

func TestACommandIsRepeatedUnderOneKey(t *testing.T) {
	t.Parallel()
	c, s := setup(t,
		text(503, "application/problem+json", `{"code":"append.busy"}`),
		text(409, "application/problem+json", `{"code":"command.in_progress"}`),
		text(504, "application/problem+json", `{"code":"append.unknown"}`),
		text(201, "application/json", `{"id":"run_1","version":"2","position":"7"}`))
	r, err := c.StartRun(t.Context(), "a/b", v1.StartRun{}, hishamos.Command{After: "logged", Wait: 3 * time.Second})
	if err != nil || r.ID != "run_1" || r.Position != 7 {
		t.Fatalf("%+v, %v", r, err)
	}
	key := s.came[0].Header.Get("Idempotency-Key")
	for _, q := range s.came {
		if q.Header.Get("Idempotency-Key") != key || key == "" {
			t.Error("the key changed")
		}
	}
	q := s.came[0]
	if q.URL.EscapedPath() != "/api/v1/workflows/a%2Fb/runs" || q.Header.Get("Prefer") != "hishamos-after=logged, wait=3" || q.Header.Get("Authorization") != "Bearer hos_x" {
		t.Errorf("request %s %v", q.URL.EscapedPath(), q.Header)
	}
	if _, err := c.Runs(t.Context(), hishamos.RunsQuery{}); err != nil {
		t.Fatal(err)
	}
	if got := s.came[len(s.came)-1].Header.Get("Hishamos-Position"); got != "p" {
		t.Errorf("a query after the command sends position %q", got)
	}
}

func TestARefusalIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, answer := range []func(http.ResponseWriter){
		text(422, "application/problem+json", `{"code":"x","detail":"is wrong","fix":"mend it"}`),
		text(500, "text/html", "<html>"),
	} {
		c, s := setup(t, answer)
		var refused *hishamos.Error
		if _, err := c.CancelRun(t.Context(), "run_1", "", hishamos.Command{}); !errors.As(err, &refused) || refused.Error() == "" || len(s.came) != 1 {
			t.Errorf("%d requests: %v", len(s.came), err)
		}
	}
}

func TestAnAddressIsAnAddress(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "localhost:8080", "ftp://x", "http://"} {
		if _, err := hishamos.New(bad, "", hishamos.Options{}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCallsOfCallersApartDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	s := &served{answers: []func(http.ResponseWriter){text(201, "application/json", `{"id":"run_1","version":"2","position":"7"}`)}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := hishamos.New(server.URL, "hos_x", hishamos.Options{HTTP: server.Client(), Apart: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.StartRun(t.Context(), "w", v1.StartRun{}, hishamos.Command{}); err != nil {
			t.Fatal(err)
		}
	}
	if p := s.came[1].Header.Get("Hishamos-Position"); p != "" {
		t.Errorf("the second call waits for position %q", p)
	}
}
