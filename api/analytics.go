package api

import (
	"context"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

// maxPeriod bounds how much one answer adds up.
const maxPeriod = 366 * 24 * time.Hour

// Period is the days that a report is of. It is exported only because huma reads
// exported fields alone.
type Period struct {
	From string `query:"from" format:"date" doc:"First day (UTC); 29 days before to if left out" example:"2026-11-01"`
	To   string `query:"to" format:"date" doc:"Last day (UTC); if left out, today, or the day of the instant that at names" example:"2026-11-30"`
}

func (s *server) period(in Period, at AtQuery) (from, to time.Time, err error) {
	to = s.Clock.Now()
	if _, instant, err := parseAt(at.At); err == nil && !instant.IsZero() {
		to = instant
	}
	to = to.UTC().Truncate(24 * time.Hour)
	if in.To != "" {
		if to, err = time.Parse(time.DateOnly, in.To); err != nil {
			return from, to, domain.InvalidField("query.to", "is not a day", "write it like 2026-11-23")
		}
	}
	from = to.AddDate(0, 0, -29)
	if in.From != "" {
		if from, err = time.Parse(time.DateOnly, in.From); err != nil {
			return from, to, domain.InvalidField("query.from", "is not a day", "write it like 2026-11-23")
		}
	}
	switch {
	case from.After(to):
		return from, to, domain.InvalidField("query.from", "is after to", "swap them")
	case to.Sub(from) > maxPeriod:
		return from, to, domain.InvalidField("query.from", "is more than 366 days before to", "ask for a shorter period")
	}
	return from, to, nil
}

type workflowAnalyticsInput struct {
	PageQuery
	AtQuery
	Period
	Workflow string `query:"workflow" maxLength:"128" doc:"Of this workflow"`
	Sort     string `query:"sort" enum:"day,-day" default:"day" doc:"Order; - is descending"`
}

func (s *server) workflowAnalytics(ctx context.Context, in *workflowAnalyticsInput) (*body[v1.WorkflowAnalytics], error) {
	f, p, err := s.usage(ctx, in.PageQuery, in.AtQuery, in.Period, "workflow usage", UsageFilter{ID: in.Workflow, NewestTop: in.Sort == "-day"})
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Usage.ByWorkflow(ctx, callOf(ctx).principal.Tenant, f, p)
	if err != nil {
		return nil, err
	}
	return answer(v1.WorkflowAnalytics{Items: list(rows), Next: s.cursor("workflow usage", f, next)}), nil
}

type agentAnalyticsInput struct {
	PageQuery
	AtQuery
	Period
	Agent string `query:"agent" maxLength:"128" doc:"Of this agent"`
	Sort  string `query:"sort" enum:"day,-day" default:"day" doc:"Order; - is descending"`
}

func (s *server) agentAnalytics(ctx context.Context, in *agentAnalyticsInput) (*body[v1.AgentAnalytics], error) {
	f, p, err := s.usage(ctx, in.PageQuery, in.AtQuery, in.Period, "agent usage", UsageFilter{ID: in.Agent, NewestTop: in.Sort == "-day"})
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Usage.ByAgent(ctx, callOf(ctx).principal.Tenant, f, p)
	if err != nil {
		return nil, err
	}
	return answer(v1.AgentAnalytics{Items: list(rows), Next: s.cursor("agent usage", f, next)}), nil
}

// usage completes a filter by the period and opens the cursor.
func (s *server) usage(ctx context.Context, q PageQuery, at AtQuery, in Period, name string, f UsageFilter) (UsageFilter, Page, error) {
	var err error
	if f.From, f.To, err = s.period(in, at); err != nil {
		return f, Page{}, err
	}
	if f.At, err = s.asOf(ctx, at.At); err != nil {
		return f, Page{}, err
	}
	p, err := s.page(q, name, f)
	return f, p, err
}
