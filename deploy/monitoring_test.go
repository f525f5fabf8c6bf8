package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/hishamos/hishamos/internal/telemetry"
)

// decode reads YAML into a value; keys that the value lacks are ignored, keys
// written twice are not.
func decode(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// metricNames are all names that may be queried.
func metricNames() map[string]bool {
	known := map[string]bool{"up": true}
	for _, m := range telemetry.Catalogue() {
		known[m.Name] = m.Kind != "histogram"
		if m.Kind == "histogram" {
			known[m.Name+"_bucket"], known[m.Name+"_sum"], known[m.Name+"_count"] = true, true, true
		}
	}
	return known
}

var (
	selector = regexp.MustCompile(`\b(hishamos_[a-z_]+|up)\b(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)(?:=|!=|=~|!~)"`)
)

// unknown names what a query asks for and no process serves.
func unknown(query string) (wrong []string) {
	labels := map[string][]string{"up": {"job", "instance"}}
	for _, m := range telemetry.Catalogue() {
		labels[m.Name] = append([]string{"instance", "job"}, m.Labels...)
	}
	known := metricNames()
	found := selector.FindAllStringSubmatch(query, -1)
	if len(found) == 0 {
		return []string{"no metric of ours"}
	}
	for _, m := range found {
		if !known[m[1]] {
			wrong = append(wrong, m[1])
			continue
		}
		base := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if labels[base] == nil {
				base = strings.TrimSuffix(base, suffix)
			}
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels[base], l[1]) {
				wrong = append(wrong, m[1]+"{"+l[1]+"}")
			}
		}
	}
	return wrong
}

