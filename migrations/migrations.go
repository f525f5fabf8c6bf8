// Package migrations is the only place with DDL: NNNN_what.sql, embedded in
// order, and in keys/ those of the key store's own database.
//
// It must not know who runs it and imports nothing but embed; internal/pg runs
// it. Event tables only go forward; read models may be dropped, because a replay
// builds them again. Start at 0001_event_store.sql.
package migrations

import "embed"

// FS holds the migrations by file name.
//
//go:embed *.sql
var FS embed.FS

// Keys holds, in its folder keys, the migrations of the key store.
//
//go:embed keys/*.sql
var Keys embed.FS
