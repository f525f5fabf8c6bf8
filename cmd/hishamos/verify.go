package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
)

const (
	readVerifyMark = `select position, hash from verify_mark`
	saveVerifyMark = `insert into verify_mark (position, hash) values ($1, $2)
on conflict (only_row) do update set position = excluded.position, hash = excluded.hash`
)

// selfAnchored is what a chain proves that nobody outside has a checkpoint of.
const selfAnchored = "self-anchored: proves no accident, not no owner"

// verified is what verify answers.
type verified struct {
	OK       bool            `json:"ok"`
	From     domain.Position `json:"from"`     // what lies up to here was verified before
	Position domain.Position `json:"position"` // the last that is right
	Hash     string          `json:"hash"`
	Wrong    domain.Position `json:"wrong,omitempty"` // the first that is not
	Table    string          `json:"table,omitempty"` // the table that disagrees
	Reason   string          `json:"reason,omitempty"`
	Anchors  string          `json:"anchors"`
	pace
}

func newVerify() *cobra.Command {
	var full bool
	cmd := &cobra.Command{
		Use: "verify", Short: "Check the hash chain and the tables kept beside it, going on from the last time", Args: noArgs,
		RunE: operate(func(ctx context.Context, o *operation) error { return o.verify(ctx, full) }),
	}
	cmd.Flags().BoolVar(&full, "full", false, "begin at the first event")
	withJSON(cmd)
	return cmd
}

func (o *operation) verify(ctx context.Context, full bool) error {
	from, err := o.verifyMark(ctx, full)
	if err != nil {
		return err
	}
	o.progress("verifying the log", 0, 0)
	began := time.Now()
	to, err := o.store.Verify(ctx, from)
	v := verified{
		OK: err == nil, From: from.Position, Position: to.Position, Hash: to.Hash.String(), Anchors: selfAnchored,
		pace: paceOf(uint64(to.Position-from.Position), began),
	}
	if err != nil {
		if broken := (*events.ChainError)(nil); errors.As(err, &broken) {
			v.Wrong, v.Reason = broken.Position, broken.Reason
		} else if wrong := (*postgres.TableError)(nil); errors.As(err, &wrong) {
			v.Table, v.Reason = wrong.Table, wrong.Reason
		} else {
			return err
		}
		if o.json {
			err = errors.Join(err, printJSON(o.out, v))
		}
		return err
	}
	if _, err := o.pool.Exec(ctx, saveVerifyMark, to.Position, to.Hash[:]); err != nil {
		return fmt.Errorf("save verify mark: %w", err)
	}
	if v.Position == v.From {
		return o.answer(v, "nothing new since position %d, head %s; %s", v.Position, v.Hash, v.Anchors)
	}
	return o.answer(v, "verified positions %d to %d (%s), head %s; %s", from.Position+1, v.Position, v.pace, v.Hash, v.Anchors)
}

// verifyMark is where the last verification came to.
func (n *node) verifyMark(ctx context.Context, full bool) (from postgres.Mark, err error) {
	if full {
		return from, nil
	}
	var hash []byte
	err = n.pool.QueryRow(ctx, readVerifyMark).Scan(&from.Position, &hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return from, nil
	}
	if err != nil {
		return from, fmt.Errorf("read verify mark: %w", err)
	}
	copy(from.Hash[:], hash)
	return from, nil
}
