package api

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// AtQuery is what reads take that can answer as of a point of the past. It is
// exported only because huma reads exported fields alone.
type AtQuery struct {
	At string `query:"at" maxLength:"40" pattern:"^([0-9]{1,19}|[0-9]{4}-.*)$" doc:"As of a position (1234) or an instant (2026-11-23T09:30:00Z); now if left out"`
}

var (
	errBeforeAll = domain.InvalidField("query.at", "is before the first event", "positions begin at 1")
	errNoPast    = &domain.Error{
		Kind: domain.Invalid, Code: "history.none", Field: "query.at", Message: "cannot be answered: what is read here has no past",
		Fix: "leave it out; agents and templates come with the build, and a run states which versions it used",
	}
	errFuture = &domain.Error{
		Kind: domain.Invalid, Code: "position.future", Field: "query.at", Message: "is behind the end of the log",
		Fix: "leave it out to read the newest state; GET /api/v1/log/head says where the log ends",
	}
)

// asOf is the position that a read is to answer as of; 0: now. What it answers
// never changes: the read models have reached the position by then.
func (s *server) asOf(ctx context.Context, text string) (domain.Position, error) {
	if text == "" {
		return 0, nil
	}
	at, instant, err := parseAt(text)
	if err != nil {
		return 0, err
	}
	if at == 0 {
		if instant.After(s.Clock.Now()) {
			return 0, errFuture
		}
		if at, err = s.Waiter.At(ctx, instant); err != nil {
			return 0, err
		}
		if at == 0 {
			return 0, errBeforeAll
		}
	}
	head, err := s.Hub.Head(ctx)
	if err != nil {
		return 0, err
	}
	if at > head.Position {
		return 0, errFuture
	}
	return at, s.projected(ctx, at)
}

// projected waits, bounded, until the read models reflect a position.
func (s *server) projected(ctx context.Context, p domain.Position) error {
	waiting, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	err := s.Waiter.Projected(waiting, p)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return errNotReached
	}
	return err
}

// parseAt reads a point of the past: a position or an RFC 3339 instant.
func parseAt(text string) (domain.Position, time.Time, error) {
	if position, err := strconv.ParseUint(text, 10, 63); err == nil {
		if position == 0 {
			return 0, time.Time{}, errBeforeAll
		}
		return domain.Position(position), time.Time{}, nil
	}
	// A plus sign that was not escaped arrives as a space.
	instant, err := time.Parse(time.RFC3339, strings.ReplaceAll(text, " ", "+"))
	if err != nil {
		return 0, time.Time{}, domain.InvalidField("query.at", "is neither a position nor an instant", "use 1234 or 2026-11-23T09:30:00Z")
	}
	return 0, instant.UTC(), nil
}
