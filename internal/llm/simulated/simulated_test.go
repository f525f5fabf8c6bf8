package simulated_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/llm/llmtest"
	"github.com/hishamos/hishamos/internal/llm/simulated"
	"github.com/hishamos/hishamos/internal/schema"
)

func TestTheProviderKeepsTheContract(t *testing.T) {
	t.Parallel()
	llmtest.Exercise(t, func(*testing.T) llm.Provider { return simulated.New(simulated.Options{}) })
}

func TestFailuresHaveTheSharedCodes(t *testing.T) {
	t.Parallel()
	llmtest.ExerciseFailures(t, func(_ *testing.T, s llmtest.Situation) llm.Provider {
		if s == llmtest.Hanging {
			return simulated.New(simulated.Options{Latency: time.Hour})
		}
		return simulated.New(simulated.Options{Fault: func(simulated.Call) error {
			return &llm.Error{Provider: simulated.Name, Code: llm.RateLimited, Message: "too many", RetryAfter: 7 * time.Second}
		}})
	}, llmtest.TooMany, llmtest.Hanging) // it reaches nobody, so nothing else can go wrong
}

const paper = `<data name="document" type="document" fence="00ff">
# Pickups

- A shop manager must be able to book a pickup, so that nobody has to call.
- A driver should see the stops.
Is the telephone line kept? This is not yet decided.
</data fence="00ff">`

const shape = `{"type":"object","additionalProperties":false,"required":["stories","summary"],"properties":{
 "stories":{"type":"array","items":{"type":"object","additionalProperties":false,
  "required":["id","title","as_a","i_want","so_that","quote","priority"],"properties":{
  "id":{"type":"string","pattern":"^S-[0-9]+$"},"title":{"type":"string"},"as_a":{"type":"string"},"i_want":{"type":"string"},
  "so_that":{"type":"string"},"quote":{"type":"string"},"priority":{"enum":["must","should","could","wont"]}}}},
 "summary":{"type":"string"}}}`

type story struct{ ID, Title, As_a, I_want, So_that, Quote, Priority string }

func ask(t *testing.T, p llm.Provider, prompt, schema string) string {
	t.Helper()
	resp, err := p.Complete(t.Context(), llm.Request{Attempt: "a", Schema: json.RawMessage(schema), Messages: []llm.Message{{Role: llm.User, Text: prompt}}})
	if err != nil {
		t.Fatal(err)
	}
	if !resp.Simulated || resp.Model != "simulated" {
		t.Errorf("the answer does not say that it is simulated: %+v", resp)
	}
	return resp.Text
}

func TestAnAnswerIsMadeFromTheInput(t *testing.T) {
	t.Parallel()
	var got struct {
		Stories []story
		Summary string
	}
	if err := json.Unmarshal([]byte(ask(t, simulated.New(simulated.Options{}), paper, shape)), &got); err != nil {
		t.Fatal(err)
	}
	want := []story{
		{"S-1", "Book a pickup", "shop manager", "book a pickup", "nobody has to call", "A shop manager must be able to book a pickup, so that nobody has to call.", "must"},
		{"S-2", "See the stops", "driver", "see the stops", "the need of the source is met", "A driver should see the stops.", "should"},
	}
	if diff := cmp.Diff(want, got.Stories); diff != "" {
		t.Errorf("stories (-want +got):\n%s", diff)
	}
	if !strings.Contains(got.Summary, "no model was called") {
		t.Errorf("the summary does not say that it is simulated: %s", got.Summary)
	}
}

func TestTheSameInputGetsTheSameAnswerWhateverTheFence(t *testing.T) {
	t.Parallel()
	p := simulated.New(simulated.Options{})
	first := ask(t, p, paper, shape)
	if second := ask(t, p, strings.ReplaceAll(paper, "00ff", "ab12"), shape); first != second {
		t.Errorf("%s\n%s", first, second)
	}
}

