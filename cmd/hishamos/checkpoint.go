package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/checkpoint"
	"github.com/hishamos/hishamos/internal/eventstore"
)

func newCheckpoint() *cobra.Command {
	cmd := operators("checkpoint", "Look after the signed checkpoints of the log")
	var after uint64
	var limit int
	list := &cobra.Command{
		Use: "list", Short: "List the checkpoints that were made, and how far each anchor has them", Args: noArgs,
		RunE: operate(func(ctx context.Context, o *operation) error {
			return o.listCheckpoints(ctx, domain.Position(after), limit)
		}),
	}
	list.Flags().Uint64Var(&after, "after", 0, "begin after this position")
	list.Flags().IntVar(&limit, "limit", 100, "list at most so many")
	var lost bool
	rotate := &cobra.Command{
		Use: "rotate", Short: "Make a new signing key, which counts from the next checkpoint on", Args: noArgs,
		Long: `Make a new signing key and put it behind the old one in the key file. The next
checkpoint is signed by both and names the new one; from then on only the new one
signs. Running processes follow at once.

With --lost the old key is not needed. Nobody can then go on from the anchors
there are: keep them as evidence, and name new ones in HISHAMOS_ANCHORS.`,
		RunE: operate(func(ctx context.Context, o *operation) error { return o.rotateKey(ctx, lost) }),
	}
	rotate.Flags().BoolVar(&lost, "lost", false, "begin anew, because the old key is lost")
	cmd.AddCommand(
		list,
		&cobra.Command{
			Use: "now", Short: "Make a checkpoint of the end of the log and bring it to every anchor", Args: noArgs,
			RunE: operate(func(ctx context.Context, o *operation) error { return o.checkpointNow(ctx) }),
		},
		rotate,
		&cobra.Command{
			Use: "prove POSITION", Short: "Print a proof that an event is in the log that the last checkpoint signs", Args: cobra.ExactArgs(1),
			Long: `Print a proof that the event at POSITION is in the log that the last checkpoint
signs, as JSON that docs/reference/check_checkpoint.py verifies without this
program.`,
			RunE: operate(func(ctx context.Context, o *operation) error {
				position, err := strconv.ParseUint(o.args[0], 10, 63)
				if err != nil {
					return domain.InvalidField("POSITION", fmt.Sprintf("%q is not a position", o.args[0]), "give a number such as 1")
				}
				return o.prove(ctx, domain.Position(position))
			}),
		},
	)
	return cmd
}

// listed is one checkpoint of the list.
type listed struct {
	Position domain.Position `json:"position"`
	Time     string          `json:"time"`
	Root     string          `json:"root"`
	Chain    string          `json:"chain"`
	Key      string          `json:"key"`
}

func (o *operation) listCheckpoints(ctx context.Context, after domain.Position, limit int) error {
	if limit < 1 || limit > 10_000 {
		return domain.InvalidField("--limit", fmt.Sprintf("%d is not a number of checkpoints", limit), "give 1 to 10000")
	}
	list, err := o.checkpoints().After(ctx, after, limit)
	if err != nil {
		return err
	}
	out := struct {
		Checkpoints []listed           `json:"checkpoints"`
		Anchors     []checkpoint.State `json:"anchors"`
	}{[]listed{}, []checkpoint.State{}}
	for _, c := range list {
		out.Checkpoints = append(out.Checkpoints, listed{c.Position, events.FormatTime(c.Time), c.Root.String(), c.Chain.String(), c.Key})
	}
	origin, err := o.origin(ctx)
	if err != nil {
		return err
	}
	for _, a := range o.anchors(origin, o.cfg.Anchors) {
		state := checkpoint.State{Anchor: a.Name(), Outside: a.Outside()}
		newest, _, err := a.Newest(ctx)
		if state.Position = newest.Position; err != nil {
			state.Error = err.Error()
		}
		out.Anchors = append(out.Anchors, state)
	}
	if o.json {
		return printJSON(o.out, out)
	}
	for _, c := range out.Checkpoints {
		if err := o.answer(nil, "%d %s %s", c.Position, c.Time, c.Root); err != nil {
			return err
		}
	}
	return o.sayAnchors(out.Anchors)
}

