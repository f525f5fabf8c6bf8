package llm

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/hishamos/hishamos/domain"
)

//go:embed prices.json
var builtinPrices []byte

// PriceTable is what models cost, by provider and model, as of a day. Its ID
// goes into every event that was charged by it.
type PriceTable struct {
	ID     string                              `json:"id"`
	AsOf   string                              `json:"as_of"`
	Source string                              `json:"source"`
	Models map[string]map[string]domain.Prices `json:"models"`
}

// BuiltinPrices is the table that comes with the program.
func BuiltinPrices() (PriceTable, error) { return ParsePrices(builtinPrices) }

// ParsePrices reads a table. Prices are nano-USD per 1,000,000 tokens, as
// decimal strings.
func ParsePrices(data []byte) (PriceTable, error) {
	var t PriceTable
	if err := json.Unmarshal(data, &t); err != nil {
		return PriceTable{}, fmt.Errorf("read price table: %w", err)
	}
	if t.ID == "" {
		return PriceTable{}, fmt.Errorf("read price table: the id is missing")
	}
	for provider, models := range t.Models {
		for model, p := range models {
			if p.Input <= 0 || p.Output <= 0 {
				return PriceTable{}, fmt.Errorf("read price table %s: %s/%s has no price for input or output", t.ID, provider, model)
			}
		}
	}
	return t, nil
}

var dateSuffix = regexp.MustCompile(`-\d{4}-\d{2}-\d{2}$`)

// Find returns a model's prices. A dated name (`gpt-4.1-2025-04-14`) costs what
// the model without the date costs.
func (t PriceTable) Find(provider, model string) (domain.Prices, bool) {
	models := t.Models[provider]
	if p, ok := models[model]; ok {
		return p, true
	}
	p, ok := models[dateSuffix.ReplaceAllString(model, "")]
	return p, ok
}

// Charge makes the usage record of a call. A model the table does not know is
// flagged as unpriced: its amount of 0 is "not known", never "free".
func (t PriceTable) Charge(provider string, r Response) domain.Usage {
	u := domain.Usage{Provider: provider, Model: r.Model, Simulated: r.Simulated, Tokens: r.Usage, Estimated: r.Estimated}
	if r.Simulated {
		return u
	}
	prices, ok := t.Find(provider, r.Model)
	if !ok {
		u.Unpriced = true
		return u
	}
	u.Prices, u.Amount = prices, domain.Charge(r.Usage, prices)
	return u
}
