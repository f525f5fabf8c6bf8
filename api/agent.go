package api

import (
	"context"
	"slices"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/library"
)

type listAgentsInput struct {
	PageQuery
	Sort       string `query:"sort" enum:"id,-id" default:"id" doc:"Order; - is descending"`
	Capability string `query:"capability" maxLength:"128" doc:"Only agents that can do this"`
	Group      string `query:"group" maxLength:"128" doc:"Only agents of this group"`
}

func (s *server) listAgents(_ context.Context, in *listAgentsInput) (*body[v1.AgentList], error) {
	filter := *in
	filter.PageQuery = PageQuery{}
	p, err := s.page(in.PageQuery, "agents", filter)
	if err != nil {
		return nil, err
	}
	ids := slices.Sorted(slices.Values(s.Library.AgentIDs()))
	if in.Sort == "-id" {
		slices.Reverse(ids)
	}
	found := []v1.Agent{}
	for _, id := range ids {
		a, _ := s.Library.Agent(id)
		able := in.Capability == "" || slices.ContainsFunc(a.Capabilities, func(c library.Capability) bool { return c.ID == in.Capability })
		if able && (in.Group == "" || a.Group == in.Group) {
			found = append(found, agentView(a))
		}
	}
	page, next := pageOf(found, func(a v1.Agent) string { return a.ID }, p)
	return answer(v1.AgentList{Items: page, Next: s.cursor("agents", filter, next)}), nil
}

type agentInput struct {
	Conditional
	Agent string `path:"agent" maxLength:"128" doc:"Id of the agent" example:"business-analyst"`
}

func (s *server) getAgent(_ context.Context, in *agentInput) (*versioned[v1.Agent], error) {
	a, ok := s.Library.Agent(in.Agent)
	if !ok {
		return nil, errNotFound
	}
	out := agentView(a)
	prompt := make([]v1.PromptPart, 0, 7)
	for _, part := range a.Prompt.Parts() {
		prompt = append(prompt, v1.PromptPart{Title: part[0], Text: part[1]})
	}
	out.Configuration = &v1.AgentConfiguration{
		Prompt: prompt, Temperature: a.Model.Temperature, MaxTokens: a.Model.MaxTokens,
		ModelNeeds: list(a.Model.Needs), Preferences: list(a.Model.Preferences), Fallbacks: list(a.Model.Fallbacks),
		BudgetTokens: a.Budget.Tokens, BudgetAmount: a.Budget.Amount, MemoryScope: a.Memory.Scope, MemoryTokens: a.Memory.Limit,
		EscalatesTo: a.EscalatesTo, Tools: []string{}, SuccessCriteria: []string{},
	}
	for _, t := range a.Tools {
		out.Configuration.Tools = append(out.Configuration.Tools, t.ID)
	}
	for _, c := range a.SuccessCriteria {
		out.Configuration.SuccessCriteria = append(out.Configuration.SuccessCriteria, c.Text)
	}
	return unlessKnown(in.Conditional, `"`+a.Ref().Hash+`"`, out)
}

// agentAvailable is the status of every agent of the library: it is compiled in,
// and whether a provider answers shows per run.
const agentAvailable = "available"

func agentView(a *library.Agent) v1.Agent {
	out := v1.Agent{
		ID: a.ID, Version: a.Version, Name: a.Name, Group: a.Group, Mission: a.Mission, Status: agentAvailable,
		Hash: a.Ref().Hash, Capabilities: []v1.Capability{}, Permissions: list(slices.Clone(a.Permissions)),
	}
	for _, c := range a.Capabilities {
		out.Capabilities = append(out.Capabilities, v1.Capability{ID: c.ID, Description: c.Description, Templates: list(slices.Clone(c.Templates))})
	}
	return out
}
