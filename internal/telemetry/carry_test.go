package telemetry_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hishamos/hishamos/internal/telemetry"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestATraceParentIsCarriedUnchanged(t *testing.T) {
	t.Parallel()
	for _, text := range []string{parent, strings.TrimSuffix(parent, "1") + "0"} {
		if got := telemetry.TraceParent(telemetry.WithTraceParent(t.Context(), text)); got != text {
			t.Errorf("carried %q, got %q", text, got)
		}
	}
}

func TestWhatIsNoTraceParentIsIgnored(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "00", strings.ToUpper(parent), "01" + parent[2:], parent + "-00", parent[:53] + "xx",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		strings.ReplaceAll(parent, "-", "_"),
	} {
		if got := telemetry.TraceParent(telemetry.WithTraceParent(t.Context(), text)); got != "" {
			t.Errorf("%q was taken as %q", text, got)
		}
	}
}

func TestALogLineNamesItsTrace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	telemetry.NewLogger(&out, "api", slog.LevelInfo).InfoContext(telemetry.WithTraceParent(t.Context(), parent), "request")
	if !strings.Contains(out.String(), `"trace_id":"0af7651916cd43dd8448eb211c80319c"`) {
		t.Errorf("got %s", out.String())
	}
}
