// Command alerts checks what Prometheus and Alertmanager are given: that they
// would take their configuration, and that every alert fires when the file of
// tests says so, and not when it says not.
//
// It is made of the packages of Prometheus and Alertmanager themselves, at the
// versions that deploy/docker-compose.yml runs. promtool and amtool do the same,
// but compile the clients of two dozen clouds besides. It must not know
// HishamOS. Start with main; tests.go plays a file of tests.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	alertmanager "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/common/model"
	prometheus "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/rulefmt"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: alerts FOLDER (the folder deploy)")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// steps are what is checked in a folder as deploy is. Each returns what it found.
var steps = []struct {
	file  string
	check func(file string) (string, error)
}{
	{"prometheus/prometheus.yml", checkPrometheus},
	{"prometheus/rules_test.yml", playTests},
	{"alertmanager/alertmanager.yml", checkAlertmanager},
}

// check reads a folder and returns everything that is wrong.
func check(dir string, out io.Writer) error {
	var errs []error
	for _, s := range steps {
		found, err := s.check(filepath.Join(dir, s.file))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.file, err))
			continue
		}
		fmt.Fprintf(out, "%s: %s\n", s.file, found)
	}
	return errors.Join(errs...)
}

// checkPrometheus reads the configuration as Prometheus does at its start, with
// the rules it names.
func checkPrometheus(file string) (string, error) {
	cfg, err := prometheus.LoadFile(file, false, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	scrapes, err := cfg.GetScrapeConfigs()
	if err != nil {
		return "", err
	}
	for _, s := range scrapes {
		if err := knownDiscovery(s.ServiceDiscoveryConfigs); err != nil {
			return "", fmt.Errorf("job %s: %w", s.JobName, err)
		}
	}
	for _, a := range cfg.AlertingConfig.AlertmanagerConfigs {
		if err := knownDiscovery(a.ServiceDiscoveryConfigs); err != nil {
			return "", fmt.Errorf("alertmanagers: %w", err)
		}
	}
	rules, err := checkRules(cfg.RuleFiles)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d jobs, %d rules", len(scrapes), rules), nil
}

// knownDiscovery wants targets that stand in the file: Prometheus could find
// them in many other ways, whose packages are not in here to check them.
func knownDiscovery(configs discovery.Configs) error {
	for _, c := range configs {
		static, ok := c.(discovery.StaticConfig)
		if !ok {
			return fmt.Errorf("%s is not checked here; name the targets in static_configs", c.Name())
		}
		for _, g := range static {
			for _, t := range g.Targets {
				if err := prometheus.CheckTargetAddress(t[model.AddressLabel]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkRules reads the files of rules: they must be there, be right, and hold no
// rule twice.
func checkRules(patterns []string) (int, error) {
	seen := map[string]bool{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return 0, err
		}
		if len(files) == 0 {
			return 0, fmt.Errorf("%s names no file", pattern)
		}
		for _, file := range files {
			groups, errs := rulefmt.ParseFile(file, false)
			if len(errs) > 0 {
				return 0, errors.Join(errs...)
			}
			for _, g := range groups.Groups {
				for _, r := range g.Rules {
					// Maps print in the order of their keys.
					key := fmt.Sprint(r.Alert, r.Record, g.Labels, r.Labels)
					if seen[key] {
						return 0, fmt.Errorf("%s: rule %s%s stands there twice", file, r.Alert, r.Record)
					}
					seen[key] = true
				}
			}
		}
	}
	return len(seen), nil
}

// checkAlertmanager reads the configuration as Alertmanager does at its start.
func checkAlertmanager(file string) (string, error) {
	cfg, err := alertmanager.LoadFile(file)
	if err != nil {
		return "", err
	}
	if len(cfg.Templates) > 0 {
		return "", errors.New("templates are not checked here; write the text into the receiver")
	}
	return fmt.Sprintf("%d receivers, %d inhibit rules", len(cfg.Receivers), len(cfg.InhibitRules)), nil
}
