package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hishamos/hishamos/internal/checker"
)

// clients are people who use the system while it is being broken. They ask
// again under the same key until they have an answer.
type clients struct {
	t     *testing.T
	token string
	http  *http.Client

	mu        sync.Mutex // guards the rest
	addresses []string
	turn      int
	commands  []checker.Command
	refused   map[string]int // odd answers, counted
	acked     atomic.Int64
}

func newClients(c *cluster) *clients {
	l := &clients{t: c.t, token: c.token(), http: &http.Client{Timeout: 10 * time.Second}, refused: map[string]int{}}
	for _, p := range c.of("api") {
		l.addresses = append(l.addresses, "http://"+p.listen)
	}
	return l
}

// next is the API process whose turn it is.
func (l *clients) next() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn++
	return l.addresses[l.turn%len(l.addresses)]
}

// only sends all further requests to one process.
func (l *clients) only(p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addresses = []string{"http://" + p.listen}
}

// reply is an answer as it came.
type reply struct {
	status int
	body   string
	header http.Header
}

// send makes one request, to the next API process in turn.
func (l *clients) send(ctx context.Context, method, path, key, body string, headers ...string) (reply, error) {
	at := l.next()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, at+path, content)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(text), resp.Header}, err
}

// settled reports whether an answer is the last word on a request.
func (r reply) settled() bool {
	switch {
	case r.status >= 500, r.status == http.StatusTooManyRequests, r.status == http.StatusUnauthorized:
		return false
	case r.status == http.StatusConflict:
		return !strings.Contains(r.body, "command.in_progress")
	}
	return r.status != 0
}

