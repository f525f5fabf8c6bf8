package pg_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/pg/pgtest"
)

func TestManyProcessesMayMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Empty(t)
	results := make(chan error)
	for range 4 {
		pool := pgtest.Open(t, url)
		go func() { results <- pg.Migrate(t.Context(), pg.Owner{Pool: pool}) }()
	}
	for range 4 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	status, err := pg.MigrationStatus(t.Context(), pg.Owner{Pool: pgtest.Open(t, url)})
	if err != nil || len(status) == 0 {
		t.Fatalf("status: %v, %v", status, err)
	}
	for _, m := range status {
		if !m.Applied {
			t.Errorf("migration %s is not applied", m.Name)
		}
	}
}

func TestTheEventStoreIsNeverMigratedDown(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	status, err := pg.MigrationStatus(t.Context(), pg.Owner{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	for range status { // the newest first, down to 0001
		if err = pg.MigrateDown(t.Context(), pg.Owner{Pool: pool}); err != nil {
			break
		}
	}
	if err == nil {
		t.Fatal("every migration was taken back, the event store included")
	}
	var n int
	if err := pool.QueryRow(t.Context(), `select count(*) from log`).Scan(&n); err != nil || n != 1 {
		t.Fatalf("the log is gone: %d rows, %v", n, err)
	}
}

func TestASchemaOfALaterBuildIsRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	const sql = `insert into goose_db_version (version_id, is_applied) values (9999, true)`
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	if err := pg.Migrate(t.Context(), pg.Owner{Pool: pool}); !errors.Is(err, pg.ErrNewerSchema) {
		t.Fatalf("migrate: %v", err)
	}
}

func TestATransactionThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	want := errors.New("no")
	err := pg.InTx(t.Context(), pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `update log set epoch = 7`); err != nil {
			return err
		}
		return want
	})
	if !errors.Is(err, want) {
		t.Fatal(err)
	}
	var epoch int
	if err := pool.QueryRow(t.Context(), `select epoch from log`).Scan(&epoch); err != nil || epoch != 1 {
		t.Fatalf("epoch %d, %v", epoch, err)
	}
}

func TestAServerThatDoesNotAnswerIsAnError(t *testing.T) {
	t.Parallel()
	_, err := pg.Open(t.Context(), "postgres://nobody@127.0.0.1:1/none", pg.Options{})
	if err == nil || !strings.HasPrefix(err.Error(), "open database: ") {
		t.Fatalf("open: %v", err)
	}
}

func TestAMigrationThatIsMissingAmongOthersIsNotPassedOver(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	pools, err := pg.Enter(t.Context(), pg.Addresses{Database: address}, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pools.Close()
	if _, err := pgtest.Open(t, address).Exec(t.Context(), `delete from goose_db_version where version_id = 12`); err != nil {
		t.Fatal(err)
	}
	if _, err := pg.EnterAsOwner(t.Context(), address, pg.Options{}); err == nil || !strings.Contains(err.Error(), "12") {
		t.Errorf("a schema without migration 12: %v", err)
	}
}