type alertRules struct {
	Groups []struct {
		Rules []struct {
			Alert       string
			Expr        string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

func TestEveryAlertAsksForMetricsThatExistAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	var rules alertRules
	decode(t, "prometheus/rules.yml", &rules)
	var tests struct {
		Tests []struct {
			Cases []struct {
				Alert  string `yaml:"alertname"`
				Alerts []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	decode(t, "prometheus/rules_test.yml", &tests)
	fires := map[string]bool{}
	for _, test := range tests.Tests {
		for _, c := range test.Cases {
			fires[c.Alert] = fires[c.Alert] || len(c.Alerts) > 0
		}
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			if wrong := unknown(r.Expr); len(wrong) > 0 {
				t.Errorf("%s asks for %v", r.Alert, wrong)
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("%s lacks a severity, a summary or an action", r.Alert)
			}
			if !fires[r.Alert] {
				t.Errorf("no test lets %s fire", r.Alert)
			}
		}
	}
	if n < 4 {
		t.Errorf("%d alerts were found", n)
	}
}

type dashboard struct {
	UID    string
	Title  string
	Panels []struct {
		ID         int
		Title      string
		Datasource struct{ UID string }
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct{ Expr string }
	}
}

func TestEveryQueryOfADashboardHasItsMetric(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v: %v", files, err)
	}
	var source struct{ Datasources []struct{ UID, URL string } }
	decode(t, "grafana/provisioning/datasources/prometheus.yml", &source)
	uids := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(content, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID == "" || uids[d.UID] != "" || len(d.Panels) == 0 {
			t.Errorf("%s: uid %q is missing or that of %q, or it is empty", file, d.UID, uids[d.UID])
		}
		uids[d.UID] = file
		taken := map[string]string{}
		for _, p := range d.Panels {
			if p.Datasource.UID != source.Datasources[0].UID || len(p.Targets) == 0 {
				t.Errorf("%s: %s asks nobody, or nothing", file, p.Title)
			}
			if p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: %s is beyond the edge", file, p.Title)
			}
			at := fmt.Sprint(p.GridPos.X, p.GridPos.Y)
			if taken[at] != "" {
				t.Errorf("%s: %s lies upon %s", file, p.Title, taken[at])
			}
			taken[at] = p.Title
			for _, target := range p.Targets {
				if wrong := unknown(target.Expr); len(wrong) > 0 {
					t.Errorf("%s: %s asks for %v", file, p.Title, wrong)
				}
			}
		}
	}
}

func TestAQueryForWhatNobodyServesIsFound(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"hishamos_no_such_total", "rate(hishamos_run_duration_seconds[5m])", `hishamos_runs_total{tenant="x"}`, "sum(node_load1)",
	} {
		if len(unknown(query)) == 0 {
			t.Errorf("%s passed, so the other tests prove little", query)
		}
	}
}

func TestPrometheusScrapesEveryProcessAndTellsTheAlertmanager(t *testing.T) {
	t.Parallel()
	var c struct {
		Rules    []string `yaml:"rule_files"`
		Alerting struct {
			Alertmanagers []struct {
				Static []struct{ Targets []string } `yaml:"static_configs"`
			}
		}
		Scrape []struct {
			Job    string                       `yaml:"job_name"`
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	decode(t, "prometheus/prometheus.yml", &c)
	p := project(t)
	var want []string
	for name, s := range p.Services {
		if ours(s) {
			_, port, _ := strings.Cut(*s.Environment["HISHAMOS_METRICS_LISTEN"], ":")
			want = append(want, name+":"+port)
		}
	}
	slices.Sort(want)
	got := slices.Sorted(slices.Values(c.Scrape[0].Static[0].Targets))
	if !slices.Equal(got, want) {
		t.Errorf("Prometheus scrapes %v, want %v", got, want)
	}
	if !slices.Equal(c.Rules, []string{"rules.yml"}) || !slices.Equal(c.Alerting.Alertmanagers[0].Static[0].Targets, []string{"alertmanager:9093"}) {
		t.Errorf("Prometheus has the rules %v and tells %v", c.Rules, c.Alerting)
	}
}

func TestAlertsGoToAChannelWhoseAddressIsASecret(t *testing.T) {
	t.Parallel()
	type route struct {
		Receiver string
		Routes   []route
	}
	var c struct {
		Route     route
		Receivers []struct {
			Name     string
			Webhooks []struct {
				URL  string
				File string `yaml:"url_file"`
			} `yaml:"webhook_configs"`
		}
	}
	decode(t, "alertmanager/alertmanager.yml", &c)
	var names []string
	for _, r := range c.Receivers {
		names = append(names, r.Name)
		for _, w := range r.Webhooks {
			secret := strings.TrimPrefix(w.File, "/run/secrets/")
			if w.URL != "" || project(t).Secrets[secret].Environment != "ALERT_WEBHOOK_URL" {
				t.Errorf("%s: the address comes from %q %q", r.Name, w.URL, w.File)
			}
		}
	}
	for _, r := range append(c.Route.Routes, c.Route) {
		if !slices.Contains(names, r.Receiver) {
			t.Errorf("alerts go to %q, which is no receiver", r.Receiver)
		}
	}
}

func TestWhatIsDeployedIsWhatChecksItsConfiguration(t *testing.T) {
	t.Parallel()
	compose, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../internal/tools/alerts/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	// Prometheus 3.5.0 is the module's v0.305.0.
	image := regexp.MustCompile(`image: prom/prometheus:v3\.(\d+)\.(\d+)`).FindSubmatch(compose)
	if image == nil {
		t.Fatal("no image of Prometheus 3 is deployed")
	}
	wanted := fmt.Sprintf("github.com/prometheus/prometheus v0.3%02s.%s\n", image[1], image[2])
	image = regexp.MustCompile(`image: prom/alertmanager:(v\S+)`).FindSubmatch(compose)
	if image == nil {
		t.Fatal("no image of Alertmanager is deployed")
	}
	for _, w := range []string{wanted, fmt.Sprintf("github.com/prometheus/alertmanager %s\n", image[1])} {
		if !strings.Contains(string(mod), w) {
			t.Errorf("internal/tools/alerts/go.mod does not require %s", w)
		}
	}
}
