package upload

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/pg"
)

// ErrQuota names the limit that a file would pass.
var ErrQuota = &domain.Error{
	Kind: domain.TooLarge, Code: "upload.quota", Field: "Upload-Length",
	Message: "is more than the tenant may still keep", Fix: "erase files that are not needed, or ask the operator to raise HISHAMOS_UPLOAD_QUOTA",
}

// promised is for how long room is kept for a file that no read model knows.
const promised = time.Hour

const (
	lockRoomSQL = `select pg_advisory_xact_lock(hashtextextended('upload room ' || $1, 0))`
	usedRoomSQL = `select
    (select coalesce(sum(size), 0) from files where build = live_build('files', 1) and tenant = $1 and state in ('uploading', 'ready'))
    + (select coalesce(sum(size), 0) from upload_room r where tenant = $1 and not exists
        (select from files f where f.build = live_build('files', 1) and f.tenant = r.tenant and f.file = r.file))`
	oldRoomSQL  = `delete from upload_room where tenant = $1 and made < $2`
	makeRoomSQL = `insert into upload_room (tenant, file, size, made) values ($1, $2, $3, $4)`
	dropRoomSQL = `delete from upload_room where tenant = $1 and file = $2`
)

// MakeRoom promises a file its room, or refuses it when its tenant would keep
// more than a quota. Those who ask at the same time wait for each other, so that
// they do not all get the last of it.
func (k *Keeper) MakeRoom(ctx context.Context, stream domain.StreamID, size, quota int64, now time.Time) error {
	tenant := stream.Tenant()
	err := pg.InTx(ctx, k.pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockRoomSQL, tenant); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, oldRoomSQL, tenant, now.Add(-promised)); err != nil {
			return err
		}
		var used int64
		if err := tx.QueryRow(ctx, usedRoomSQL, tenant).Scan(&used); err != nil {
			return err
		}
		if size > quota-used {
			return ErrQuota.With("is %d bytes, and the tenant keeps %d of the %d that it may", size, used, quota)
		}
		_, err := tx.Exec(ctx, makeRoomSQL, tenant, stream.Entity(), size, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("make room for %s: %w", stream, err)
	}
	return nil
}

// GiveBack takes a promise back.
func (k *Keeper) GiveBack(ctx context.Context, stream domain.StreamID) error {
	if _, err := k.pool.Exec(ctx, dropRoomSQL, stream.Tenant(), stream.Entity()); err != nil {
		return fmt.Errorf("give back the room of %s: %w", stream, err)
	}
	return nil
}
