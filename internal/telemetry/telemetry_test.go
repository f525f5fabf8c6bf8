package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/telemetry"
)

func TestALogLineSaysWhenWhatWhereAndForWhom(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, "api", slog.LevelInfo)
	ctx := telemetry.With(context.Background(), slog.String(telemetry.Request, "r1"))
	ctx = telemetry.With(ctx, slog.String(telemetry.User, "amina"))
	log.InfoContext(ctx, "request", telemetry.Status, 200)

	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"level": "INFO", "message": "request", "service": "api", "request_id": "r1", "user": "amina", "status": 200.0} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}
	if line["time"] == nil {
		t.Error("the line has no time")
	}
	if got := telemetry.Value(ctx, telemetry.Request); got != "r1" {
		t.Errorf("Value = %q", got)
	}
}

func TestContextsWithACommonParentDoNotShareAttributes(t *testing.T) {
	t.Parallel()
	parent := telemetry.With(context.Background(), slog.String("a", "1"))
	one := telemetry.With(parent, slog.String("b", "one"))
	telemetry.With(parent, slog.String("b", "two"))
	if got := telemetry.Value(one, "b"); got != "one" {
		t.Errorf("b = %q, want one", got)
	}
}

func TestCommittedEventsAreCountedByTypeWithTheirTokensAndCost(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	_, data, err := events.Encode(events.TokensSpent{Path: "a", Attempt: 1, Call: 1, Usage: domain.Usage{
		Provider: "p", Model: "m", Tokens: domain.Tokens{Input: 7, Output: 5}, Amount: 1200,
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.Committed([]events.Record{
		{Envelope: events.Envelope{Type: "run.tokens_spent", Version: 1}, Data: data},
		{Envelope: events.Envelope{Type: "run.completed", Version: 1}, Data: []byte(`{}`)},
		{Envelope: events.Envelope{Type: "run.tokens_spent", Version: 1}, Data: []byte(`no`)},
	})
	m.Request("GET", "/api/v1/runs", 200, time.Millisecond)
	if err := m.Mark("committed", func() domain.Position { return 42 }); err != nil {
		t.Fatal(err)
	}
	if err := m.Mark("committed", func() domain.Position { return 42 }); err == nil {
		t.Error("the same mark was registered twice")
	}

	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	body, _ := io.ReadAll(answer.Body)
	for _, want := range []string{
		`hishamos_events_total{type="run.completed"} 1`,
		`hishamos_events_total{type="run.tokens_spent"} 2`,
		`hishamos_tokens_total{kind="input",model="m",provider="p"} 7`,
		`hishamos_cost_nano_usd_total{model="m",provider="p"} 1200`,
		`hishamos_events_undecodable_total 1`,
		`hishamos_http_requests_total{method="GET",route="/api/v1/runs",status="200"} 1`,
		`hishamos_log_position{mark="committed"} 42`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
