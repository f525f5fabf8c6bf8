package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"

	"github.com/hishamos/hishamos/internal/agentloop"
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/llm/openai"
	"github.com/hishamos/hishamos/internal/telemetry/tracing"
	"github.com/hishamos/hishamos/internal/worker"
)

// perform is how workers of this process do steps: with the model the settings
// name, or simulated when there is no key.
func (n *node) perform() (worker.Perform, error) {
	prices, err := llm.BuiltinPrices()
	if err != nil {
		return nil, err
	}
	provider, err := simulatedProvider()
	if err != nil {
		return nil, err
	}
	model := ""
	if n.cfg.OpenAIKey.Set() {
		provider = openai.New(openai.Config{
			BaseURL: n.cfg.OpenAIBaseURL, Key: n.cfg.OpenAIKey.Reveal(),
			Client: &http.Client{Transport: n.tracer.Transport(http.DefaultTransport)},
		})
		model = n.cfg.Model
	}
	loop := &agentloop.Loop{Library: n.library, Provider: tracing.Provider(n.tracer, provider), Model: model, Prices: prices, Random: rand.Reader, Clock: clock{}, Logger: n.logger}
	return n.bench.perform(n.withFiles(loop.Do))
}

// text is a JSON string.
func text(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil { // a string cannot fail
		panic(err)
	}
	return b
}
