package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// A position token is opaque to clients: base64url of a version byte, the epoch
// (32 bits) and the position (64 bits), both big-endian.
const tokenVersion = 1

const tokenLength = 1 + 4 + 8

// tokenPattern is the form of every position token.
const tokenPattern = "^AQ[A-Za-z0-9_-]{15}[AQgw]$"

var errPositionToken = domain.InvalidField(headerPosition, "is not a position we gave out", "send back the header of an earlier answer, unchanged")

// errOtherEpoch: positions given out before a rebuild may mean other events now.
var errOtherEpoch = &domain.Error{
	Kind: domain.Conflict, Code: "position.other_epoch", Field: headerPosition,
	Message: "is from before the log was rebuilt", Fix: "read again without it",
}

func encodePosition(epoch uint32, p domain.Position) string {
	var b [tokenLength]byte
	b[0] = tokenVersion
	binary.BigEndian.PutUint32(b[1:], epoch)
	binary.BigEndian.PutUint64(b[5:], uint64(p))
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func decodePosition(token string) (epoch uint32, p domain.Position, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenLength || b[0] != tokenVersion {
		return 0, 0, errPositionToken
	}
	return binary.BigEndian.Uint32(b[1:]), domain.Position(binary.BigEndian.Uint64(b[5:])), nil
}

// reflect waits until the read models reflect the position of a token, and
// states the position that a query from now on will reflect at least.
func (s *server) reflect(ctx context.Context, token string, state bool) error {
	if token != "" {
		epoch, p, err := decodePosition(token)
		if err != nil {
			return err
		}
		if epoch != s.Epoch() {
			return errOtherEpoch
		}
		if err := s.projected(ctx, p); err != nil {
			return err
		}
	}
	if !state {
		return nil
	}
	p, err := s.Waiter.Reached(ctx)
	if err != nil {
		return err
	}
	callOf(ctx).header.Set(headerPosition, encodePosition(s.Epoch(), p))
	return nil
}

// preference is what a Prefer header (RFC 7240) asks for that we know.
type preference struct {
	after string // "", "logged", "projected" or "ended"
	wait  time.Duration
}

const afterEnded = "ended" // the run that the command starts

const maxPreferredWait = 60 * time.Second

// parsePrefer reads a Prefer header. What it does not understand it leaves out,
// as the RFC wants: a preference is not a demand.
func parsePrefer(header string, otherwise time.Duration) preference {
	p := preference{wait: otherwise}
	for part := range strings.SplitSeq(header, ",") {
		part, _, _ = strings.Cut(part, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "wait":
			if n, err := strconv.ParseUint(value, 10, 16); err == nil {
				p.wait = min(time.Duration(n)*time.Second, maxPreferredWait)
			}
		case "hishamos-after":
			if value == "logged" || value == "projected" || value == afterEnded {
				p.after = value
			}
		}
	}
	return p
}

// prefer waits as asked, and says so if it came true in time. If not, the
// command stands all the same.
func (s *server) prefer(ctx context.Context, header string, at domain.Position) {
	p := parsePrefer(header, s.Wait)
	if p.after == "" || p.after == afterEnded { // the latter is not for every command: see start
		return
	}
	waiting, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	wait := s.Waiter.Logged
	if p.after == "projected" {
		wait = s.Waiter.Projected
	}
	if wait(waiting, at) == nil {
		callOf(ctx).header.Set("Preference-Applied", "hishamos-after="+p.after)
	}
}
