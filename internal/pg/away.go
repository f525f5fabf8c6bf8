package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Away reports whether an error means that the server cannot serve now and may
// later: it does not answer, starts, stops, or has no room. Wrong credentials, a
// database that is not there and a name that does not resolve are not that.
func Away(err error) bool {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return AwayCode(refused.Code)
	}
	if unresolved, ok := errors.AsType[*net.DNSError](err); ok {
		return !unresolved.IsNotFound
	}
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}

// AwayCode is Away for what the server itself says: connection lost (08), out of
// disk, memory or connections (53), shutting down or starting (57P), input or
// output failed (58030).
func AwayCode(sqlState string) bool {
	for _, class := range []string{"08", "53", "57P", "58030"} {
		if strings.HasPrefix(sqlState, class) {
			return true
		}
	}
	return false
}

// Address names the server and the database of a URL, without secrets.
func Address(url string) string {
	c, err := pgconn.ParseConfig(url)
	if err != nil { // its text could show the password
		return "the server of the URL"
	}
	return fmt.Sprintf("%s, database %s", net.JoinHostPort(c.Host, fmt.Sprint(c.Port)), c.Database)
}
