package api

import (
	"context"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
)

type listTokensInput struct {
	PageQuery
	AtQuery
	Sort string `query:"sort" enum:"id,-id" default:"id" doc:"Order; - is descending"`
}

// listTokens answers with the tokens of the caller's tenant. Their hashes stay in
// the read model: nobody has to see one.
func (s *server) listTokens(ctx context.Context, in *listTokensInput) (*body[v1.TokenList], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	f := TokenFilter{Descending: in.Sort == "-id"}
	asked := struct {
		TokenFilter
		At domain.Position
	}{f, at}
	p, err := s.page(in.PageQuery, "tokens", asked)
	if err != nil {
		return nil, err
	}
	call := callOf(ctx)
	items, next, err := s.Tokens.Tokens(ctx, call.principal.Tenant, f, p)
	if err == nil && at != 0 {
		items, err = s.tokensAsOf(ctx, items, at)
	}
	if err != nil {
		return nil, err
	}
	opens := s.opens(ctx)
	for i := range items {
		stream := domain.NewStreamID(call.principal.Tenant, items[i].ID)
		items[i].Current = stream == call.token
		if err := opens.fresh(ctx).token(stream, &items[i]); err != nil {
			return nil, err
		}
	}
	return answer(v1.TokenList{Items: list(items), Next: s.cursor("tokens", asked, next)}), nil
}

// tokensAsOf puts tokens back to how they stood at a position, and leaves out
// those that were not issued yet. Their streams are short, and so they are their
// own history: nothing of a token changes but its secret and whether it is valid.
func (s *server) tokensAsOf(ctx context.Context, items []v1.Token, at domain.Position) ([]v1.Token, error) {
	tenant := callOf(ctx).principal.Tenant
	var out []v1.Token
	for _, t := range items {
		t.State = v1.TokenValid
		var last domain.Sequence
		for more := true; more; {
			records, err := s.Hub.ReadStream(ctx, tenant, domain.NewStreamID(tenant, t.ID), last, streamPage)
			if err != nil {
				return nil, err
			}
			past := until(records, at)
			more = len(past) == streamPage
			for _, r := range past {
				last, t.Changed = r.Sequence, r.Time
				if r.Type == typeRevoked {
					t.State = v1.TokenRevoked
				}
			}
		}
		if last > 0 {
			out = append(out, t)
		}
	}
	return out, nil
}

// streamPage is how many events of a token are read at once.
const streamPage = 200

func (o *opening) token(stream domain.StreamID, t *v1.Token) error {
	t.Name = o.text(stream, typeIssued, "holder", t.Name)
	t.Erased, t.Sealed = o.erased, o.sealed
	return o.err
}
