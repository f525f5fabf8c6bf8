package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"gopkg.in/yaml.v2"
)

// testFile is a file of tests in promtool's format, as far as alerts go.
type testFile struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []test         `yaml:"tests"`
}

type test struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts []expectation `yaml:"alert_rule_test"`
}

// expectation is which alerts of one name fire at one time.
type expectation struct {
	At     model.Duration `yaml:"eval_time"`
	Name   string         `yaml:"alertname"`
	Alerts []struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	} `yaml:"exp_alerts"`
}

// playTests plays every test of a file, and returns what came out otherwise.
func playTests(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var f testFile
	if err := yaml.UnmarshalStrict(content, &f); err != nil {
		return "", err
	}
	if f.EvaluationInterval <= 0 || len(f.Tests) == 0 {
		return "", errors.New("evaluation_interval and tests must be there")
	}
	var ruleFiles []string
	for _, name := range f.RuleFiles {
		ruleFiles = append(ruleFiles, filepath.Join(filepath.Dir(file), name))
	}
	var errs []error
	for _, t := range f.Tests {
		if t.Interval == 0 {
			t.Interval = f.EvaluationInterval
		}
		if err := t.play(time.Duration(f.EvaluationInterval), ruleFiles); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Name, err))
		}
	}
	return fmt.Sprintf("%d tests", len(f.Tests)), errors.Join(errs...)
}

// play feeds the samples and evaluates the rules, step by step, and compares
// what fires at the last step before each expected time.
func (t test) play(every time.Duration, ruleFiles []string) (err error) {
	var load strings.Builder
	fmt.Fprintf(&load, "load %s\n", t.Interval)
	for _, s := range t.Series {
		fmt.Fprintf(&load, "  %s %s\n", s.Series, s.Values)
	}
	suite, err := promqltest.NewLazyLoader(load.String(), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, suite.Close()) }()
	suite.SubqueryInterval = every
	groups, err := t.groups(suite, ruleFiles)
	if err != nil {
		return err
	}

	var errs []error
	slices.SortStableFunc(t.Alerts, func(a, b expectation) int { return int(a.At - b.At) })
	for now, next := time.Unix(0, 0).UTC(), 0; next < len(t.Alerts); now = now.Add(every) {
		suite.WithSamplesTill(now, func(err error) {
			errs = append(errs, err)
			for _, g := range groups {
				g.Eval(suite.Context(), now)
				for _, r := range g.Rules() {
					errs = append(errs, r.LastError())
				}
			}
		})
		if err := errors.Join(errs...); err != nil {
			return err
		}
		for ; next < len(t.Alerts) && time.Duration(t.Alerts[next].At) < time.Duration(now.Add(every).UnixNano()); next++ {
			errs = append(errs, t.Alerts[next].compare(groups))
		}
	}
	return errors.Join(errs...)
}

func (t test) groups(suite *promqltest.LazyLoader, ruleFiles []string) ([]*rules.Group, error) {
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(suite.QueryEngine(), suite.Storage()),
		Appendable: suite.Storage(),
		Context:    context.Background(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     slog.New(slog.DiscardHandler),
	})
	loaded, errs := manager.LoadGroups(time.Duration(t.Interval), labels.EmptyLabels(), "", nil, false, ruleFiles...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	groups := slices.Collect(maps.Values(loaded))
	slices.SortFunc(groups, func(a, b *rules.Group) int { return strings.Compare(a.Name(), b.Name()) })
	for _, g := range groups {
		for _, a := range g.AlertingRules() {
			a.SetRestored(true) // Without it a rule keeps no series of its own.
		}
	}
	return groups, nil
}

// compare returns an error if other alerts of this name fire than are expected.
func (e expectation) compare(groups []*rules.Group) error {
	if e.Name == "" {
		return errors.New("an expectation has no alertname")
	}
	var want, got []string
	for _, a := range e.Alerts {
		all := maps.Clone(a.Labels)
		if all == nil {
			all = map[string]string{}
		}
		all[labels.AlertName] = e.Name // Prometheus adds it to what the rule says.
		want = append(want, labels.FromMap(all).String()+" "+labels.FromMap(a.Annotations).String())
	}
	known := false
	for _, g := range groups {
		for _, r := range g.AlertingRules() {
			if r.Name() != e.Name {
				continue
			}
			known = true
			for _, a := range r.ActiveAlerts() {
				if a.State == rules.StateFiring {
					got = append(got, a.Labels.String()+" "+a.Annotations.String())
				}
			}
		}
	}
	if !known {
		return fmt.Errorf("there is no alert %s", e.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return fmt.Errorf("%s after %s:\n  should fire: %s\n  fires:       %s", e.Name, e.At,
			strings.Join(want, "\n               "), strings.Join(got, "\n               "))
	}
	return nil
}
