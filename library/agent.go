package library

import "github.com/hishamos/hishamos/domain"

// Agent is a named specialist: what it may do, how it works and by what its
// work is judged.
type Agent struct {
	Schema          string       `json:"schema"`
	Kind            string       `json:"kind"`
	ID              string       `json:"id"`
	Version         int          `json:"version"`
	Name            string       `json:"name"`
	Group           string       `json:"group"`
	Mission         string       `json:"mission"`
	Capabilities    []Capability `json:"capabilities"`
	NotFor          []NotFor     `json:"not_for"`
	Permissions     []string     `json:"permissions"` // noun:verb
	Tools           []ToolUse    `json:"tools"`
	Prompt          AgentPrompt  `json:"prompt"`
	Model           ModelNeeds   `json:"model"`
	Memory          Memory       `json:"memory"`
	SuccessCriteria []Criterion  `json:"success_criteria"`
	Metrics         []string     `json:"metrics"`
	Budget          Budget       `json:"budget"`
	Guards          Guards       `json:"guards"`
	EscalatesTo     string       `json:"escalates_to"`
	Authors         []string     `json:"authors"`
	Review
	Changelog []Change `json:"changelog"`
	hash      string
}

// Capability is one kind of task an agent is trusted with.
type Capability struct {
	ID          string   `json:"id"`
	Description string   `json:"description"`
	Input       string   `json:"input"`  // parameter type
	Output      string   `json:"output"` // shared type, see types.yaml
	Golden      string   `json:"golden"` // "<template id>/<golden id>"
	Templates   []string `json:"templates"`
}

// NotFor is a task the agent hands to another.
type NotFor struct {
	Task   string `json:"task"`
	HandTo string `json:"hand_to"` // agent id, or "person"
}

// ToolUse is a tool an agent may call, with the class of its effect.
type ToolUse struct {
	ID     string `json:"id"`
	Effect string `json:"effect"`
}

// AgentPrompt is the system prompt in its seven parts.
type AgentPrompt struct {
	Mission     string `json:"mission_and_limits"`
	Inputs      string `json:"inputs_and_trust"`
	Method      string `json:"method"`
	OutputRules string `json:"output_rules"`
	Evidence    string `json:"evidence_and_uncertainty"`
	WhenToAsk   string `json:"when_to_ask_or_refuse"`
	HandOver    string `json:"hand_over"`
}

// Parts are the seven parts with their titles, in order.
func (p AgentPrompt) Parts() [7][2]string {
	return [7][2]string{
		{"Mission and limits", p.Mission},
		{"Inputs and trust", p.Inputs},
		{"Method", p.Method},
		{"Output rules", p.OutputRules},
		{"Evidence and uncertainty", p.Evidence},
		{"When to ask or refuse", p.WhenToAsk},
		{"Hand-over", p.HandOver},
	}
}

// ModelNeeds says what a model must be able to do and how it is asked.
type ModelNeeds struct {
	Needs       []string `json:"needs,omitempty"` // json, long_context
	Temperature *float64 `json:"temperature,omitempty"`
	MaxTokens   int      `json:"max_tokens,omitempty"`
	Preferences []string `json:"preferences,omitempty"` // providers, the first is tried first
	Fallbacks   []string `json:"fallbacks,omitempty"`
}

// Memory says what an agent may recall.
type Memory struct {
	Scope string `json:"scope"` // none, run or project
	Limit int    `json:"limit"` // tokens
}

// Criterion is one measure of success.
type Criterion struct {
	ID    string `json:"id"`
	Text  string `json:"text"`
	Check string `json:"check"` // machine or judge
}

// Budget bounds what one task may consume.
type Budget struct {
	Tokens int            `json:"tokens"`
	Amount domain.NanoUSD `json:"amount"`
}

// Guards end a task that goes nowhere.
type Guards struct {
	Turns        int `json:"turns"`
	RepeatedCall int `json:"repeated_call"`
	NoProgress   int `json:"no_progress"`
}

// Change is one line of an item's history.
type Change struct {
	Version int    `json:"version"`
	Note    string `json:"note"`
}

// Ref names this version of the agent.
func (a *Agent) Ref() domain.Ref { return domain.Ref{ID: a.ID, Version: a.Version, Hash: a.hash} }

func (a *Agent) header() (schema, kind, id string, version int) {
	return a.Schema, a.Kind, a.ID, a.Version
}
func (a *Agent) setHash(h string) { a.hash = h }
