package projections

import (
	"encoding/base64"
	"encoding/json"

	"github.com/hishamos/hishamos/domain"
)

// ErrCursor says that a cursor did not come from the list it is used with.
var ErrCursor = domain.InvalidField("cursor", "is not a cursor of this list", "use the cursor of the previous page, with the same filter and order")

// cursor marks the last row of a page. It is opaque to callers; the order is in
// it, so that a cursor cannot be used with another.
type cursor struct {
	Order string   `json:"o"`
	After []string `json:"a"`
}

func (c cursor) encode() string {
	b, err := json.Marshal(c)
	if err != nil { // strings only
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor returns the values after which a page begins, or nil for the
// first page.
func decodeCursor(text, order string, values int) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, ErrCursor
	}
	var c cursor
	if json.Unmarshal(b, &c) != nil || c.Order != order || len(c.After) != values {
		return nil, ErrCursor
	}
	return c.After, nil
}