func (o *operation) sayAnchors(states []checkpoint.State) error {
	for _, s := range states {
		line := fmt.Sprintf("%s has them up to position %d", s.Anchor, s.Position)
		if s.Error != "" {
			line += "; " + s.Error
		}
		if err := o.answer(nil, "%s", line); err != nil {
			return err
		}
	}
	return nil
}

func (o *operation) checkpointNow(ctx context.Context) error {
	m, err := o.maker(ctx, nil)
	if err != nil {
		return err
	}
	head, err := o.store.Head(ctx)
	if err != nil {
		return err
	}
	for end := false; !end; {
		if end, err = m.Step(ctx, true); err != nil && !errors.Is(err, checkpoint.ErrMoved) {
			return err
		}
		o.progress("making checkpoints", uint64(m.Position()), uint64(head.Position))
	}
	if err := o.openDeliveries(ctx); err != nil {
		return err
	}
	var failed []error
	states := []checkpoint.State{}
	for _, d := range o.deliveries {
		failed = append(failed, d.Deliver(ctx))
		states = append(states, d.State())
	}
	if o.json {
		err = printJSON(o.out, map[string]any{"position": m.Position(), "anchors": states})
	} else if err = o.answer(nil, "checkpoint %d", m.Position()); err == nil {
		err = o.sayAnchors(states)
	}
	return errors.Join(append(failed, err)...)
}

func (o *operation) rotateKey(ctx context.Context, lost bool) error {
	origin, err := o.origin(ctx)
	if err != nil {
		return err
	}
	key, err := checkpoint.NewKey(origin)
	if err != nil {
		return err
	}
	var keys checkpoint.Keys
	if lost {
		err = o.checkpoints().Forget(ctx)
	} else {
		keys, err = o.keys(ctx, origin)
	}
	if err != nil {
		return err
	}
	if err := append(keys, key).Save(o.keyPath()); err != nil {
		return fmt.Errorf("%w; where the file is a Secret, change the Secret from a copy of it", err)
	}
	return o.answer(map[string]string{"key": key.Verifier()}, "the next checkpoint brings in key %s", key.Verifier())
}

// proved is an inclusion proof with all that is needed to check it.
type proved struct {
	Event      json.RawMessage `json:"event"` // as an export has it
	Proof      []events.Hash   `json:"proof"` // siblings from the leaf up
	Checkpoint string          `json:"checkpoint"`
}

func (o *operation) prove(ctx context.Context, position domain.Position) error {
	newest, ok, err := o.checkpoints().Newest(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return &domain.Error{Kind: domain.NotFound, Code: "checkpoint.none", Message: "no checkpoint was made yet", Fix: "run: hishamos checkpoint now"}
	}
	prover, err := checkpoint.NewProver(position, newest.Position)
	if err != nil {
		return err
	}
	var line strings.Builder
	var mark events.Mark
	for mark.Position < newest.Position {
		const page = 2000
		records, err := o.store.ReadAll(ctx, mark.Position, min(page, int(newest.Position-mark.Position)))
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return &events.ChainError{Position: mark.Position + 1, Reason: "missing"}
		}
		err = mark.Walk(records, func(r *events.Record, leaf events.Hash) error {
			if r.Position == position {
				if err := eventstore.WriteLines(&line, []events.Record{*r}); err != nil {
					return err
				}
			}
			return prover.Add(leaf)
		})
		if err != nil {
			return err
		}
		o.progress("reading the log", uint64(mark.Position), uint64(newest.Position))
	}
	path, root, err := prover.Proof()
	if err != nil {
		return err
	}
	if root != newest.Root {
		return &checkpoint.TamperError{Anchor: o.checkpoints().Name(), At: newest.Position, Reason: "the log was written anew"}
	}
	return printJSON(o.out, proved{json.RawMessage(line.String()), path, newest.Text})
}
