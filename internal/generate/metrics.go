package main

import (
	"fmt"
	"strings"

	"github.com/hishamos/hishamos/internal/telemetry"
)

func metricsPage(source) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Metrics\n\n" + pageNote)
	b.WriteString("In the Prometheus text format, at `/metrics` and `/api/v1/monitoring/prometheus/metrics` of the API " +
		"(permission [`analytics:read`](permissions.md), or a caller on the same machine), and at `/metrics` of the address in " +
		"[`HISHAMOS_METRICS_LISTEN`](settings.md) of any process.\n\n")
	b.WriteString("Counters count what their process did; add them up over processes. Gauges of the log, of consumers and of the database say the same " +
		"in every process: take the maximum. No label holds the id of a run, a tenant or a person. Workflows, agents and models beyond " +
		"a limit (200, 100, 50 per process) are counted together as `" + telemetry.Other + "`. " +
		"Those of the Go runtime (`go_…`) and of the process (`process_…`) come besides.\n\n")
	b.WriteString("| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range telemetry.Catalogue() {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, cell(m.Help))
	}
	return []byte(b.String()), nil
}
