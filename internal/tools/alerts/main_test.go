package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const deploy = "../../../deploy"

// Each case plants one mistake, and names what must be said of it.
func TestEveryKindOfMistakeIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, old, new, says string }{
		"a key that Prometheus does not know": {"prometheus/prometheus.yml", "scrape_interval:", "scrape_intervals:", "scrape_intervals"},
		"a file of rules that is not there":   {"prometheus/prometheus.yml", "[rules.yml]", "[rule.yml]", "names no file"},
		"a target that is no address":         {"prometheus/prometheus.yml", "alertmanager:9093", "http://alertmanager:9093", "not a valid hostname"},
		"targets that are found elsewhere": {"prometheus/prometheus.yml", `static_configs:
      - targets: ["localhost:9090"]`, `http_sd_configs: [{url: "http://a"}]`, "http_sd_configs"},
		"an expression that does not parse":        {"prometheus/rules.yml", "max(hishamos_store_up) == 0", "max(hishamos_store_up == 0", "unclosed left parenthesis"},
		"a text that names an unknown function":    {"prometheus/rules.yml", "{{ $labels.instance }} does", "{{ nonsense }} does", "nonsense"},
		"a rule that stands there twice":           {"prometheus/rules.yml", "- alert: StoreUnreachable", "- alert: ProcessDown", "twice"},
		"an alert that fires too late":             {"prometheus/rules.yml", "for: 1m", "for: 9m", "ProcessDown after 2m"},
		"an alert that fires although it must not": {"prometheus/rules.yml", "max(hishamos_store_up)", "min(hishamos_store_up)", "StoreUnreachable after 4m"},
		"another annotation":                       {"prometheus/rules.yml", "does not answer", "answers not", "answers not"},
		"an expectation for no alert":              {"prometheus/rules_test.yml", "alertname: ProcessDown", "alertname: ProcessUp", "no alert ProcessUp"},
		"a key that tests do not have":             {"prometheus/rules_test.yml", "exp_labels", "exp_label", "exp_label"},
		"a receiver that is not there":             {"alertmanager/alertmanager.yml", "- name: channel", "- name: canal", `undefined receiver "channel"`},
		"a matcher that does not parse":            {"alertmanager/alertmanager.yml", `severity="critical"`, `severity~critical`, "severity"},
		"a receiver of an unknown kind":            {"alertmanager/alertmanager.yml", "webhook_configs", "webhooks", "webhooks"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(deploy)); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(filepath.Join(dir, c.file))
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(content), c.old, c.new, 1)
			if changed == string(content) {
				t.Fatalf("%s does not say %q", c.file, c.old)
			}
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			// What the mistake cannot touch is not checked: that takes its time.
			for _, step := range steps {
				if strings.HasPrefix(step.file, filepath.Dir(c.file)) {
					_, found := step.check(filepath.Join(dir, step.file))
					err = errors.Join(err, found)
				}
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want a word of %q", err, c.says)
			}
		})
	}
}
