package v1

import (
	"encoding/json"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Agent is one entry of the agent registry.
type Agent struct {
	ID            string              `json:"id"`
	Version       int                 `json:"version"`
	Name          string              `json:"name"`
	Group         string              `json:"group,omitempty"`
	Mission       string              `json:"mission,omitempty"`
	Status        string              `json:"status" doc:"Whether it takes work" example:"available"`
	Hash          string              `json:"hash,omitempty" doc:"Content hash"`
	Capabilities  []Capability        `json:"capabilities" nullable:"false"`
	Permissions   []string            `json:"permissions" nullable:"false"`
	Configuration *AgentConfiguration `json:"configuration,omitempty" doc:"Left out in lists"`
}

// Capability is one thing an agent can do.
type Capability struct {
	ID          string   `json:"id"`
	Description string   `json:"description,omitempty"`
	Templates   []string `json:"templates" nullable:"false" doc:"Templates that ask for it"`
}

// AgentConfiguration is how an agent works.
type AgentConfiguration struct {
	Prompt          []PromptPart   `json:"prompt" nullable:"false"`
	Temperature     *float64       `json:"temperature,omitempty"`
	MaxTokens       int            `json:"max_tokens,omitempty"`
	ModelNeeds      []string       `json:"model_needs" nullable:"false"`
	Preferences     []string       `json:"preferences" nullable:"false" doc:"Providers, the first is tried first"`
	Fallbacks       []string       `json:"fallbacks" nullable:"false"`
	Tools           []string       `json:"tools" nullable:"false"`
	BudgetTokens    int            `json:"budget_tokens,omitempty"`
	BudgetAmount    domain.NanoUSD `json:"budget_amount" doc:"Nano-USD"`
	MemoryScope     string         `json:"memory_scope,omitempty"`
	MemoryTokens    int            `json:"memory_tokens,omitempty"`
	SuccessCriteria []string       `json:"success_criteria" nullable:"false"`
	EscalatesTo     string         `json:"escalates_to,omitempty"`
}

// PromptPart is one titled part of an agent's system prompt.
type PromptPart struct {
	Title string `json:"title"`
	Text  string `json:"text"`
}

// AgentList is one page of agents.
type AgentList struct {
	Items []Agent `json:"items" nullable:"false"`
	Next  string  `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}

// CreateTask is the body of a request for one piece of work by one agent.
type CreateTask struct {
	Agent    string                     `json:"agent" minLength:"1" doc:"Agent id" example:"business-analyst"`
	Template string                     `json:"template" minLength:"1" doc:"Template id"`
	Input    map[string]json.RawMessage `json:"input,omitempty" nullable:"false" doc:"Values of the template's parameters, by name"`
	Priority int                        `json:"priority,omitempty" minimum:"-100" maximum:"100" doc:"Greater first"`
}

// Task is one job of an agent: a step of a run. Its id is the run's id, a dot
// and the step's path.
type Task struct {
	ID        string     `json:"id" example:"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a.task"`
	Run       string     `json:"run"`
	Workflow  Ref        `json:"workflow"`
	Requested string     `json:"requested_by,omitempty"`
	Created   time.Time  `json:"created"`
	Updated   *time.Time `json:"updated,omitempty"`
	Priority  int        `json:"priority"`
	Erased    bool       `json:"erased,omitempty" doc:"Some of it was erased for ever: such values are [erased]"`
	Sealed    bool       `json:"sealed,omitempty" doc:"It has content, which needs permission content:read: such values are [sealed]"`
	Step
}

// TaskList is one page of tasks, without outputs.
type TaskList struct {
	Items []Task `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}
