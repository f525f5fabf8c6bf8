package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// benchmark runs the command on the embedded profile and returns its lines.
func benchmark(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	home, err := dataFolder(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs(t), "hishamos"), append([]string{"bench"}, args...)...)
	cmd.Env = append(os.Environ(), "DATABASE_URL=", "KAFKA_BROKERS=", "HISHAMOS_DATA="+filepath.Join(home, "data"), "XDG_CONFIG_HOME="+filepath.Join(home, "config"))
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	if strings.Contains(errs.String(), "hos_") {
		t.Errorf("a token is shown: %s", errs.String())
	}
	left, err := filepath.Glob(filepath.Join(home, "hishamos-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var lines []map[string]any
	for line := range bytes.Lines(out.Bytes()) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, v)
	}
	return lines
}

// inner is an object in an object.
func inner(t *testing.T, v map[string]any, name string) map[string]any {
	t.Helper()
	p, ok := v[name].(map[string]any)
	if !ok {
		t.Fatalf("no %s in %v", name, v)
	}
	return p
}

func TestABenchmarkAnswersWithOneObjectAndLeavesNothing(t *testing.T) {
	t.Parallel()
	lines := benchmark(t, "w1", "--runs", "5", "--inflight", "2", "--json")
	if len(lines) != 1 || lines[0]["bench"] != "w1" {
		t.Fatalf("lines: %v", lines)
	}
	values, setup := inner(t, lines[0], "values"), inner(t, lines[0], "setup")
	for _, name := range []string{"steps_per_second", "run_p50_ms", "run_p99_ms", "transactions_per_step", "wal_bytes_per_step", "cpu_s_per_1000_steps"} {
		if v, ok := values[name].(float64); !ok || v <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
	if setup["profile"] != "embedded" || setup["workers"] != "in-process" || setup["express"] != !expressIsOff() || setup["runs"] != 5.0 || setup["inflight"] != 2.0 {
		t.Errorf("setup: %v", setup)
	}
	if v, ok := setup["sync_ms"].(float64); !ok || v <= 0 {
		t.Errorf("sync_ms is %v", setup["sync_ms"])
	}
}

func TestABenchmarkOfKillsEndsEveryRun(t *testing.T) {
	t.Parallel()
	lines := benchmark(t, "w3", "--runs", "5", "--inflight", "5", "--json")
	if len(lines) != 3 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		values := inner(t, line, "values")
		if effects, ok := values["effects"].(float64); !ok || effects < 50 || values["runs_ended"] != 5.0 {
			t.Errorf("%v: %v", line["case"], values)
		}
		if repeated, ok := values["effects_repeated"].(float64); !ok || repeated != 0 {
			t.Errorf("%v: %v effects were repeated", line["case"], repeated)
		}
		if inner(t, line, "setup")["workers"] != "own" {
			t.Errorf("%v: workers are not in processes of their own", line["case"])
		}
	}
}
