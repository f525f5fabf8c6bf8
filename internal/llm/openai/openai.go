// Package openai asks OpenAI, or any server that speaks its chat-completions
// format, through sashabaranov/go-openai.
//
// It must not know what is asked or why. It imports llm, domain and the client.
// The key appears in the request's header and nowhere else: no error and no log
// line holds it, and error texts are ours unless the server's are harmless.
//
// Start reading at Complete; errors.go maps what can go wrong.
package openai

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/sashabaranov/go-openai"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/llm"
)

// Config says which server to ask.
type Config struct {
	Name    string // in usage records; empty: "openai"
	BaseURL string // empty: OpenAI's own
	Key     string
	Model   string       // used when a request names none
	Client  *http.Client // nil: a client of its own; deadlines come from contexts
}

// Provider implements llm.Provider.
type Provider struct {
	config Config
	client *openai.Client
	// schemaless remembers models whose server refused a response format.
	schemaless sync.Map
}

// New returns a provider. It connects on first use.
func New(c Config) *Provider {
	if c.Name == "" {
		c.Name = "openai"
	}
	if c.Client == nil {
		c.Client = &http.Client{}
	}
	cfg := openai.DefaultConfig(c.Key)
	if c.BaseURL != "" {
		cfg.BaseURL = strings.TrimRight(c.BaseURL, "/")
	}
	cfg.HTTPClient = recorder{c.Client}
	return &Provider{config: c, client: openai.NewClientWithConfig(cfg)}
}

// Name implements llm.Provider.
func (p *Provider) Name() string { return p.config.Name }

// Complete implements llm.Provider.
func (p *Provider) Complete(ctx context.Context, r llm.Request) (llm.Response, error) {
	if r.Model == "" {
		r.Model = p.config.Model
	}
	if err := llm.ContextError(ctx, p.Name()); err != nil {
		return llm.Response{}, err
	}
	_, refused := p.schemaless.Load(r.Model)
	structured := r.Schema != nil && !refused
	resp, err := p.once(ctx, r, structured)
	if structured && err != nil && refusesFormat(err) {
		p.schemaless.Store(r.Model, true)
		resp, err = p.once(ctx, r, false)
	}
	if err != nil {
		return llm.Response{}, p.mapped(ctx, r, err)
	}
	return resp, nil
}

func (p *Provider) once(ctx context.Context, r llm.Request, structured bool) (llm.Response, error) {
	ctx, seen := record(ctx, r.Attempt)
	req := request(r, structured)
	resp, err := llm.Response{}, error(nil)
	if r.OnDelta != nil {
		resp, err = p.stream(ctx, r, req)
	} else {
		resp, err = p.whole(ctx, r, req)
	}
	if err != nil {
		return llm.Response{}, &failure{err: err, seen: *seen}
	}
	return resp, nil
}

func request(r llm.Request, structured bool) openai.ChatCompletionRequest {
	system := r.System
	req := openai.ChatCompletionRequest{Model: r.Model}
	if reasons(r.Model) {
		req.MaxCompletionTokens = r.MaxTokens
	} else {
		//lint:ignore SA1019 it is the name that every compatible server knows
		req.MaxTokens = r.MaxTokens
	}
	if r.Temperature != nil && !reasons(r.Model) {
		req.Temperature = float32(*r.Temperature)
		if req.Temperature == 0 { // the client leaves a plain 0 out
			req.Temperature = 1e-6
		}
	}
	switch {
	case structured:
		name := r.SchemaName
		if name == "" {
			name = "answer"
		}
		req.ResponseFormat = &openai.ChatCompletionResponseFormat{
			Type: openai.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &openai.ChatCompletionResponseFormatJSONSchema{
				Name: schemaName(name), Schema: r.Schema, Strict: strictable(r.Schema),
			},
		}
	case r.Schema != nil:
		system += "\n\nAnswer with JSON only. It must fit this JSON Schema:\n" + string(r.Schema)
	}
	if system != "" {
		req.Messages = append(req.Messages, openai.ChatCompletionMessage{Role: openai.ChatMessageRoleSystem, Content: system})
	}
	for _, m := range r.Messages {
		req.Messages = append(req.Messages, openai.ChatCompletionMessage{Role: string(m.Role), Content: m.Text})
	}
	return req
}

// reasons reports whether a model reasons: such a model takes no temperature
// and bounds its answer by another name.
func reasons(model string) bool {
	for _, prefix := range []string{"o1", "o3", "o4", "gpt-5"} {
		if strings.HasPrefix(model, prefix) {
			return true
		}
	}
	return false
}

