package api

import (
	"context"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

type eraseRunInput struct {
	CommandHeaders
	Run  string `path:"run" maxLength:"80" doc:"Id of the run" example:"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"`
	Body *v1.Erase
}

// eraseRun orders that the content of a run is erased. To ask again is the same
// order.
func (s *server) eraseRun(ctx context.Context, in *eraseRunInput) (*body[v1.Receipt], error) {
	stream, err := s.runStream(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	keys, err := s.Erasures.RunKeys(ctx, stream)
	return s.erase(ctx, in.CommandHeaders, in.Body, err, commands.OrderErasure{
		Order:   commands.ErasureOrder(stream.Tenant(), commands.EraseRun, stream.Entity()),
		Subject: commands.EraseRun, ID: stream.Entity(), Keys: keys,
	})
}

type erasePersonInput struct {
	CommandHeaders
	Person string `path:"person" maxLength:"128" doc:"The id by which they act"`
	Body   *v1.Erase
}

// erasePerson orders that the names of a person are erased.
func (s *server) erasePerson(ctx context.Context, in *erasePersonInput) (*body[v1.Receipt], error) {
	tenant := callOf(ctx).principal.Tenant
	key, err := s.Erasures.PersonKey(ctx, tenant, in.Person)
	return s.erase(ctx, in.CommandHeaders, in.Body, err, commands.OrderErasure{
		Order:   commands.ErasureOrder(tenant, commands.ErasePerson, key),
		Subject: commands.ErasePerson, ID: in.Person, Keys: []string{key},
	})
}

func (s *server) erase(ctx context.Context, in CommandHeaders, b *v1.Erase, refusal error, c commands.OrderErasure) (*body[v1.Receipt], error) {
	var r done
	err := refusal
	if err != nil {
		r, err = s.refused(ctx, in, err)
	} else {
		if b != nil {
			c.Reason = b.Reason
		}
		r, err = s.do(ctx, in, c, nil)
	}
	if err != nil {
		return nil, err
	}
	return answer(r.Receipt), nil
}

// requestKey keys the digests of a tenant's requests.
func (s *server) requestKey(ctx context.Context, t domain.Tenant) ([]byte, error) {
	if s.RequestKey == nil {
		return s.DigestKey, nil
	}
	return s.RequestKey(ctx, t)
}