// insist asks until there is a last word, or the context ends.
func (l *clients) insist(ctx context.Context, method, path, key, body string, headers ...string) (reply, bool) {
	for {
		r, err := l.send(ctx, method, path, key, body, headers...)
		if err == nil && r.settled() {
			return r, true
		}
		if err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout && r.status != http.StatusConflict {
			l.mu.Lock()
			l.refused[fmt.Sprintf("%d %.300s", r.status, r.body)]++
			l.mu.Unlock()
		}
		if !pauseFor(ctx, 100*time.Millisecond) {
			return r, false
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// command sends a command under a fresh key and remembers what became of it. Now
// and then it repeats itself, or uses the key for something else.
func (l *clients) command(ctx context.Context, method, path, body string) (checker.Answer, bool) {
	c := checker.Command{Key: uuid.NewString()}
	r, ok := l.insist(ctx, method, path, c.Key, body)
	if ok {
		c.Status, c.Acked = r.status, r.status < 300
	}
	if c.Acked {
		if err := json.Unmarshal([]byte(r.body), &c.Answer); err != nil {
			l.t.Errorf("%s %s answered %q: %v", method, path, r.body, err)
		}
		l.acked.Add(1)
		lot := rand.IntN(100)
		if lot < 15 {
			if again, ok := l.insist(ctx, method, path, c.Key, body); ok && (again.status != r.status || again.body != r.body) {
				c.Repeats = append(c.Repeats, fmt.Sprintf("%d %s", again.status, again.body))
			}
		}
		if lot < 5 {
			if other, ok := l.insist(ctx, method, path, c.Key, `{"priority":99}`); ok && other.status != http.StatusUnprocessableEntity {
				c.Repeats = append(c.Repeats, fmt.Sprintf("to another body: %d %s", other.status, other.body))
			}
		}
	}
	l.mu.Lock()
	l.commands = append(l.commands, c)
	l.mu.Unlock()
	return c.Answer, c.Acked
}

// definitions are the workflows of the load beside the stock ones: branches,
// retries, attempts that take too long, and steps that may be done only once.
var definitions = []string{
	`{"id":"chaos-branch","version":1,"title":"Branches","parameters":[{"name":"n","type":"integer","required":true}],"steps":[
		{"id":"a","kind":"noop","with":{"n":"${inputs.n}"}},
		{"id":"even","kind":"noop","needs":["a"],"when":"inputs.n % 2 == 0"},
		{"id":"odd","kind":"noop","needs":["a"],"when":"inputs.n % 2 == 1"},
		{"id":"after","kind":"noop","needs":["even","odd"]},{"id":"last","kind":"noop","needs":["after"]}],"deadline":"5m"}`,
	`{"id":"chaos-slow","version":1,"title":"Retries and time-outs","parameters":[{"name":"notes","type":"text","required":true}],"steps":[
		{"id":"draft","kind":"agent","agent":"business-analyst","template":"documentation.write-brief","with":{"notes":"${inputs.notes}","audience":"team"},
			"timeout":"1s","retry":{"max_attempts":6,"delay":"200ms","max_delay":"1s"}},
		{"id":"end","kind":"noop","needs":["draft"]}],"deadline":"5m"}`,
	`{"id":"chaos-once","version":1,"title":"At most once","parameters":[{"name":"notes","type":"text","required":true}],"steps":[
		{"id":"draft","kind":"agent","agent":"business-analyst","template":"documentation.write-brief","with":{"notes":"${inputs.notes}","audience":"team"},
			"effect":"at_most_once","on_error":"continue","retry":{"max_attempts":1}},
		{"id":"end","kind":"noop","needs":["draft"]}],"deadline":"5m"}`,
	`{"id":"chaos-short","version":1,"title":"Shorter than its steps","steps":[{"id":"a","kind":"noop"},
		{"id":"wait","kind":"agent","agent":"business-analyst","template":"documentation.write-brief","needs":["a"],
			"with":{"notes":"Depot north gets six vans.","audience":"team"}}],"deadline":"20ms"}`,
}

// define stores the definitions and waits until runs of them can be started.
func (l *clients) define(ctx context.Context) {
	l.t.Helper()
	for _, d := range definitions {
		a, ok := l.command(ctx, http.MethodPost, "/api/v1/workflows", d)
		if !ok {
			l.t.Fatalf("the definition was not taken: %+v %v", l.commands[len(l.commands)-1], l.refused)
		}
		if !eventually(60*time.Second, func() bool {
			r, err := l.send(ctx, http.MethodGet, "/api/v1/workflows/"+a.ID, "", "")
			return err == nil && r.status == http.StatusOK
		}) {
			l.t.Fatalf("workflow %s cannot be read", a.ID)
		}
	}
}

// start begins a run of some workflow.
func (l *clients) start(ctx context.Context) (checker.Answer, bool) {
	notes := fmt.Sprintf(`{"inputs":{"notes":"Depot %d gets six vans on 1 June. Two drivers have no licence yet."}}`, rand.IntN(1000))
	switch lot := rand.IntN(100); {
	case lot < 25:
		return l.command(ctx, http.MethodPost, "/api/v1/workflows/two-step/runs", notes)
	case lot < 30:
		return l.command(ctx, http.MethodPost, "/api/v1/workflows/requirements-to-user-stories/runs",
			`{"inputs":{"requirements":"A shop manager must be able to book a pickup. The overview has to load quickly."}}`)
	case lot < 50:
		return l.command(ctx, http.MethodPost, "/api/v1/workflows/chaos-slow/runs", notes)
	case lot < 65:
		return l.command(ctx, http.MethodPost, "/api/v1/workflows/chaos-once/runs", notes)
	case lot < 70:
		return l.command(ctx, http.MethodPost, "/api/v1/workflows/chaos-short/runs", "{}")
	}
	return l.branch(ctx)
}

// branch begins a run that needs no model.
func (l *clients) branch(ctx context.Context) (checker.Answer, bool) {
	return l.command(ctx, http.MethodPost, "/api/v1/workflows/chaos-branch/runs", fmt.Sprintf(`{"inputs":{"n":%d}}`, rand.IntN(1000)))
}

// work is one client at work until the context ends. What it began last it still
// brings to an answer, within the grace of asking.
func (l *clients) work(ctx, asking context.Context) {
	for pauseFor(ctx, time.Duration(60+rand.IntN(120))*time.Millisecond) {
		a, ok := l.start(asking)
		if ok && rand.IntN(10) == 0 {
			l.command(asking, http.MethodPost, "/api/v1/runs/"+a.ID+"/cancel", `{"reason":"changed my mind"}`)
		}
		if ok { // people wait for what they asked for, but not for ever
			patience, cancel := context.WithTimeout(ctx, 4*time.Second)
			l.finished(patience, a.ID, 250*time.Millisecond)
			cancel()
		}
	}
}

// probe begins a run and returns when it has come to its end.
func (l *clients) probe(ctx context.Context) bool {
	a, ok := l.command(ctx, http.MethodPost, "/api/v1/workflows/chaos-branch/runs", `{"inputs":{"n":1},"priority":100}`)
	return ok && l.finished(ctx, a.ID, 25*time.Millisecond)
}

// finished waits for the end of a run.
func (l *clients) finished(ctx context.Context, id string, every time.Duration) bool {
	for {
		if r, err := l.send(ctx, http.MethodGet, "/api/v1/runs/"+id, "", ""); err == nil && r.status == http.StatusOK {
			var run struct {
				State string `json:"state"`
			}
			if json.Unmarshal([]byte(r.body), &run) == nil && run.State != "running" {
				return true
			}
		}
		if !pauseFor(ctx, every) {
			return false
		}
	}
}

// states lists all runs with their states, or those of one state.
func (l *clients) states(ctx context.Context, state string) (map[string]string, error) {
	out := map[string]string{}
	for cursor := ""; ; {
		q := url.Values{"limit": {"200"}}
		if state != "" {
			q.Set("state", state)
		}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		r, err := l.send(ctx, http.MethodGet, "/api/v1/runs?"+q.Encode(), "", "")
		if err != nil {
			return nil, err
		}
		if r.status != http.StatusOK {
			return nil, fmt.Errorf("list runs: %d %s", r.status, r.body)
		}
		var page struct {
			Items []struct {
				ID    string `json:"id"`
				State string `json:"state"`
			} `json:"items"`
			Next string `json:"next"`
		}
		if err := json.NewDecoder(bytes.NewReader([]byte(r.body))).Decode(&page); err != nil {
			return nil, err
		}
		for _, run := range page.Items {
			out[run.ID] = run.State
		}
		if cursor = page.Next; cursor == "" {
			return out, nil
		}
	}
}