func (p *Provider) whole(ctx context.Context, r llm.Request, req openai.ChatCompletionRequest) (llm.Response, error) {
	answer, err := p.client.CreateChatCompletion(ctx, req)
	if err != nil {
		return llm.Response{}, err
	}
	if len(answer.Choices) == 0 {
		return llm.Response{}, errNoChoice
	}
	choice := answer.Choices[0]
	resp := llm.Response{Text: choice.Message.Content, Model: answer.Model, Usage: tokens(answer.Usage)}
	return finish(r, resp, choice.FinishReason, choice.Message.Refusal)
}

func (p *Provider) stream(ctx context.Context, r llm.Request, req openai.ChatCompletionRequest) (llm.Response, error) {
	req.StreamOptions = &openai.StreamOptions{IncludeUsage: true}
	s, err := p.client.CreateChatCompletionStream(ctx, req)
	if err != nil {
		return llm.Response{}, err
	}
	defer func() { _ = s.Close() }() // the answer is read or given up
	var (
		text, refusal strings.Builder
		resp          llm.Response
		reason        openai.FinishReason
	)
	for {
		chunk, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return llm.Response{}, &cut{err: err, spent: estimate(r, text.String())}
		}
		if chunk.Model != "" {
			resp.Model = chunk.Model
		}
		if chunk.Usage != nil {
			resp.Usage = tokens(*chunk.Usage)
		}
		if len(chunk.Choices) == 0 {
			continue
		}
		if d := chunk.Choices[0].Delta; d.Content != "" {
			text.WriteString(d.Content)
			r.OnDelta(d.Content)
		} else {
			refusal.WriteString(d.Refusal)
		}
		if f := chunk.Choices[0].FinishReason; f != "" {
			reason = f
		}
	}
	if reason == "" { // the connection ended as if the answer were complete
		return llm.Response{}, &cut{err: errCut, spent: estimate(r, text.String())}
	}
	resp.Text = text.String()
	return finish(r, resp, reason, refusal.String())
}

// finish completes an answer, or refuses it.
func finish(r llm.Request, resp llm.Response, reason openai.FinishReason, refusal string) (llm.Response, error) {
	if resp.Model == "" {
		resp.Model = r.Model
	}
	if resp.Usage.Total() == 0 {
		resp.Usage, resp.Estimated = estimate(r, resp.Text), true
	}
	resp.Finish = llm.Stopped
	switch {
	case refusal != "" || reason == openai.FinishReasonContentFilter:
		return llm.Response{}, &declined{spent: resp.Usage, estimated: resp.Estimated}
	case reason == openai.FinishReasonLength:
		resp.Finish = llm.CutOff
	}
	return resp, nil
}

// tokens takes cached and reasoning tokens out of the sums they are part of,
// because they are priced apart.
func tokens(u openai.Usage) domain.Tokens {
	t := domain.Tokens{Input: int64(u.PromptTokens), Output: int64(u.CompletionTokens)}
	if d := u.PromptTokensDetails; d != nil {
		t.CachedInput = min(max(int64(d.CachedTokens), 0), t.Input)
		t.Input -= t.CachedInput
	}
	if d := u.CompletionTokensDetails; d != nil {
		t.Reasoning = min(max(int64(d.ReasoningTokens), 0), t.Output)
		t.Output -= t.Reasoning
	}
	return t
}

// estimate counts four characters as a token; it serves where an answer was cut
// off before it stated its usage.
func estimate(r llm.Request, answer string) domain.Tokens {
	n := len(r.System)
	for _, m := range r.Messages {
		n += len(m.Text)
	}
	return domain.Tokens{Input: int64(n+3) / 4, Output: int64(len(answer)+3) / 4}
}

func schemaName(s string) string {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '_'
	}, s)
	return name[:min(len(name), 64)]
}

// strictable reports whether a schema keeps to what strict mode asks: every
// object closed and every property required.
func strictable(raw json.RawMessage) bool {
	var s any
	return json.Unmarshal(raw, &s) == nil && strict(s)
}

func strict(v any) bool {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			if !strict(item) {
				return false
			}
		}
	case map[string]any:
		if properties, ok := v["properties"].(map[string]any); ok {
			required, _ := v["required"].([]any)
			if v["additionalProperties"] != false || len(required) != len(properties) {
				return false
			}
		}
		for _, inner := range v {
			if !strict(inner) {
				return false
			}
		}
	}
	return true
}

var (
	errNoChoice = errors.New("the answer holds no choice")
	errCut      = errors.New("the stream ended early")
)
