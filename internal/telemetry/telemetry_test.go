package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

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
