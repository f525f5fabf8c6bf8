package llm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/llm"
)

func table(t *testing.T) llm.PriceTable {
	t.Helper()
	p, err := llm.BuiltinPrices()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestACallIsChargedByKindOfToken(t *testing.T) {
	t.Parallel()
	resp := llm.Response{Model: "gpt-4.1-2025-04-14", Usage: domain.Tokens{Input: 1_000_000, CachedInput: 1_000_000, Output: 1_000_000, Reasoning: 1_000_000}}
	u := table(t).Charge("openai", resp)
	if u.Amount.USD() != "$18.500000" || u.Unpriced || u.Model != resp.Model {
		t.Errorf("charged %s: %+v", u.Amount.USD(), u)
	}
}

func TestAnUnknownModelIsUnpricedNeverFree(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"gpt-99", "gpt-4.1-turbo", ""} {
		if u := table(t).Charge("openai", llm.Response{Model: model, Usage: domain.Tokens{Input: 5}}); !u.Unpriced || u.Tokens.Input != 5 {
			t.Errorf("%q: %+v", model, u)
		}
	}
	if u := table(t).Charge("another", llm.Response{Model: "gpt-4.1"}); !u.Unpriced {
		t.Error("a price of one provider was used for another")
	}
}

func TestASimulatedCallOwesNothingAndIsNotUnpriced(t *testing.T) {
	t.Parallel()
	got := table(t).Charge("simulated", llm.Response{Model: "simulated", Simulated: true, Usage: domain.Tokens{Input: 5}})
	want := domain.Usage{Provider: "simulated", Model: "simulated", Simulated: true, Tokens: domain.Tokens{Input: 5}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestATableWithAHoleIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, `{"id":"x","models":{"p":{"m":{"input":"5","output":"0"}}}}`, `{"id":"x","models":{"p":{"m":{"input":0.5}}}}`} {
		if _, err := llm.ParsePrices([]byte(text)); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}
