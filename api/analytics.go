package api

import (
	"context"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

// maxPeriod bounds how much one answer adds up.
const maxPeriod = 366 * 24 * time.Hour

type periodInput struct {
	From string `query:"from" format:"date" doc:"First day (UTC); 29 days before to if left out" example:"2026-11-01"`
	To   string `query:"to" format:"date" doc:"Last day (UTC); today if left out" example:"2026-11-30"`
}

func (s *server) period(in periodInput) (from, to time.Time, err error) {
	to = s.Clock.Now().UTC().Truncate(24 * time.Hour)
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

func (s *server) workflowAnalytics(ctx context.Context, in *periodInput) (*body[v1.WorkflowAnalytics], error) {
	from, to, err := s.period(*in)
	if err != nil {
		return nil, err
	}
	rows, err := s.Usage.ByWorkflow(ctx, callOf(ctx).principal.Tenant, from, to)
	if err != nil {
		return nil, err
	}
	return answer(v1.WorkflowAnalytics{Items: list(rows)}), nil
}

func (s *server) agentAnalytics(ctx context.Context, in *periodInput) (*body[v1.AgentAnalytics], error) {
	from, to, err := s.period(*in)
	if err != nil {
		return nil, err
	}
	rows, err := s.Usage.ByAgent(ctx, callOf(ctx).principal.Tenant, from, to)
	if err != nil {
		return nil, err
	}
	return answer(v1.AgentAnalytics{Items: list(rows)}), nil
}
