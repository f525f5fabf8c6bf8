package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/hishamos/hishamos/domain"
)

// PageQuery is what every list takes. It is exported only because huma reads
// exported fields alone.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items of a page"`
	Cursor string `query:"cursor" maxLength:"1024" pattern:"^[A-Za-z0-9_-]{18,}$" doc:"The next of the page before; with the same filters"`
}

var errCursor = domain.InvalidField("query.cursor", "is not a cursor of this list", "send the next of the page before with the same filters, or start without one")

const cursorTag = 12

// pageOf pages a list that is in memory, whose order is that of the items'
// ids: the page begins behind the one that the cursor names.
func pageOf[T any](items []T, id func(T) string, p Page) (page []T, next string) {
	begin := 0
	if p.After != "" {
		begin = 1 + slices.IndexFunc(items, func(one T) bool { return id(one) == p.After })
	}
	items = items[begin:]
	if len(items) <= p.Limit {
		return items, ""
	}
	return items[:p.Limit], id(items[p.Limit-1])
}

// cursor seals where a page ended together with the list and filters it belongs
// to, so that a cursor of another list is refused instead of giving wrong items.
func (s *server) cursor(list string, filter any, after string) string {
	if after == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append(s.cursorTag(list, filter, after), after...))
}

// page opens a cursor.
func (s *server) page(in PageQuery, list string, filter any) (Page, error) {
	p := Page{Limit: in.Limit}
	if in.Cursor == "" {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(in.Cursor)
	if err != nil || len(raw) <= cursorTag {
		return p, errCursor
	}
	p.After = string(raw[cursorTag:])
	if !hmac.Equal(raw[:cursorTag], s.cursorTag(list, filter, p.After)) {
		return p, errCursor
	}
	return p, nil
}

func (s *server) cursorTag(list string, filter any, after string) []byte {
	f, err := json.Marshal(filter)
	if err != nil { // filters are plain structs
		panic(err)
	}
	mac := hmac.New(sha256.New, s.DigestKey)
	mac.Write([]byte(list + "\x00" + string(f) + "\x00" + after))
	return mac.Sum(nil)[:cursorTag]
}
