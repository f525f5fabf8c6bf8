package api

import (
	"context"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/live"
)

// scanLimit bounds how many events one filtered page looks at.
const scanLimit = 10_000

type readLogInput struct {
	After string   `query:"after" pattern:"^[0-9]{1,19}$" doc:"Position to read on from"`
	Limit int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Events of a page"`
	Type  []string `query:"type" nullable:"false" maxItems:"20" doc:"Wire names such as run.started, or contexts such as run"`
}

// visible is the part of the log that a caller may read: the events of their
// tenant, or all of them for the operator's.
func visible(c *call, types []string) live.Filter {
	f := live.Filter{Tenant: c.principal.Tenant, Types: types}
	if f.Tenant == domain.SystemTenant {
		f.Tenant = ""
	}
	return f
}

func (s *server) readLog(ctx context.Context, in *readLogInput) (*body[v1.EventList], error) {
	filter := visible(callOf(ctx), in.Type)
	page := v1.EventList{Items: []v1.Event{}, Next: resumeAt(0, in.After)}
	for scanned := 0; scanned < scanLimit; {
		batch, err := s.Hub.ReadAll(ctx, domain.Position(page.Next), in.Limit)
		if err != nil {
			return nil, err
		}
		for _, r := range batch {
			if len(page.Items) == in.Limit {
				page.More = true
				return answer(page), nil
			}
			page.Next = v1.Ordinal(r.Position)
			if filter.Wants(r) {
				page.Items = append(page.Items, eventOf(r))
			}
		}
		if page.More = len(batch) == in.Limit; !page.More {
			break
		}
		scanned += len(batch)
		if len(page.Items) == in.Limit {
			break
		}
	}
	return answer(page), nil
}

func (s *server) logHead(ctx context.Context, _ *struct{}) (*body[v1.Head], error) {
	h, err := s.Hub.Head(ctx)
	if err != nil {
		return nil, err
	}
	return answer(v1.Head{Log: h.LogID, Generation: h.Generation, Position: v1.Ordinal(h.Position), Hash: h.Hash.String(), Recorded: h.Recorded}), nil
}
