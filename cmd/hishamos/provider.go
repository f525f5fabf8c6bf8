//go:build !failpoints

package main

import (
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/llm/simulated"
)

// simulatedProvider answers without a model.
func simulatedProvider() (llm.Provider, error) { return simulated.New(simulated.Options{}), nil }
