package postgres_test

import (
	"errors"
	"testing"

	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/keys/keystest"
	"github.com/hishamos/hishamos/internal/keys/postgres"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

func TestItKeepsToTheContract(t *testing.T) {
	t.Parallel()
	events, url := pgtest.New(t), pgtest.Empty(t)
	direct := pgtest.Open(t, url)
	keystest.Exercise(t, func(t *testing.T) keys.Store {
		s, err := postgres.Open(t.Context(), url, events)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}, func(t *testing.T) []byte {
		var all []byte
		if err := direct.QueryRow(t.Context(), `select string_agg(record, ''::bytea order by box, n) from keys`).Scan(&all); err != nil {
			t.Fatal(err)
		}
		return all
	})
}

func TestTheDatabaseOfTheEventsIsRefused(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	if _, err := postgres.Open(t.Context(), url, pgtest.Open(t, url)); !errors.Is(err, postgres.ErrSameDatabase) {
		t.Errorf("answered %v", err)
	}
}

func TestADatabaseThatIsAwayIsUnreachable(t *testing.T) {
	t.Parallel()
	if _, err := postgres.Open(t.Context(), "postgres://127.0.0.1:1/none", pgtest.New(t)); !errors.Is(err, keys.ErrUnreachable) {
		t.Errorf("answered %v", err)
	}
}
