package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/pg"
)

const (
	edgeSQL     = `select position, hash, edge from checkpoint_edge`
	newestSQL   = `select note from checkpoints order by position desc limit 1`
	afterSQL    = `select note from checkpoints where position > $1 order by position limit $2`
	insertSQL   = `insert into checkpoints (position, note) values ($1, $2)`
	beginSQL    = `insert into checkpoint_edge (position, hash, edge) values (0, $1, '') on conflict do nothing`
	moveEdgeSQL = `update checkpoint_edge set position = $2, hash = $3, edge = $4 where position = $1`
)

// Store keeps the checkpoints and where the next one goes on, in Postgres.
type Store struct{ Pool pg.Writer }

// ErrMoved says that another process made checkpoints meanwhile.
var ErrMoved = errors.New("another process made checkpoints meanwhile")

// state is where making checkpoints goes on.
type state struct {
	mark   events.Mark
	tree   *Tree
	newest Signed // zero if there is none yet
	kept   domain.Position
}

func (s Store) load(ctx context.Context) (state, error) {
	st := state{tree: NewTree()}
	var hash, edge []byte
	err := s.Pool.QueryRow(ctx, edgeSQL).Scan(&st.mark.Position, &hash, &edge)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		_, err = s.Pool.Exec(ctx, beginSQL, st.mark.Hash[:])
	case err == nil:
		copy(st.mark.Hash[:], hash)
		st.tree, err = ResumeTree(st.mark.Position, edge)
	}
	if err != nil {
		return st, fmt.Errorf("load checkpoint edge: %w", err)
	}
	st.kept = st.mark.Position
	st.newest, _, err = s.Newest(ctx)
	return st, err
}

// save keeps checkpoints together with the edge they lead to.
func (s Store) save(ctx context.Context, before domain.Position, st state, made []Signed) error {
	err := pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, moveEdgeSQL, before, st.mark.Position, st.mark.Hash[:], st.tree.Edge())
		if err != nil {
			return err
		}
		if done.RowsAffected() != 1 {
			return ErrMoved
		}
		b := &pgx.Batch{}
		for _, n := range made {
			b.Queue(insertSQL, n.Position, n.Text)
		}
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("save checkpoints: %w", err)
	}
	return nil
}

// Forget drops all checkpoints: the next is the first. It is for a lost key.
func (s Store) Forget(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, s.Pool, func(tx pgx.Tx) error {
		for _, sql := range []string{`delete from checkpoints`, `delete from checkpoint_edge`} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget checkpoints: %w", err)
	}
	return nil
}

// Newest is the last checkpoint that was made.
func (s Store) Newest(ctx context.Context) (Signed, bool, error) {
	list, err := s.query(ctx, newestSQL)
	if err != nil || len(list) == 0 {
		return Signed{}, false, err
	}
	return list[0], true, nil
}

// After returns up to limit checkpoints after a position.
func (s Store) After(ctx context.Context, after domain.Position, limit int) ([]Signed, error) {
	return s.query(ctx, afterSQL, after, limit)
}

func (s Store) query(ctx context.Context, sql string, args ...any) ([]Signed, error) {
	rows, err := s.Pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read checkpoints: %w", err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read checkpoints: %w", err)
	}
	out := make([]Signed, len(texts))
	for i, text := range texts {
		if out[i], err = Parse(text); err != nil {
			return nil, fmt.Errorf("read checkpoints: %w", err)
		}
	}
	return out, nil
}

// Name implements Source.
func (s Store) Name() string { return "the database" }

// Outside implements Source: whoever may change the events may change these.
func (s Store) Outside() bool { return false }

// Read implements Source.
func (s Store) Read(ctx context.Context) iter.Seq2[Signed, error] {
	return func(yield func(Signed, error) bool) {
		const page = 500
		for at := domain.Position(0); ; {
			list, err := s.After(ctx, at, page)
			if err != nil {
				yield(Signed{}, err)
				return
			}
			for _, n := range list {
				if !yield(n, nil) {
					return
				}
				at = n.Position
			}
			if len(list) < page {
				return
			}
		}
	}
}
