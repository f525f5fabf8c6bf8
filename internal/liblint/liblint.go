// Package liblint checks the library for what its reader cannot see: whether
// schemas are closed and described, golden answers keep to them, parameters are
// used and cannot inject, prose is readable, references fit, and templates
// differ from each other.
//
// It must not know runs or providers. It imports library, internal/schema and
// domain.
//
// Start reading at Check and CheckMutations; each file holds one group of rules.
package liblint

import (
	"fmt"
	"strings"

	"github.com/hishamos/hishamos/library"
)

// Finding is one broken rule.
type Finding struct {
	Item string // template:<id>, agent:<id> or workflow:<id>
	Rule string // group/name, stable
	Text string
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Item, f.Rule, f.Text) }

// Check applies all rules. The checks look at definitions for what neither the
// reader nor this package understands, such as expressions.
func Check(l *library.Library, checks ...library.Check) []Finding {
	c := &checker{lib: l, item: "library"}
	published, err := publishedVersions(l)
	if err != nil {
		c.add("version/listed", "%v", err)
	}
	for _, id := range l.TemplateIDs() {
		t, _ := l.Template(id)
		c.item = "template:" + id
		c.checkSchema(t)
		c.checkParameters(t)
		c.checkTemplateProse(t)
		c.checkTemplateGraph(t)
		c.checkAccepts(t)
		c.checkEffect(t)
		c.checkReview(t.Authors, t.Review)
		c.checkChangelog(t.Version, t.Changelog)
		c.checkVersion(published, "template", t.Ref())
	}
	for _, id := range l.AgentIDs() {
		a, _ := l.Agent(id)
		c.item = "agent:" + id
		c.checkAgentProse(a)
		c.checkAgentGraph(a)
		c.checkCapabilities(a)
		c.checkPermissions(a)
		c.checkReview(a.Authors, a.Review)
		c.checkChangelog(a.Version, a.Changelog)
		c.checkVersion(published, "agent", a.Ref())
	}
	for _, id := range l.WorkflowIDs() {
		w, _ := l.Workflow(id)
		c.item = "workflow:" + id
		c.checkWorkflow(w, checks)
		c.checkEdges(w.ToDefinition())
		c.checkReview(w.Authors, w.Review)
		c.checkChangelog(w.Version, w.Changelog)
		c.checkVersion(published, "workflow", w.Ref())
	}
	c.checkSimilarity()
	c.checkFindability()
	return c.findings
}

type checker struct {
	lib      *library.Library
	item     string
	findings []Finding
}

func (c *checker) add(rule, format string, args ...any) {
	c.findings = append(c.findings, c.finding(rule, format, args...))
}

func (c *checker) finding(rule, format string, args ...any) Finding {
	return Finding{Item: c.item, Rule: rule, Text: fmt.Sprintf(format, args...)}
}

func words(s string) int { return len(strings.Fields(s)) }
