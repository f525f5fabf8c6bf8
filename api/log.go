package api

import (
	"context"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/live"
)

// scanLimit bounds how many positions one filtered page looks at.
const scanLimit = 10_000

// LogScope says whose events are wanted. It is exported only because huma reads
// exported fields alone.
type LogScope struct {
	Tenants string `query:"tenants" enum:"own,all" default:"own" doc:"own: the events of your tenant. all: of every tenant, for operators with log:read_all"`
}

type readLogInput struct {
	LogScope
	AtQuery
	After string   `query:"after" pattern:"^[0-9]{1,19}$" doc:"Position to read on from"`
	Limit int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Events of a page"`
	Type  []string `query:"type" nullable:"false" maxItems:"20" doc:"Wire names such as run.started, or contexts such as run"`

	Sealed bool `query:"sealed" doc:"As stored: sealed, in the shape of its time, fit for checking the hashes"`
}

// visible is the part of the log that a caller asks for: the events of their
// tenant, or of all. The second is for the operator's tenant alone: an
// administrator of another tenant may do everything, but only there.
func (o LogScope) visible(c *call, types []string) (live.Filter, error) {
	f := live.Filter{Tenant: c.principal.Tenant, Types: types}
	if o.Tenants != "all" {
		return f, nil
	}
	if f.Tenant != domain.SystemTenant || !c.principal.May(domain.LogReadAll) {
		return f, errForbidden.With("only an operator with %s reads the events of all tenants", domain.LogReadAll).At("tenants")
	}
	f.Tenant = live.Everyone
	return f, nil
}

func (s *server) readLog(ctx context.Context, in *readLogInput) (*body[v1.EventList], error) {
	filter, err := in.visible(callOf(ctx), in.Type)
	if err != nil {
		return nil, err
	}
	then, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	head, err := s.Hub.Head(ctx)
	if err != nil {
		return nil, err
	}
	end := head.Position
	if then != 0 {
		end = then
	}
	from := domain.Position(resumeAt(0, in.After))
	at := from
	opens := s.opens(ctx)
	page := v1.EventList{Items: []v1.Event{}}
	for at < end && at-from < scanLimit && len(page.Items) < in.Limit {
		batch, err := s.Hub.ReadAll(ctx, filter.Tenant, at, end, in.Limit)
		if err != nil {
			return nil, err
		}
		at = batch.Reached
		for _, r := range batch.Records {
			if !filter.Wants(&r) {
				continue
			}
			e := eventOf(r)
			if !in.Sealed {
				if e, err = opens.fresh(ctx).event(r); err != nil {
					return nil, err
				}
			}
			if page.Items = append(page.Items, e); len(page.Items) == in.Limit {
				at = r.Position
				break
			}
		}
	}
	page.Next, page.More = v1.Ordinal(at), at < end
	return answer(page), nil
}

func (s *server) logHead(ctx context.Context, _ *struct{}) (*body[v1.Head], error) {
	h, err := s.Hub.Head(ctx)
	if err != nil {
		return nil, err
	}
	return answer(v1.Head{Log: h.LogID, Generation: h.Generation, Position: v1.Ordinal(h.Position), Hash: h.Hash.String(), Recorded: h.Recorded}), nil
}
