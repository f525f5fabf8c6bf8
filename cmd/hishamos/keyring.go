package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/keys"
	keysfile "github.com/hishamos/hishamos/internal/keys/file"
	keyspg "github.com/hishamos/hishamos/internal/keys/postgres"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/projections"
)

const (
	readKeyStore = `select id from key_store`
	saveKeyStore = `insert into key_store (id) values ($1) on conflict do nothing`
)

// openKeys opens the key store and makes sure that it is the one of this log.
func (n *node) openKeys(ctx context.Context) error {
	store, root, err := n.keyStore(ctx)
	if err != nil {
		return err
	}
	var id string
	err = n.writer.QueryRow(ctx, readKeyStore).Scan(&id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read key store id: %w", err)
	}
	n.ring, err = keys.Open(ctx, store, root, keys.Options{
		ID: id, Ordered: orderedIn(n.store), Blobs: shelf{n.blobs}, EventLimit: n.cfg.EventLimit, ValueLimit: int(n.cfg.ValueLimit),
	})
	if err != nil || id != "" {
		return err
	}
	if _, err := n.writer.Exec(ctx, saveKeyStore, n.ring.ID()); err != nil {
		return fmt.Errorf("save key store id: %w", err)
	}
	if err := n.writer.QueryRow(ctx, readKeyStore).Scan(&id); err != nil {
		return fmt.Errorf("read key store id: %w", err)
	}
	if id != n.ring.ID() { // another process was faster, with another store
		return keys.ErrForeign
	}
	return nil
}

// keyStore is where the settings say the keys are, with the root key.
func (n *node) keyStore(ctx context.Context) (keys.Store, []byte, error) {
	root, err := hex.DecodeString(n.cfg.KeysRoot.Reveal())
	if err != nil || n.cfg.KeysRoot.Set() && len(root) != 32 {
		return nil, nil, domain.InvalidField("HISHAMOS_KEYS_ROOT", "is not 64 hex digits", "make one with: openssl rand -hex 32")
	}
	if n.cfg.KeysURL.Set() {
		if len(root) == 0 {
			return nil, nil, domain.InvalidField("HISHAMOS_KEYS_ROOT", "is missing, and HISHAMOS_KEYS_URL needs it",
				"make one with: openssl rand -hex 32; keep a copy in a safe place")
		}
		store, err := n.keyDatabase(ctx)
		return store, root, err
	}
	store, err := keysfile.Open(filepath.Join(n.cfg.Data, "keys"))
	if err != nil {
		return nil, nil, err
	}
	if len(root) == 0 {
		root, err = store.Root()
	}
	return store, root, err
}

// keyDatabase enters the database of the keys, which a server waits for.
func (n *node) keyDatabase(ctx context.Context) (keys.Store, error) {
	address := n.cfg.KeysURL.Reveal()
	err := n.patiently(ctx, keyPostgres, address, func() error { return pg.Reach(ctx, address, pg.Options{Within: reachTimeout}) })
	if pg.Away(err) && ctx.Err() == nil {
		away := keys.ErrUnreachable.With("%s does not answer at %s", keyPostgres, pg.Address(address))
		away.Fix = "start it, or correct HISHAMOS_KEYS_URL"
		return nil, away
	}
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", keyPostgres, err)
	}
	store, err := keyspg.Open(ctx, address, n.writer)
	if err != nil {
		return nil, err
	}
	n.onClose(func(context.Context) error { store.Close(); return nil })
	return store, nil
}

// keyPostgres is what people call the server of HISHAMOS_KEYS_URL.
const keyPostgres = "the Postgres of the keys"

// orderedIn tells whether an order to erase names a key.
func orderedIn(store eventstore.Reader) func(context.Context, domain.StreamID, string) (bool, error) {
	return func(ctx context.Context, order domain.StreamID, key string) (bool, error) {
		first, err := store.ReadStream(ctx, order, 0, 1)
		if err != nil || len(first) == 0 {
			return false, err
		}
		e, err := events.Decode(first[0].Type, first[0].Version, first[0].Data)
		if err != nil {
			return false, err
		}
		o, ok := e.(events.ErasureOrdered)
		return ok && slices.Contains(o.Keys, key), nil
	}
}

// eraseAgain destroys what was ever ordered to be: a backup of the key store may
// have brought keys back. It returns how far it came.
func (n *node) eraseAgain(ctx context.Context, after domain.Position) (domain.Position, error) {
	for {
		page, err := projections.Erasures{DB: n.writer}.After(ctx, after)
		if err != nil || len(page) == 0 {
			return after, err
		}
		for _, e := range page {
			if e.Completed {
				if err := n.ring.Destroy(ctx, e.Order(), e.Keys...); err != nil {
					return after, fmt.Errorf("erase again by %s: %w", e.Order(), err)
				}
			}
			n.forget(e)
			after = e.Position
		}
	}
}

// forget drops what was erased from this process's memory. Nothing that is kept
// of a stream to decide holds a person's name.
func (n *node) forget(e projections.Erasure) {
	n.ring.Forget()
	switch e.Subject {
	case commands.EraseRun:
		n.dispatcher.Forget(func(s domain.StreamID) bool { return s == domain.RunID(e.ID).Stream(e.Tenant) })
	case commands.EraseFile:
		n.dispatcher.Forget(func(s domain.StreamID) bool { return s == domain.NewStreamID(e.Tenant, e.ID) })
	case commands.EraseTenant:
		n.dispatcher.Forget(func(s domain.StreamID) bool { return s.Tenant() == e.Tenant })
	}
}

// watchErasures follows what any process erased.
func (n *node) watchErasures(ctx context.Context) error {
	after := domain.Position(0)
	for {
		reached, err := n.eraseAgain(ctx, after)
		if err != nil && ctx.Err() == nil {
			n.logger.Warn("follow erasures", "error", err)
		}
		after = reached
		if !wait(ctx, settingsEvery) {
			return context.Cause(ctx)
		}
	}
}
