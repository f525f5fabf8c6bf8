package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/checkpoint"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/eventstore/postgres"
)

const (
	readVerifyMark = `select position, hash, edge from verify_mark where edge is not null`
	saveVerifyMark = `insert into verify_mark (position, hash, edge) values ($1, $2, $3)
on conflict (only_row) do update set position = excluded.position, hash = excluded.hash, edge = excluded.edge`
	chainHashesSQL = `select position, hash from events where position = any($1)`
)

// selfAnchored is what a chain proves that nobody outside has a checkpoint of.
const selfAnchored = "self-anchored: proves no accident, not no owner"

// verified is what verify answers.
type verified struct {
	OK          bool                `json:"ok"`
	From        domain.Position     `json:"from"`     // what lies up to here was verified before
	Position    domain.Position     `json:"position"` // the last that is right
	Hash        string              `json:"hash"`
	Wrong       domain.Position     `json:"wrong,omitempty"`       // the first that is not, or may not be
	WrongUpTo   domain.Position     `json:"wrong_up_to,omitempty"` // the checkpoint that does not hold
	Table       string              `json:"table,omitempty"`       // the table that disagrees
	Reason      string              `json:"reason,omitempty"`
	Key         string              `json:"key,omitempty"`   // that is not as it should be
	Blob        string              `json:"blob,omitempty"`  // that is not
	Event       string              `json:"event,omitempty"` // that names it
	Anchors     string              `json:"anchors"`
	Checkpoints []checkpoint.Report `json:"checkpoints"`
	named
	pace
}

// verification is what to verify, and against what.
type verification struct {
	full    bool
	keys    []string // that the first checkpoints must be signed by
	anchors []string // further ones, brought by whoever verifies
}

func newVerify() *cobra.Command {
	var v verification
	cmd := &cobra.Command{
		Use: "verify", Short: "Check the hash chain, the tables kept beside it, the keys, the blobs and the checkpoints of every anchor", Args: noArgs,
		Long: `Check the hash chain, the tables kept beside it, the keys and the blobs that events
name, and the signed checkpoints of every anchor that answers. It goes on from the last time; --full begins at the
first event, which is what to do with a log you do not trust.`,
		Example: `  hishamos verify
  hishamos verify --full --anchor file:/media/me/hishamos.checkpoints --key hishamos/...+1a2b3c4d+A...`,
		RunE: operate(func(ctx context.Context, o *operation) error { return o.verify(ctx, v) }),
	}
	cmd.Flags().BoolVar(&v.full, "full", false, "begin at the first event")
	cmd.Flags().StringArrayVar(&v.anchors, "anchor", nil, "checkpoints that you bring, written as in HISHAMOS_ANCHORS; they count as outside")
	cmd.Flags().StringArrayVar(&v.keys, "key", nil, "verifier key that the first checkpoint of every anchor must be signed by")
	withJSON(cmd)
	return cmd
}

// sources are all places to look for checkpoints.
func (o *operation) sources(origin string, brought []string) ([]checkpoint.Source, error) {
	named := append([]config.Anchor(nil), o.cfg.Anchors...)
	for _, text := range brought {
		a, err := config.ParseAnchor(text)
		if err != nil {
			return nil, domain.InvalidField("--anchor", err.Error(), "such as file:/media/me/hishamos.checkpoints")
		}
		a.Outside = true
		named = append(named, a)
	}
	out := []checkpoint.Source{o.checkpoints()}
	for _, a := range o.anchors(origin, named) {
		out = append(out, a)
	}
	return out, nil
}

func (o *operation) verify(ctx context.Context, what verification) error {
	origin, err := o.origin(ctx)
	if err != nil {
		return err
	}
	for _, key := range what.keys {
		if err := checkpoint.CheckKey(key, origin); err != nil {
			return domain.InvalidField("--key", err.Error(), "give a verifier key as `hishamos checkpoint list --json` shows it")
		}
	}
	sources, err := o.sources(origin, what.anchors)
	if err != nil {
		return err
	}
	from, tree, err := o.verifyMark(ctx, what.full)
	if err != nil {
		return err
	}
	audit := checkpoint.NewAudit(ctx, origin, tree, what.keys, sources...)
	defer audit.Close()
	began := time.Now()
	to, err := o.walk(ctx, from, audit)
	reports := audit.Reports()
	// A table that disagrees may be what a cut or a rewrite left behind: then the
	// checkpoints say where that was.
	if disagrees := errors.As(err, new(*postgres.TableError)); err == nil || disagrees {
		var finished error
		reports, finished = audit.Finish(func() (domain.Position, error) {
			head, err := o.store.Head(ctx)
			return head.Position, err
		})
		if err == nil || errors.As(finished, new(*checkpoint.TamperError)) {
			err = finished
		}
	}
	var found named
	if err == nil {
		found, err = o.verifyKeys(ctx, from.Position, to.Position)
	}
	v := verified{
		OK: err == nil, From: from.Position, Position: to.Position, Hash: to.Hash.String(), Anchors: anchored(reports),
		Checkpoints: reports, named: found, pace: paceOf(uint64(to.Position-from.Position), began),
	}
	if err != nil {
		if !v.explain(err) {
			return err
		}
		if o.json {
			err = errors.Join(err, printJSON(o.out, v))
		}
		return err
	}
	if _, err := o.writer.Exec(ctx, saveVerifyMark, to.Position, to.Hash[:], audit.Tree().Edge()); err != nil {
		return fmt.Errorf("save verify mark: %w", err)
	}
	if v.Position == v.From {
		return o.answer(v, "nothing new since position %d, head %s; %s", v.Position, v.Hash, v.Anchors)
	}
	unknown := ""
	if v.Unknown > 0 {
		unknown = fmt.Sprintf("; whether %d events of a newer build name blobs is not known", v.Unknown)
	}
	return o.answer(v, "verified positions %d to %d, %d keys and %d blobs (%s), head %s; %s%s", from.Position+1, v.Position, v.Keys, v.Blobs, v.pace, v.Hash, v.Anchors, unknown)
}

