//go:build failpoints

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"time"

	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/llm"
	"github.com/hishamos/hishamos/internal/llm/simulated"
)

// simulatedProvider is, in a build with failpoints, one that can be slow and
// faulty and keeps a ledger of its own, as a provider outside would.
func simulatedProvider() (llm.Provider, error) {
	path := os.Getenv("CHAOS_LEDGER")
	if path == "" {
		return simulated.New(simulated.Options{}), nil
	}
	ledger, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the provider's ledger: %w", err)
	}
	return chaoticProvider{simulated.New(simulated.Options{}), ledger}, nil
}

// chaoticProvider does to a call what the call's name says, so that a repetition
// would be treated the same.
type chaoticProvider struct {
	llm.Provider
	ledger *os.File
}

// charge is a line of the ledger.
type charge struct {
	Attempt string `json:"attempt"`
	Tokens  int64  `json:"tokens"`
	Error   string `json:"error,omitempty"`
	Worker  int    `json:"worker"` // its process
}

// Complete implements llm.Provider. The line is written before the answer is
// given, as a provider charges before it is heard.
func (p chaoticProvider) Complete(ctx context.Context, r llm.Request) (llm.Response, error) {
	h := fnv.New64a()
	h.Write([]byte(r.Attempt))
	lot := h.Sum64() >> 8
	pause := time.Duration(lot%40) * time.Millisecond
	if lot%29 == 0 {
		pause = 1500 * time.Millisecond // longer than some steps may take
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return llm.Response{}, llm.ContextError(ctx, simulated.Name)
	}
	resp, err := p.Provider.Complete(ctx, r)
	if lot%11 == 0 && err == nil {
		resp, err = llm.Response{}, &llm.Error{Provider: simulated.Name, Code: llm.Unreachable, Message: "chosen to fail"}
	}
	line := charge{Attempt: r.Attempt, Tokens: resp.Usage.Total(), Worker: os.Getpid()}
	if err != nil {
		line.Error = err.Error()
	}
	text, encoding := json.Marshal(line)
	if encoding != nil {
		return llm.Response{}, encoding
	}
	if _, err := p.ledger.Write(append(text, '\n')); err != nil {
		return llm.Response{}, err
	}
	failpoint.Hit("provider.before_answer")
	return resp, err
}
