package worker

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/pg"
)

// Registry keeps the addresses of nodes in the table nodes. A node says that it
// is there by touching its row; a row untouched for ten seconds is ignored.
type Registry struct{ Pool pg.Writer }

const touchNode = `insert into nodes (id, address, secret, seen) values ($1, $2, $3, now())
on conflict (id) do update set address = excluded.address, secret = excluded.secret, seen = now()`

const liveNodes = `select id::text, address, secret from nodes where seen > now() - interval '10 seconds' order by id`

const removeNode = `delete from nodes where id = $1 or seen < now() - interval '1 hour'`

// Touch says that a node is there.
func (r Registry) Touch(ctx context.Context, n Node) error {
	if _, err := r.Pool.Exec(ctx, touchNode, n.ID, n.Address, n.Secret); err != nil {
		return fmt.Errorf("register node: %w", err)
	}
	return nil
}

// Remove says that a node is gone.
func (r Registry) Remove(ctx context.Context, id string) error {
	if _, err := r.Pool.Exec(ctx, removeNode, id); err != nil {
		return fmt.Errorf("remove node: %w", err)
	}
	return nil
}

// Live lists the nodes that are there.
func (r Registry) Live(ctx context.Context) ([]Node, error) {
	rows, err := r.Pool.Query(ctx, liveNodes)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	nodes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Node])
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return nodes, nil
}
