// Package projections is everything that can be read. One file is one group of
// tables: its rows, its reactions to events, and its queries at the bottom.
//
// A projection cannot decide and cannot call out: its reactions are pure
// functions over rows, and internal/projection does the writing. It imports
// domain, events, internal/projection, internal/pg and pgx; tables are made by
// migrations/0002_read_models.sql.
//
// Start reading at run.go. To add one: a file here, a line in All, a migration.
package projections

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/projection"
)

// All is every projection, for the runner.
func All() []*projection.Definition {
	return []*projection.Definition{RunsDefinition(), WorkflowsDefinition(), UsageDefinition(), TokensDefinition(), ErasuresDefinition(), FilesDefinition()}
}

// DB is what queries run on: a pool, or a transaction whose tenant is set.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// actorID is the id of the first link of an actor chain: on whose behalf.
func actorID(actor string) string {
	var chain []domain.Actor
	if err := json.Unmarshal([]byte(actor), &chain); err != nil || len(chain) == 0 {
		return ""
	}
	return chain[0].ID
}

// versionOf is the version of a reference that may be absent.
func versionOf(r *domain.Ref) int {
	if r == nil {
		return 0
	}
	return r.Version
}

// tokenColumns are the token counts of several tables.
const tokenColumns = `tokens_input, tokens_cached, tokens_cache_write, tokens_output, tokens_reasoning`
