package batch

import (
	"encoding/json"
	"fmt"

	"github.com/hishamos/hishamos/internal/eventstore"
)

// checkClaims refuses an append that takes a key which is taken. Claims count in
// their order: a release frees the key for a later claim of the same append.
func (b *Batch) checkClaims(a eventstore.Append) error {
	if len(a.Claims) == 0 {
		return nil
	}
	own := make(map[ClaimKey]bool, len(a.Claims))
	for _, c := range a.Claims {
		k := ClaimKey{a.Tenant, c.Kind, c.Key}
		if !c.Release && b.taken(k, own) {
			return eventstore.ErrClaimed.With("the %s %q is already taken", c.Kind, c.Key)
		}
		own[k] = !c.Release
	}
	return nil
}

func (b *Batch) taken(k ClaimKey, own map[ClaimKey]bool) bool {
	if t, ok := own[k]; ok {
		return t
	}
	if c, ok := b.claims[k]; ok {
		return c.Taken
	}
	return b.known.Claimed(k)
}

// claim records what an accepted append leaves of its keys. Releasing a free key
// is nothing.
func (b *Batch) claim(a eventstore.Append, r eventstore.Receipt) {
	for _, c := range a.Claims {
		k := ClaimKey{a.Tenant, c.Kind, c.Key}
		was, ok := b.claims[k]
		if !ok {
			was = &Claim{ClaimKey: k, New: !c.Release}
			b.claims[k] = was
			b.Claims = append(b.Claims, was)
		}
		if was.New && c.Release {
			b.Unproven = true
		}
		if was.Taken = !c.Release; was.Taken {
			was.Stream, was.Position = a.Writes[0].Stream, r.First
		}
	}
}

// ClaimsJSON is the `claims` attribute: RFC 8785 JSON of the claims in their
// order, empty for none.
func ClaimsJSON(claims []eventstore.Claim) string {
	if len(claims) == 0 {
		return ""
	}
	out := []byte{'['}
	for i, c := range claims {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendString(append(out, `{"key":`...), c.Key)
		out = appendString(append(out, `,"kind":`...), c.Kind)
		if c.Release {
			out = append(out, `,"release":true`...)
		}
		out = append(out, '}')
	}
	return string(append(out, ']'))
}

// ParseClaims is the inverse of ClaimsJSON. It refuses other forms, because the
// attribute is hashed as it stands.
func ParseClaims(s string) ([]eventstore.Claim, error) {
	if s == "" {
		return nil, nil
	}
	var claims []eventstore.Claim
	if err := json.Unmarshal([]byte(s), &claims); err != nil {
		return nil, fmt.Errorf("parse claims: %w", err)
	}
	if got := ClaimsJSON(claims); got != s {
		return nil, fmt.Errorf("parse claims: %q is not in its canonical form %q", s, got)
	}
	return claims, nil
}

// appendString writes a string as RFC 8785 does: only quotes, backslashes and
// control characters are escaped, which encoding/json cannot be told.
func appendString(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, `\b`...)
		case '\t':
			out = append(out, `\t`...)
		case '\n':
			out = append(out, `\n`...)
		case '\f':
			out = append(out, `\f`...)
		case '\r':
			out = append(out, `\r`...)
		default:
			if c < 0x20 {
				out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				out = append(out, c)
			}
		}
	}
	return append(out, '"')
}
