package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hishamos/hishamos/domain"
)

// checkRequest refuses, before an endpoint sees it, what no endpoint takes.
func checkRequest(r *http.Request, body []byte, route row, takes shape) error {
	if err := checkQuery(r.URL.RawQuery); err != nil {
		return err
	}
	for _, name := range []string{headerPosition, "Idempotency-Key", "Last-Event-ID"} {
		if values := r.Header.Values(name); len(values) > 0 && values[0] == "" {
			return domain.InvalidField(name, "is empty", "leave it out, or give it a value")
		}
	}
	if (r.Method == http.MethodPut || r.Method == http.MethodDelete) && !route.tus && r.Header.Get("If-Match") == "" {
		return errNoIfMatch
	}
	if isYAML(r.Header.Get("Content-Type")) {
		return nil // api/definition.go has limits of its own for it
	}
	return checkBody(body, takes)
}

// maxDepth is how deep arrays and objects of a body may be nested.
const maxDepth = 64

// level is an array or an object that a body is inside of.
type level struct {
	names map[string]struct{} // of an object so far; nil: an array
	name  string              // the member it is at
	next  int                 // the element it is at
	value bool                // of an object: a name was read, its value comes
	shape shape
}

// inside is the shape of the value it is at.
func (l *level) inside() shape {
	if l.names == nil {
		return l.shape.element()
	}
	return l.shape.member(l.name)
}

// checkBody refuses JSON that is nested too deep, names a member twice, before
// anything takes one of the two for the whole, or has null where the description
// knows none, before anything takes it for a field that was left out. What is not
// JSON is left to the endpoint, which says what it wanted instead.
func checkBody(body []byte, takes shape) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var in []*level
	for {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return nil //nolint:nilerr // the endpoint reports it
		}
		if end, ok := token.(json.Delim); ok && (end == ']' || end == '}') {
			in = in[:len(in)-1]
			continue
		}
		if n := len(in); n > 0 {
			name, isName := in[n-1].enter(token)
			if isName {
				if _, twice := in[n-1].names[name]; twice {
					return domain.InvalidField(pathOf(in), "is there twice", "send every field once")
				}
				in[n-1].names[name] = struct{}{}
				continue
			}
			if here := in[n-1].inside(); token == nil && !here.takesNull() {
				return errNull(pathOf(in), here.required)
			}
		}
		if begin, ok := token.(json.Delim); ok {
			if len(in) == maxDepth {
				return errTooDeep
			}
			l := &level{next: -1, shape: takes}
			if n := len(in); n > 0 {
				l.shape = in[n-1].inside()
			}
			if begin == '{' {
				l.names = map[string]struct{}{}
			}
			in = append(in, l)
		}
	}
}

func errNull(field string, required bool) error {
	if required {
		return domain.InvalidField(field, "is null", "give it a value")
	}
	return domain.InvalidField(field, "is null", "leave it out, or give it a value")
}

// enter moves to the next member or element. It reports whether the token is
// the name of a member.
func (l *level) enter(token json.Token) (name string, isName bool) {
	if l.names == nil {
		l.next++
		return "", false
	}
	if l.value {
		l.value = false
		return "", false
	}
	l.value = true
	l.name, _ = token.(string)
	return l.name, true
}

func pathOf(in []*level) string {
	var b strings.Builder
	b.WriteString("body")
	for _, l := range in {
		if l.names == nil {
			b.WriteString("[" + strconv.Itoa(l.next) + "]")
		} else {
			b.WriteString("." + l.name)
		}
	}
	return b.String()
}

// checkQuery refuses what could be read in two ways: a parameter without a
// value, or with several. Lists are separated by commas.
func checkQuery(raw string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return errQuery
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case len(values[name]) > 1:
			return domain.InvalidField("query."+name, "is there twice", "send it once; lists are separated by commas")
		case values[name][0] == "":
			return domain.InvalidField("query."+name, "is empty", "leave it out, or give it a value")
		}
	}
	return nil
}
