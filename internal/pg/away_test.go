package pg_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/internal/pg"
)

func TestOnlyAServerThatMayComeBackIsAway(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for _, c := range []struct {
		what string
		err  error
		away bool
	}{
		{"nobody listens", dial(syscall.ECONNREFUSED), true},
		{"no answer in time", context.DeadlineExceeded, true},
		{"the connection ends", io.ErrUnexpectedEOF, true},
		{"it starts", &pgconn.PgError{Code: "57P03"}, true},
		{"no room for a connection", &pgconn.PgError{Code: "53300"}, true},
		{"its disk is full", &pgconn.PgError{Code: "53100"}, true},
		{"a name server is away", dial(&net.DNSError{IsTemporary: true}), true},
		{"a name that does not exist", dial(&net.DNSError{IsNotFound: true}), false},
		{"a wrong password", &pgconn.PgError{Code: "28P01"}, false},
		{"no such database", &pgconn.PgError{Code: "3D000"}, false},
		{"a newer schema", pg.ErrNewerSchema, false},
		{"the caller gives up", context.Canceled, false},
	} {
		if got := pg.Away(fmt.Errorf("open database: %w", c.err)); got != c.away {
			t.Errorf("%s: away is %v", c.what, got)
		}
	}
}

func TestAnAddressShowsNoSecret(t *testing.T) {
	t.Parallel()
	got := pg.Address("postgres://ada:s3cret@db.example:5433/events")
	if got != "db.example:5433, database events" {
		t.Errorf("address %q", got)
	}
	if got := pg.Address("postgres://ada:s3cret@db.example:x/events"); strings.Contains(got, "s3cret") {
		t.Errorf("address %q", got)
	}
}