func TestRecordsOfAnEarlierStepAreCarriedOn(t *testing.T) {
	t.Parallel()
	prompt := `<data name="requirements" type="result" fence="0a">
[{"id":"R-7","statement":"A clerk must print a label."}]
</data fence="0a">`
	got := ask(t, simulated.New(simulated.Options{}), prompt, `{"type":"object","required":["priorities"],"properties":{"priorities":{"type":"array","items":
		{"type":"object","required":["requirement_id","priority"],"properties":{"requirement_id":{"type":"string"},"priority":{"enum":["wont","must"]}}}}}}`)
	if want := `{"priorities":[{"priority":"must","requirement_id":"R-7"}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestChangedLinesAreCitedWithFileAndLine(t *testing.T) {
	t.Parallel()
	prompt := "<data name=\"diff\" type=\"diff\" fence=\"0a\">\n--- a/x.go\n+++ b/x.go\n@@ -1,2 +10,3 @@\n context\n+total := sum(items)\n</data fence=\"0a\">"
	got := ask(t, simulated.New(simulated.Options{}), prompt, `{"type":"object","required":["findings"],"properties":{"findings":{"type":"array","items":
		{"type":"object","required":["file","line","quote"],"properties":{"file":{"type":"string"},"line":{"type":"integer"},"quote":{"type":"string"}}}}}}`)
	if want := `{"findings":[{"file":"x.go","line":11,"quote":"total := sum(items)"}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnyInputLeadsToAnAnswerThatFits(t *testing.T) {
	t.Parallel()
	s, err := schema.Compile(json.RawMessage(shape))
	if err != nil {
		t.Fatal(err)
	}
	p := simulated.New(simulated.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom([]string{"text", "diff", "result"}).Draw(rt, "kind")
		body := rapid.OneOf(rapid.String(), rapid.StringMatching(`[{}\[\]",:a-z +@-]{0,60}`), rapid.StringMatching(`([A-Z][a-z]{1,8} must [a-z ]{1,30}[.?!]\n?){0,5}`)).Draw(rt, "body")
		resp, err := p.Complete(t.Context(), llm.Request{Schema: json.RawMessage(shape), Messages: []llm.Message{{
			Role: llm.User, Text: "<data name=\"x\" type=\"" + kind + "\" fence=\"0a\">\n" + body + "\n</data fence=\"0a\">",
		}}})
		if err != nil {
			rt.Fatal(err)
		}
		if wrong := s.Check(json.RawMessage(resp.Text)); wrong != nil {
			rt.Fatalf("%s: %v", resp.Text, wrong)
		}
	})
}

func TestASchemaThatContainsItselfEnds(t *testing.T) {
	t.Parallel()
	ask(t, simulated.New(simulated.Options{}), paper, `{"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","required":["kids"],"properties":{"kids":{"type":"array","items":{"$ref":"#/$defs/tree"}}}}}}`)
}

func TestLatencyIsWaitedForUnlessTheCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ask(t, simulated.New(simulated.Options{Latency: 3 * time.Second}), paper, shape)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestTheLedgerHoldsEveryCall(t *testing.T) {
	t.Parallel()
	ledger := &simulated.Ledger{}
	broken := errors.New("broken")
	p := simulated.New(simulated.Options{Ledger: ledger, Fault: func(c simulated.Call) error {
		if c.Number == 2 {
			return broken
		}
		return nil
	}})
	for _, attempt := range []string{"a", "b"} {
		_, err := p.Complete(t.Context(), llm.Request{Attempt: attempt, Messages: []llm.Message{{Role: llm.User, Text: "three short words"}}})
		if (attempt == "b") != errors.Is(err, broken) {
			t.Errorf("%s: %v", attempt, err)
		}
	}
	got := ledger.Entries()
	if len(got) != 2 || got[0].Attempt != "a" || got[0].Tokens.Input == 0 || got[1].Attempt != "b" || !errors.Is(got[1].Err, broken) || got[1].Tokens.Total() != 0 {
		t.Errorf("ledger is %+v", got)
	}
}