// walk checks the log from a mark on, and holds it against the checkpoints.
func (o *operation) walk(ctx context.Context, from events.Mark, audit *checkpoint.Audit) (events.Mark, error) {
	if err := audit.Before(ctx, o.chainHashes); err != nil {
		return from, err
	}
	o.progress("verifying the log", 0, 0)
	const showEvery = 1000
	return o.store.Verify(ctx, from, func(r *events.Record, leaf events.Hash, head domain.Position) error {
		if r.Position%showEvery == 0 {
			o.progress(fmt.Sprintf("verifying the log, %d %%", uint64(r.Position)*100/uint64(head)), uint64(r.Position), uint64(head))
		}
		return audit.Add(r, leaf)
	})
}

// chainHashes are those that the log has at some positions.
func (n *node) chainHashes(ctx context.Context, at []domain.Position) (map[domain.Position]events.Hash, error) {
	rows, err := n.writer.Query(ctx, chainHashesSQL, at)
	if err != nil {
		return nil, fmt.Errorf("read chain hashes: %w", err)
	}
	out := make(map[domain.Position]events.Hash, len(at))
	var position domain.Position
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&position, &raw}, func() error {
		var h events.Hash
		copy(h[:], raw)
		out[position] = h
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read chain hashes: %w", err)
	}
	return out, nil
}

// explain takes the place and the reason from an error of the log, and reports
// whether it was one.
func (v *verified) explain(err error) bool {
	if e := (*events.ChainError)(nil); errors.As(err, &e) {
		v.Wrong, v.Reason = e.Position, e.Reason
		return true
	}
	if e := (*postgres.TableError)(nil); errors.As(err, &e) {
		v.Table, v.Reason = e.Table, e.Reason
		return true
	}
	if e := (*keyError)(nil); errors.As(err, &e) {
		v.Wrong, v.Key, v.Reason = e.position, e.key, e.cause.Error()
		return true
	}
	if e := (*blobError)(nil); errors.As(err, &e) {
		v.Wrong, v.Event, v.Blob, v.Reason = e.position, string(e.event), e.address, e.cause.Error()
		return true
	}
	if e := (*checkpoint.TamperError)(nil); errors.As(err, &e) {
		v.Wrong, v.WrongUpTo, v.Reason = e.After+1, e.At, e.Error()
		return true
	}
	if e := (*checkpoint.TrailError)(nil); errors.As(err, &e) {
		v.Reason = e.Error()
		return true
	}
	return false
}

// anchored says what the checkpoints outside prove.
func anchored(reports []checkpoint.Report) string {
	var held, silent []string
	for _, r := range reports {
		switch {
		case r.Unread != "":
			silent = append(silent, "not read: "+r.Unread)
		case r.Outside && r.Checkpoints > 0 && r.Wrong == "":
			held = append(held, fmt.Sprintf("anchored up to position %d by %d checkpoints of %s", r.Position, r.Checkpoints, r.Anchor))
		}
	}
	if len(held) == 0 {
		held = []string{selfAnchored}
	}
	return strings.Join(append(held, silent...), "; ")
}

// verifyMark is where the last verification came to.
func (n *node) verifyMark(ctx context.Context, full bool) (from events.Mark, tree *checkpoint.Tree, err error) {
	if full {
		return from, checkpoint.NewTree(), nil
	}
	var hash, edge []byte
	err = n.writer.QueryRow(ctx, readVerifyMark).Scan(&from.Position, &hash, &edge)
	if errors.Is(err, pgx.ErrNoRows) {
		return from, checkpoint.NewTree(), nil
	}
	if err == nil {
		copy(from.Hash[:], hash)
		tree, err = checkpoint.ResumeTree(from.Position, edge)
	}
	if err != nil {
		return from, nil, fmt.Errorf("read verify mark: %w", err)
	}
	return from, tree, nil
}
