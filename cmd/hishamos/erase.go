package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/keys"
)

// contents opens sealed values for the API, and finds the keys to erase.
type contents struct{ *node }

// Sealed implements api.Contents.
func (contents) Sealed(text string) bool { return keys.Sealed(text) }

// Open implements api.Contents.
func (c contents) Open(ctx context.Context, stream domain.StreamID, event, field, text string) ([]byte, bool, error) {
	return c.ring.OpenValue(ctx, keys.Place{Stream: stream, Type: event, Field: field}, text)
}

var (
	errRunGoesOn = &domain.Error{
		Kind: domain.Conflict, Code: "run.not_ended",
		Message: "the run still goes on, and needs its content", Fix: "cancel it first",
	}
	errNoPerson = &domain.Error{Kind: domain.NotFound, Code: "person.not_found", Message: "nothing is kept of such a person"}

	errRunsGoOn = &domain.Error{
		Kind: domain.Conflict, Code: "tenant.runs_go_on",
		Message: "runs of the tenant still go on", Fix: "cancel them first",
	}
)

// keyPage is how many events of a run are looked at at once for their keys.
const keyPage = 1000

// RunKeys implements api.Erasures.
func (c contents) RunKeys(ctx context.Context, stream domain.StreamID) ([]string, error) {
	phase, _, err := dispatch.Observe(ctx, c.dispatcher, stream, 0, run.State.Phase)
	switch {
	case err != nil:
		return nil, err
	case phase == run.New:
		return nil, run.ErrNotFound
	case phase == run.Running:
		return nil, errRunGoesOn
	}
	return c.streamKeys(ctx, stream)
}

// streamKeys are the keys that the events of a stream name.
func (n *node) streamKeys(ctx context.Context, stream domain.StreamID) ([]string, error) {
	var all []string
	for after := domain.Sequence(0); ; {
		page, err := n.store.ReadStream(ctx, stream, after, keyPage)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			ids, err := keys.IDs(r.Envelope)
			if err != nil {
				return nil, err
			}
			after, all = r.Sequence, append(all, ids...)
		}
		if len(page) < keyPage {
			slices.Sort(all)
			return slices.Compact(all), nil
		}
	}
}

// PersonKey implements api.Erasures.
func (c contents) PersonKey(ctx context.Context, t domain.Tenant, person string) (string, error) {
	id, _, err := c.ring.PersonKey(ctx, t, person)
	if err == nil && id == "" {
		err = errNoPerson
	}
	return id, err
}

func newErase() *cobra.Command {
	var reason string
	var sure bool
	cmd := operators("erase", "Erase for ever")
	tenant := &cobra.Command{
		Use: "tenant TENANT", Short: "Erase the content and the names of a tenant, for ever", Args: cobra.ExactArgs(1),
		Long: `Destroy the key of a tenant: all content and all names that its events hold are
gone for ever, in every copy; the tenant takes nothing new. Runs that go on must
be cancelled first. Hashes stay right, and other tenants are not touched.`,
		RunE: operate(func(ctx context.Context, o *operation) error {
			if !sure {
				return domain.InvalidField("--yes", "is missing: this destroys keys and cannot be undone", "add --yes")
			}
			if err := o.connect(ctx); err != nil {
				return err
			}
			return o.eraseTenant(ctx, domain.Tenant(o.args[0]), reason)
		}),
	}
	tenant.Flags().StringVar(&reason, "reason", "", "why, for the history")
	tenant.Flags().BoolVar(&sure, "yes", false, "do it: nothing brings it back")
	cmd.AddCommand(tenant)
	return cmd
}

// eraseTenant orders it and carries it out at once; another process that has the
// order too does the same.
func (o *operation) eraseTenant(ctx context.Context, t domain.Tenant, reason string) error {
	open, err := o.store.OpenStreams(ctx, run.Decider.Kind, domain.StreamID(string(t)+"/"), 1)
	if err != nil {
		return err
	}
	if len(open) > 0 && strings.HasPrefix(string(open[0]), string(t)+"/") {
		return errRunsGoOn.With("run %s of the tenant still goes on", open[0].Entity())
	}
	key := keys.TenantKey(t)
	if _, _, err := o.ring.State(ctx, t, key); errors.Is(err, keys.ErrLost) {
		if err := o.ring.Check(ctx); err != nil {
			return err
		}
		return domain.InvalidField("TENANT", "has nothing that could be erased", "name a tenant as events do, such as default")
	} else if err != nil {
		return err
	}
	order := commands.ErasureOrder(t, commands.EraseTenant, string(t))
	_, err = o.dispatcher.Do(ctx, commands.Request{
		ID: domain.CommandID(uuid.NewString()), Principal: system("operator"),
		Command: commands.OrderErasure{Order: order, Subject: commands.EraseTenant, ID: string(t), Keys: []string{key}, Reason: reason},
	})
	if err != nil {
		return err
	}
	if err := o.ports().Erase(ctx, order, []string{key}); err != nil {
		return err
	}
	return o.answer(map[string]string{"tenant": string(t), "order": string(order)}, "erased tenant %s: order %s", t, order.Entity())
}
