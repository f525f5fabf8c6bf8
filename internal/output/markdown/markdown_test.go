package markdown_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/internal/output/markdown"
)

func of(outputs string) v1.Run {
	r := v1.Run{ID: "run_1", Title: "Requirements to stories", Workflow: v1.Ref{ID: "requirements", Version: 2}, State: "completed"}
	if err := json.Unmarshal([]byte(outputs), &r.Outputs); err != nil {
		panic(err)
	}
	return r
}

const head = "# Requirements to stories\n\nRun `run_1`, workflow requirements version 2: **completed**.\n\n"

func TestOutputsAreRenderedByTheirShape(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ outputs, want string }{
		"a story is a sentence with a check list": {
			`{"stories":[{"id":"S-1","title":"Sign in","as_a":"As a clerk","i_want":"to sign in","so_that":"my work is mine.","acceptance_criteria":["a token is given",{"given":"a wrong password","when":"I sign in","then":"I am refused"}],"priority":"high"}]}`,
			"## Stories\n\n### Sign in\n\n**As a** clerk, **I want to** sign in, **so that** my work is mine.\n\nAcceptance criteria:\n\n- [ ] a token is given\n- [ ] **given** a wrong password, **when** I sign in, **then** I am refused\n\n- **Id**: S-1\n- **Priority**: high\n",
		},
		"a review point says its verdict first": {
			`{"points":[{"point":"failure_handling","verdict":"problem","comment":"The cause is lost.","findings":[]}]}`,
			"## Points\n\n### Failure handling\n\n**Problem**: The cause is lost.\n",
		},
		"a triaged bug says how bad and how soon": {
			`{"bug":{"severity":"high","priority":"P1","component":"login"}}`,
			"## Bug\n\n**Severity high, priority P1**, login\n\n- **Component**: login\n",
		},
		"a list of flat objects is a table": {
			`{"risks":[{"name":"a|b","level":3},{"name":"c","level":1}]}`,
			"## Risks\n\n| Name | Level |\n| --- | --- |\n| a\\|b | 3 |\n| c | 1 |\n",
		},
		"anything else keeps its order": {
			`{"report":{"z":1,"a":"two","list":["x","y"],"none":[],"deep":{"m":true}}}`,
			"## Report\n\n- **Z**: 1\n- **A**: two\n\n### List\n\n- x\n- y\n\n### Deep\n\n- **M**: yes\n",
		},
		"text is text": {`{"text":"one\ntwo"}`, "## Text\n\none\ntwo\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(head+c.want, markdown.Run(of(c.outputs))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSimulatedResultsSaySo(t *testing.T) {
	t.Parallel()
	r := of(`{"a":"b"}`)
	if strings.Contains(markdown.Run(r), "SIMULATED") {
		t.Error("a real run says SIMULATED")
	}
	r.Cost.Simulated = true
	if !strings.Contains(markdown.Run(r), "SIMULATED") {
		t.Error("a simulated run does not say so")
	}
	task := v1.Task{ID: "run_1.task", Step: v1.Step{State: "completed", Simulated: true, Output: json.RawMessage(`{"a":1}`)}}
	if got := markdown.Task(task); !strings.Contains(got, "SIMULATED") || !strings.Contains(got, "- **A**: 1") {
		t.Errorf("got:\n%s", got)
	}
}

func TestARunWithoutOutputsShowsItsStepsAndItsFault(t *testing.T) {
	t.Parallel()
	r := v1.Run{
		ID: "run_1", Workflow: v1.Ref{ID: "w"}, State: "failed", Fault: &v1.Fault{Code: "provider.down", Message: "no answer"},
		Steps: []v1.Step{{Path: "draft", Output: json.RawMessage(`"text"`)}, {Path: "broken", Output: json.RawMessage(`{`)}},
	}
	got := markdown.Run(r)
	for _, want := range []string{"**Failed**: no answer (`provider.down`)", "## Draft\n\ntext\n", "## Broken\n\n```\n{\n```"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}

func TestTextOfOthersIsNotMarkup(t *testing.T) {
	t.Parallel()
	r := of(`{"a":{"short":"<script>x</script> ![i](http://e/x.png) [l](http://e) \u001b[2J","long":"one\n<img src=x>\n![i](http://e/x.png)"}}`)
	got := markdown.Run(r)
	for _, bad := range []string{"<script", "<img", "![", "[l]", "\x1b"} {
		if strings.Contains(got, bad) {
			t.Errorf("contains %q:\n%s", bad, got)
		}
	}
}
